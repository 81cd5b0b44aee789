"""A trained model on any audio: `ser-ray predict MODEL AUDIO...` writes one CSV file of predictions per recording."""

import argparse
import dataclasses
import os
import secrets
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ser_ray.corpus.ingest import decode
from ser_ray.corpus.problems import Problems
from ser_ray.corpus.schema import SAMPLE_RATE, samples_per_frame
from ser_ray.corpus.writer import moments
from ser_ray.errors import InputError
from ser_ray.models import ModelConfig
from ser_ray.results import SweepFolder, ccc_column, open_sweep, read_table

if TYPE_CHECKING:
    from ser_ray.models.network import Network
    from ser_ray.postprocess import PostProcessing

ZIP_MAGIC = b"PK\x03\x04"
LEGAL = "MODEL is a best.pt, a folder that holds one, or a sweep's folder such as results/overlap"


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A network with the weights of its best epoch, and what it takes to read its output.

    Args:
        model: the network, on the CPU when just loaded.
        config: its configuration; its targets name the columns of a prediction.
        label_rate: frames per second of its predictions.
        shift_frames: the label shift of its training, by which predictions are moved later.
    """

    model: "Network"
    config: ModelConfig
    label_rate: float
    shift_frames: int


def load_model(path: str | Path) -> TrainedModel:
    """Return a trained model; nothing in its file is executed.

    Args:
        path: a best.pt, a folder that holds one, or the folder of a sweep (see `find_checkpoint`).

    Raises:
        InputError: if there is no such model, or the file is no checkpoint that describes its network.
    """
    from ser_ray.models.network import build
    from ser_ray.training.config import whole_frames

    checkpoint = find_checkpoint(path)
    content = _read(checkpoint)
    try:
        config = ModelConfig(**content["model_config"])
        if (content["sample_rate"], samples_per_frame(content["label_rate"])) != (SAMPLE_RATE, config.hop):
            raise ValueError(f"frames of {config.hop} samples are not what its rates say")
        shift_frames = whole_frames(content["label_shift_s"], content["label_rate"], "label_shift_s")
        model = build(config)
        model.load_state_dict(content["model"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{checkpoint} describes a network that this version of ser_ray cannot build ({reason}); train again"
        ) from error
    return TrainedModel(model.eval(), config, content["label_rate"], shift_frames)


def _read(checkpoint: Path) -> dict[str, Any]:
    from ser_ray.training.checkpoint import load_checkpoint

    try:
        with checkpoint.open("rb") as file:
            whole = file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
        content = load_checkpoint(checkpoint) if whole else {}
    except OSError as error:
        raise InputError(f"{checkpoint} cannot be read ({error.strerror})") from error
    except InputError as error:
        raise InputError(f"{checkpoint} is damaged, or no checkpoint of ser_ray; {LEGAL}") from error
    if "model" not in content:
        raise InputError(f"{checkpoint} is no checkpoint of ser_ray; {LEGAL}")
    if "optimizer" in content:
        raise InputError(f"{checkpoint} is what a training goes on from; give the best.pt beside it")
    if "model_config" not in content:
        raise InputError(
            f"{checkpoint} does not describe its network, as an older version of ser_ray wrote it; train again"
        )
    return content


def find_checkpoint(path: str | Path) -> Path:
    """Return the best.pt that a user means.

    Args:
        path: a file, which is taken as it is; a folder that holds a best.pt; or the folder of a sweep, of whose
            finished trials the one with the highest raw devel CCC (mean of the targets) is taken.

    Raises:
        InputError: if there is none.
    """
    given = Path(path)
    if not given.is_dir():
        if given.exists():
            return given
        raise InputError(f"{given} does not exist; {LEGAL}")
    if (given / "best.pt").is_file():
        return given / "best.pt"
    if not SweepFolder(given).sweep_file.is_file():
        near = sorted([*given.glob("*/best.pt"), *given.glob("*/sweep.yaml")])[:3]
        inside = f"; in it there are {', '.join(str(found.parent) for found in near)}" if near else ""
        raise InputError(f"{given} holds neither a best.pt nor a sweep{inside}; {LEGAL}")
    return _best_of(open_sweep(given))


def _best_of(folder: SweepFolder) -> Path:
    score = ccc_column("devel", "mean")
    rows = read_table(folder, "trials", columns=["key", "status", score]).to_pylist()
    finished = [row for row in rows if row["status"] == "finished" and row[score] is not None]
    if not finished:
        raise InputError(f"{folder.path} has no finished trial with a {score} yet; wait for one, or give a best.pt")
    best = max(finished, key=lambda row: float(row[score]))
    checkpoint = folder.checkpoints(best["key"]) / "best.pt"
    if not checkpoint.is_file():
        raise InputError(
            f"{checkpoint} is gone, of the trial with the highest {score}; give the best.pt of another trial"
        )
    return checkpoint


def read_chains(checkpoint: Path, method: str, targets: Sequence[str]) -> list["PostProcessing"]:
    """Return the post-processing that a sweep found for a trial.

    Args:
        checkpoint: the trial's best.pt, in its sweep's folder.
        method: "greedy" or "exhaustive".
        targets: what the model predicts.

    Returns:
        One chain per target.

    Raises:
        InputError: if the sweep holds no such chain, or the file lies in no sweep.
    """
    from ser_ray.postprocess import PostProcessing

    place = checkpoint.resolve().parent
    key, folder = place.name, SweepFolder(place.parent.parent)
    part = folder.part("postprocessing", key)
    if folder.checkpoints(key) != place or not part.is_file():
        raise InputError(
            f"--postprocess {method}: {checkpoint} lies in no sweep that has searched its post-processing "
            f"({part} does not exist); leave the option out for raw predictions"
        )
    rows = read_table(folder, "postprocessing", keys=[key]).to_pylist()
    found = {row["target"]: row for row in rows if row["method"] == method}
    lacking = [target for target in targets if target not in found]
    if lacking:
        methods = ", ".join(sorted({row["method"] for row in rows})) or "none"
        raise InputError(f"--postprocess {method}: {part} has no such chain of {lacking[0]}; methods in it: {methods}")
    names = [field.name for field in dataclasses.fields(PostProcessing)]
    return [PostProcessing(**{name: found[target][name] for name in names}) for target in targets]


def predict_audio(
    trained: TrainedModel, samples: NDArray[np.int16] | NDArray[np.float32], *, name: str | Path = "the audio"
) -> NDArray[np.float32]:
    """Return a model's raw predictions for one recording, on the recording's own time.

    Args:
        trained: the model, on any device.
        samples: [samples] at 16 kHz, mono. int16 is normalised here, as in training, by its own mean and deviation;
            float32 is taken to be normalised so already. A trailing part frame is dropped.
        name: what the recording is called in messages.

    Returns:
        [frames, targets]; frame i is at i / label_rate seconds.

    Raises:
        InputError: if it is shorter than one frame, silent, of another type, or holds values that are not numbers.
    """
    from ser_ray.training.evaluate import delay, predict_waveforms

    if samples.ndim != 1 or samples.dtype not in (np.int16, np.float32):
        raise InputError(f"{name} is {samples.dtype} {list(samples.shape)}, but must be int16 or float32 [samples]")
    hop = trained.config.hop
    frames = samples.size // hop
    if frames < 1:
        raise InputError(f"{name} has {samples.size} samples at {SAMPLE_RATE} Hz: less than one frame of {hop}")
    samples = samples[: frames * hop]
    if samples.min() == samples.max():
        raise InputError(f"{name} is silent: all its samples are {samples[0]}")
    waveform = samples.astype(np.float32)
    if samples.dtype == np.int16:
        mean, std = moments(samples.astype(np.int16, copy=False))
        waveform -= np.float32(mean)
        waveform *= np.float32(1 / std)
    if not np.isfinite(waveform).all():
        raise InputError(f"{name} holds samples that are not numbers (NaN or infinity)")
    return delay(predict_waveforms(trained.model, [waveform])[0], trained.shift_frames)


def postprocessed(chains: Sequence["PostProcessing"], prediction: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return predictions [frames, targets] after the chain of each target; without chains as they are."""
    from ser_ray.postprocess import apply

    if not chains:
        return prediction
    columns = zip(chains, prediction.T, strict=True)
    return np.column_stack([apply(chain, [column])[0] for chain, column in columns])


