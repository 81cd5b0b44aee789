"""Training of one network: epochs until the last or until early stopping, resumable after every step."""

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from ser_ray.corpus import Corpus, Recording
from ser_ray.errors import InputError
from ser_ray.models import ModelConfig
from ser_ray.models.config import Backend
from ser_ray.models.dropout import Draw
from ser_ray.models.network import Network, build
from ser_ray.training.checkpoint import (
    BEST,
    load_checkpoint,
    load_last,
    remove_half_written,
    save_checkpoint,
    save_last,
)
from ser_ray.training.config import TrainingConfig, whole_frames
from ser_ray.training.delay import shift_frames
from ser_ray.training.evaluate import Scores, gold_of, predict_recordings, score
from ser_ray.training.loss import LOSSES, largest_loss
from ser_ray.training.numerics import in_precision, prepare_process, weights_dtype
from ser_ray.training.optimizers import make_optimizer
from ser_ray.training.resident import ResidentBatches, free_bytes, resident_bytes, stays_resident
from ser_ray.training.segments import MappedBatches, cut_segments, recordings_of, segments_of_epoch, shuffled_batches
from ser_ray.training.state import (
    CheckpointMismatchError,
    EpochReport,
    check_content,
    identity,
    plain_reports,
    read_reports,
)
from ser_ray.training.statistics import RecordingStatistics
from ser_ray.training.supervision import Supervision, TrainingDivergedError, TrainingInterruptedError


@dataclass(frozen=True)
class TrainingResult:
    """A finished training.

    Args:
        model: with the weights of the best epoch by devel CCC before post-processing.
        best_epoch: counted from 1.
        shift_frames: label shift of each target.
        backend: of the convolutional blocks, "reference" or "fused".
    """

    model: Network
    epochs: tuple[EpochReport, ...]
    best_epoch: int
    shift_frames: tuple[int, ...]
    backend: str


def train(
    model_config: ModelConfig,
    config: TrainingConfig,
    corpus: Corpus,
    checkpoints: Path,
    *,
    device: torch.device,
    on_epoch: Callable[[tuple[EpochReport, ...]], None],
    backend: Backend = "auto",
    supervision: Supervision | None = None,
) -> TrainingResult:
    """Train a network on the train partition of a corpus; return the weights of the epoch that is best on devel.

    Resumes from `checkpoints`/last.pt if it exists, or from the previous checkpoint if last.pt is damaged. It then ends
    with exactly the weights of a run that was never interrupted (on a CPU of the same kind). `on_epoch` is called after
    each epoch, when its checkpoint is written, with the reports of all epochs so far.

    Raises TrainingDivergedError if the loss is NaN, infinite or above `largest_loss`, and TrainingInterruptedError on a
    stop request of the supervision; the training is saved then.
    """
    prepare_process(config.precision, deterministic=config.deterministic)
    run = _Run(model_config, config, corpus, checkpoints, device, backend, supervision or Supervision())
    run.resume()
    if run.epochs:
        on_epoch(tuple(run.epochs))
    while not run.ended():
        run.run_epoch()
        on_epoch(tuple(run.epochs))
    return run.result()


class _Run:
    """State of one training, as stored in last.pt."""

    def __init__(
        self,
        model_config: ModelConfig,
        config: TrainingConfig,
        corpus: Corpus,
        checkpoints: Path,
        device: torch.device,
        backend: Backend,
        supervision: Supervision,
    ):
        self.config, self.corpus, self.checkpoints, self.device = config, corpus, checkpoints, device
        self.supervision = supervision
        self.identity = identity(model_config, config, corpus.fingerprint)
        self.targets = model_config.targets
        self.sequence_frames = whole_frames(config.sequence_s, corpus.label_rate, "training.sequence_s")
        self.recordings = recordings = recordings_of(corpus, "train", config)
        self.shift_frames = shift_frames(config, corpus, recordings, self.targets, self.supervision.log)
        self.grid = cut_segments(recordings, self.sequence_frames)
        self.steps_per_epoch = math.ceil(len(self.grid) / config.batch_size)
        self.batches = self._batches(recordings)
        self.devel = recordings_of(corpus, "devel", config)
        self.devel_gold = gold_of(corpus, self.devel, self.targets)
        torch.manual_seed(config.seed)
        self.model = build(model_config, backend).to(device, weights_dtype(config.precision))
        self.statistics = RecordingStatistics(self.model, corpus, recordings)
        self.optimizer = make_optimizer(config, self.model.parameter_groups(config.learning_rate))
        self.loss = LOSSES[config.loss]
        gold = (gold_of(corpus, [recording], self.targets)[0] for recording in recordings if recording.labelled)
        self.largest_loss = largest_loss(config.loss, gold)
        self.epochs: list[EpochReport] = []
        self.best_epoch = 0
        self.best_weights: dict[str, torch.Tensor] = {}
        # of the current epoch: the loss of each completed step, and the seconds spent on it in earlier processes
        self.losses: list[float] = []
        self.seconds_before = 0.0
        self.saved_at = self.epoch_began = time.perf_counter()

    def _batches(self, recordings: Sequence[Recording]) -> MappedBatches | ResidentBatches:
        columns = [self.corpus.targets.index(target) for target in self.targets]
        shape = self.sequence_frames, self.shift_frames, columns, self.device
        if stays_resident(resident_bytes(recordings, self.corpus.hop, len(columns)), free_bytes(self.device)):
            return ResidentBatches(self.corpus, recordings, *shape)
        return MappedBatches(self.corpus, *shape)

    def ended(self) -> bool:
        done, patience = len(self.epochs), self.config.patience
        out_of_patience = patience is not None and done > 0 and done - self.best_epoch >= patience
        return done >= self.config.epochs or out_of_patience

    def run_epoch(self) -> None:
        epoch = len(self.epochs) + 1
        self.epoch_began = time.perf_counter()
        self._train_epoch(epoch)
        between = time.perf_counter()
        with in_precision(self.config.precision, self.device):
            predictions = predict_recordings(
                self.model, self.corpus, self.devel, shift_frames=self.shift_frames, on_chunk=self._on_block
            )
        devel = score(predictions, self.devel_gold, self.targets)
        best = not self.epochs or _rank(devel) > _rank(self.epochs[self.best_epoch - 1].devel)
        if best:
            self.best_epoch = epoch
            self.best_weights = {name: value.detach().cpu().clone() for name, value in self.model.state_dict().items()}
        self.epochs.append(
            EpochReport(
                epoch=epoch,
                train_loss=math.fsum(self.losses) / len(self.losses),
                devel=devel,
                best=best,
                train_seconds=self.seconds_before + between - self.epoch_began,
                evaluate_seconds=time.perf_counter() - between,
                ended_at=datetime.now(UTC),
            )
        )
        self.losses, self.seconds_before = [], 0.0
        self._save()
        if best:
            self._save_best()

    def _train_epoch(self, epoch: int) -> None:
        config = self.config
        own = segments_of_epoch(self.grid, self.sequence_frames, config, epoch)
        batches = shuffled_batches(own, config.batch_size, config.seed, epoch)
        self.statistics.begin_epoch(self.supervision.alive)
        for segments in itertools.islice(batches, len(self.losses), None):
            draw = Draw(config.seed, (epoch - 1) * self.steps_per_epoch + len(self.losses))
            batch = self.batches.batch(segments)
            self.optimizer.zero_grad(set_to_none=True)
            with in_precision(config.precision, self.device):
                prediction = self.model(batch.waveform, draw, batch.mask, self.statistics.of(segments))
            loss = self.loss(prediction, batch.gold, batch.mask)
            loss.backward()  # type: ignore[no-untyped-call]
            if config.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
            self.optimizer.step()
            self.losses.append(loss.item())
            if not self.losses[-1] <= self.largest_loss:
                raise TrainingDivergedError(
                    f"the {config.loss} loss is {self.losses[-1]:g} in epoch {epoch}, batch {len(self.losses)}: "
                    f"the training diverged; a learning rate below {config.learning_rate:g} may help"
                )
            self._on_block()
        self.statistics.end_epoch()

    def _on_block(self) -> None:
        """Call `alive`, save if it is due, and end on a stop request; called between two blocks of work."""
        watch, now = self.supervision, time.perf_counter()
        watch.alive()
        stop = watch.stop()
        if stop or now - self.saved_at >= watch.save_every_s:
            self._save(self.seconds_before + now - self.epoch_began)
        if stop:
            raise TrainingInterruptedError(f"saved in epoch {len(self.epochs) + 1}, after step {len(self.losses)}")

    def _save(self, seconds: float = 0.0) -> None:
        content = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            "epochs": plain_reports(self.epochs),
            "best_epoch": self.best_epoch,
            "best": self.best_weights,
            "losses": self.losses,
            "seconds": seconds,
            "statistics": self.statistics.values,
            "shift_frames": self.shift_frames,
            "training": self.identity,
        }
        save_last(self.checkpoints, content)
        self.saved_at = time.perf_counter()

    def _save_best(self) -> None:
        save_checkpoint(self.checkpoints / BEST, {"model": self.best_weights, **self._description()})

    def _description(self) -> dict[str, Any]:
        """Return the contents of best.pt other than weights, as plain data: enough to predict any audio."""
        fields = dataclasses.asdict(self.model.config)
        return {
            "epoch": self.best_epoch,
            "model_config": {name: list(v) if isinstance(v, tuple) else v for name, v in fields.items()},
            "label_rate": self.corpus.label_rate,
            "sample_rate": self.corpus.sample_rate,
            "label_shift_s": [frames / self.corpus.label_rate for frames in self.shift_frames],
        }

    def resume(self) -> None:
        def check(content: dict[str, Any]) -> None:
            if "best" not in content:  # version 0.1.0 kept the best weights in best.pt alone
                content["best"] = self._load_best().get("model")
            check_content(
                content,
                model=self.model,
                optimizer=self.optimizer,
                device=self.device,
                steps_per_epoch=self.steps_per_epoch,
                max_epochs=self.config.epochs,
                identity=self.identity,
            )
            if self.config.estimate_delay and not _are_shifts(content.get("shift_frames"), len(self.targets)):
                raise CheckpointMismatchError("shift_frames is not a number of frames for each target")
            if not self.statistics.fits(content.get("statistics"), begun=bool(content.get("losses"))):
                raise CheckpointMismatchError("statistics are not those of this training's recordings")

        remove_half_written(self.checkpoints)
        content = load_last(self.checkpoints, self.supervision.log, check)
        if content is None:
            return
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        torch.set_rng_state(content["random"])
        if content["random_cuda"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(content["random_cuda"], self.device)
        self.epochs = read_reports(content)
        self.best_epoch = content["best_epoch"]
        self.best_weights = content["best"]
        # version 0.1.0 did not store the progress within an epoch
        self.losses, self.seconds_before = content.get("losses", []), content.get("seconds", 0.0)
        # an estimate may round differently on another kind of CPU; the training goes on with the one that it began with
        if self.config.estimate_delay and tuple(content["shift_frames"]) != self.shift_frames:
            self.shift_frames = tuple(content["shift_frames"])
            self.batches = self._batches(self.recordings)
        if (statistics := content.get("statistics")) is not None:
            self.statistics.values = statistics.to(self.device)

    def result(self) -> TrainingResult:
        if not self._best_is_kept():
            self._save_best()
        self.model.load_state_dict(self.best_weights)
        with in_precision(self.config.precision, self.device):
            backend = self.model.backend_on(self.device)
        return TrainingResult(self.model, tuple(self.epochs), self.best_epoch, self.shift_frames, backend)

    def _best_is_kept(self) -> bool:
        """Check that best.pt contains the best epoch: it may be damaged, or written by a killed run."""
        kept, own = self._load_best(), self.best_weights
        weights = kept.pop("model", None)
        if not isinstance(weights, dict) or kept != self._description():
            return False
        return weights.keys() == own.keys() and all(_is_equal(weights[name], own[name]) for name in own)

    def _load_best(self) -> dict[str, Any]:
        """Return the contents of best.pt; {} if there is none that can be read."""
        try:
            return load_checkpoint(self.checkpoints / BEST)
        except (FileNotFoundError, InputError):
            return {}


def _are_shifts(found: object, targets: int) -> bool:
    return isinstance(found, list | tuple) and len(found) == targets and all(type(f) is int and f >= 0 for f in found)


def _is_equal(found: object, own: torch.Tensor) -> bool:
    return isinstance(found, torch.Tensor) and found.dtype == own.dtype and torch.equal(found, own)


def _rank(devel: Scores) -> float:
    mean = devel.pooled["mean"]
    return mean if not math.isnan(mean) else -math.inf