def write_csv(path: Path, targets: Sequence[str], label_rate: float, prediction: NDArray[np.floating]) -> None:
    """Write predictions as CSV, whole or not at all.

    Args:
        path: the file, which is replaced.
        targets: names of the columns behind time_s.
        label_rate: frames per second.
        prediction: [frames, targets].

    Raises:
        InputError: if it cannot be written.
    """
    rows = np.column_stack([np.arange(len(prediction)) / label_rate, prediction])
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        try:
            with temporary.open("w", encoding="utf-8", newline="") as file:
                header = ",".join(["time_s", *targets])
                np.savetxt(file, rows, fmt="%.6f", delimiter=",", header=header, comments="")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); --out DIR writes elsewhere") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Predict audio files and say what came out; return 0.

    Args:
        argv: arguments of the command line.

    Raises:
        InputError: for any mistake; one in the model, in the names of files or in the options before anything is
            written, one in the content of an audio file after the others are predicted.
    """
    arguments = _parser().parse_args(argv)
    outputs = _outputs(arguments.audio, arguments.out, overwrite=arguments.overwrite)
    checkpoint = find_checkpoint(arguments.model)
    trained = load_model(checkpoint)
    targets = trained.config.targets
    chains = [] if arguments.postprocess == "none" else read_chains(checkpoint, arguments.postprocess, targets)
    if arguments.model not in (checkpoint, checkpoint.parent):
        print(f"{arguments.model}: trial {checkpoint.parent.name} has the highest {ccc_column('devel', 'mean')}")
    _prepare(trained, arguments.out)
    problems = Problems("audio")
    for audio, path in _tracked(outputs):
        try:
            samples = decode(audio)
            prediction = postprocessed(chains, predict_audio(trained, samples, name=audio))
        except InputError as error:
            problems.add(str(error))
            continue
        write_csv(path, targets, trained.label_rate, prediction)
        means = "  ".join(f"{t} {mean:+.4f}" for t, mean in zip(targets, prediction.mean(axis=0), strict=True))
        print(f"{audio.name}  {samples.size / SAMPLE_RATE:.2f} s  {len(prediction)} frames  {means}  {path}")
    problems.refuse()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("ser-ray predict", description="A trained model's predictions for audio files.")
    parser.add_argument("model", metavar="MODEL", type=Path, help="best.pt, a folder with one, or results/<sweep>")
    parser.add_argument("audio", metavar="AUDIO", type=Path, nargs="+", help="file of any format, rate and channels")
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path(), help="where NAME.csv go; default: here")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.add_argument(
        "--postprocess",
        choices=("none", "greedy", "exhaustive"),
        default="none",
        help="apply the chain that the model's sweep found so; default: none, raw predictions",
    )
    return parser


def _outputs(audio: Sequence[Path], out: Path, *, overwrite: bool) -> Mapping[Path, Path]:
    """Return where the predictions of each audio file go; refuse all that their names alone tell is wrong."""
    problems = Problems("audio")
    named = defaultdict(list)
    for path in audio:
        named[out / f"{path.stem}.csv"].append(path)
        if path.is_dir():
            problems.add(f"{path} is a folder; name the audio files in it, such as {path / '*.wav'}")
        elif not path.exists():
            problems.add(f"{path} does not exist")
    for output, inputs in named.items():
        if len(inputs) > 1:
            same = " and ".join(map(str, inputs[:2]))
            problems.add(f"{same} would both be written to {output}; predict them with another --out DIR each")
        if output.exists() and not overwrite:
            problems.add(f"{output} exists; --overwrite replaces it, --out DIR writes elsewhere")
    problems.refuse()
    return {inputs[0]: output for output, inputs in named.items()}


def _prepare(trained: TrainedModel, out: Path) -> None:
    """Make the folder of the output, and bring the model to where it runs fastest."""
    import torch

    from ser_ray.training.numerics import prepare_process

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out} cannot be made a folder ({error.strerror}); choose another") from error
    prepare_process()
    trained.model.to("cuda" if torch.cuda.is_available() else "cpu")


def _tracked(outputs: Mapping[Path, Path]) -> Iterator[tuple[Path, Path]]:
    """Yield audio files and their outputs, with a progress bar on stderr where that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    # a bar takes over stdout too, to print above itself, which must not catch what is piped elsewhere
    redirect = sys.stdout.isatty()
    console = Console(stderr=True)
    with Progress(
        console=console, transient=True, disable=not console.is_terminal, redirect_stdout=redirect
    ) as progress:
        yield from progress.track(outputs.items(), description="predicting")


if __name__ == "__main__":
    from ser_ray.cli import run

    run(main)
