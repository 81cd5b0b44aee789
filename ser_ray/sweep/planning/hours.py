"""Estimate the hours of trials: from measured trials, else from a training step measured on this host."""

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track

from ser_ray.files import write_text
from ser_ray.models import ModelConfig
from ser_ray.models.config import Backend
from ser_ray.models.conv_pool import choose, reference
from ser_ray.models.network import build
from ser_ray.provenance import cpu_name, host_name
from ser_ray.results import SweepFolder
from ser_ray.sweep.planning.measured import DeviceClass, Speeds, read_speeds
from ser_ray.sweep.planning.trial_audio import TrialAudio
from ser_ray.training.config import TrainingConfig
from ser_ray.training.loss import ccc_loss
from ser_ray.training.numerics import effective_precision, in_precision, prepare_process, weights_dtype
from ser_ray.trial import TRIAL_VERSION, Trial

MEASURED_S = 2.0
"""Length in seconds of the sequences in the measured step; its time is scaled to the trial's."""


@dataclass(frozen=True)
class DeviceHours:
    """Hours of the trials to do, on one class of devices.

    Args:
        device: its name, precision and back end.
        measured: number of trials that the estimate is based on; 0 for a step that was measured on this host.
        hours: of one device that runs as many trials at once as fit.
        at_once: number of these trials: those that share a GPU, 1 on a core.
    """

    device: str
    measured: int
    hours: float
    at_once: int = 1


@dataclass(frozen=True)
class Forecast:
    """Upper limits of the hours of trials; patience and early stopping can only shorten them.

    Args:
        hours: of each trial, in their order, on one device of this host that it shares with as many others as fit.
        devices: hours of the trials to do, on each class of devices with measurements.
    """

    hours: tuple[float, ...]
    devices: tuple[DeviceHours, ...]


class MeasuredHours:
    """Hours of trials on a class of devices, from the speeds of other trials there."""

    def __init__(self, device: DeviceClass, speeds: Speeds, trials: Sequence[Trial], audio: TrialAudio) -> None:
        self.device = device
        self._speeds, self._trials, self._audio = speeds, trials, audio
        self._known: dict[float, tuple[float, ...]] = {}

    @property
    def measured(self) -> int:
        """Number of trials that the estimate is based on."""
        return len(self._speeds.trials)

    @property
    def rough(self) -> bool:
        """Whether all of these had other networks, so that the hours are only in proportion to multiply-adds."""
        return not any(self._speeds.knows(model) for model in {trial.config.model for trial in self._trials})

    def hours(self, share: float = 1.0) -> tuple[float, ...]:
        """Return the hours of each trial, in their order, on a share of a GPU, at most 1; on a CPU the share is 1."""
        if share not in self._known:
            own = (self._audio.measured_hours(trial, self._speeds, share) for trial in self._trials)
            self._known[share] = tuple(own)
        return self._known[share]


def measured_hours(trials: Sequence[Trial], measured: Sequence[SweepFolder]) -> list[MeasuredHours]:
    """Estimate the hours of trials on each class of devices where trials of `measured` finished; sorted by class."""
    audio = TrialAudio()
    return [MeasuredHours(device, known, trials, audio) for device, known in read_speeds(measured).items()]


def forecast(
    trials: Sequence[Trial],
    to_do: Set[str],
    measured: Sequence[SweepFolder],
    steps_dir: Path,
    backend: Backend = "auto",
    *,
    gpus: float = 1.0,
) -> Forecast:
    """Forecast the hours of trials.

    On a GPU each trial has the share that the other trials to do leave it. The hours of a device are those of all
    trials at that share, divided by the number of them that run on it at once.

    Args:
        trials: any number.
        to_do: keys of the trials that are still to be trained.
        measured: sweeps whose finished trials give the speed of devices.
        steps_dir: cache of steps measured on this host, for device classes without finished trials.
        backend: of the convolutional blocks.
        gpus: least share of a GPU that a trial gets where there is one, or whole GPUs; 0 for none.
    """
    speeds = read_speeds(measured)
    audio, here = TrialAudio(), _Here(backend, gpus > 0)
    # equal shares of at least `gpus`; whole GPUs count as one, and fewer trials than fit have larger shares
    at_once = max(1, min(int(1 / min(gpus or 1.0, 1.0)), len(to_do)))
    own_at_once = at_once if here.device.type == "cuda" else 1
    unknown = [trial for trial in trials if here.device_class(trial) not in speeds]
    steps = estimate_hours(unknown, steps_dir, backend, on_gpu=gpus > 0)  # each alone on its device
    stepped = {trial.key: own_at_once * hours for trial, hours in zip(unknown, steps, strict=True)}
    hours = tuple(
        stepped[trial.key]
        if trial.key in stepped
        else audio.measured_hours(trial, speeds[here.device_class(trial)], 1 / own_at_once)
        for trial in trials
    )
    left = [trial for trial in trials if trial.key in to_do]
    devices = []
    for device, known in speeds.items():
        beside = at_once if device.is_gpu else 1
        all_hours = math.fsum(audio.measured_hours(trial, known, 1 / beside) for trial in left)
        devices.append(DeviceHours(str(device), len(known.trials), all_hours / beside, beside))
    if any(trial.key in stepped for trial in left):
        own = math.fsum(h for trial, h in zip(trials, hours, strict=True) if trial.key in to_do)
        devices.insert(0, DeviceHours(f"this host: {here.name}", 0, own / own_at_once, own_at_once))
    return Forecast(hours, tuple(devices))


def estimate_hours(
    trials: Sequence[Trial], steps_dir: Path, backend: Backend = "auto", *, on_gpu: bool = True
) -> list[float]:
    """Estimate an upper limit of each trial's hours, alone on one device of this host.

    One step of each design is measured, forward and backward, with the trial's precision and batch size on a few
    seconds of audio. It is scaled to the corpus in proportion to the audio; evaluation counts a third, since it has no
    backward pass. Steps are cached in `steps_dir`, a file per host.
    """
    here, audio = _Here(backend, on_gpu), TrialAudio()
    path = steps_dir / f"{host_name()}.json"
    known = _read_known(path) if trials else {}
    identities = [here.identity(trial) for trial in trials]
    missing = {identity: trial for identity, trial in zip(identities, trials, strict=True) if identity not in known}
    console = Console(stderr=True)
    if missing:
        note = f"measuring a training step of {len(missing)} designs on this host; the result is cached"
        console.print(note, soft_wrap=True)
    for identity in track(missing, "measuring", console=console, disable=not console.is_terminal, transient=True):
        known[identity] = _measure(missing[identity], audio.largest_batch(missing[identity]), here.device, backend)
    if missing:
        try:
            write_text(path, json.dumps(known, indent=1, sort_keys=True))
        except OSError as error:
            console.print(f"the measured steps cannot be cached: {error}", markup=False)
    return [
        audio.of(trial).hours(known[identity], trial.config.training.epochs, padded=True)
        for identity, trial in zip(identities, trials, strict=True)
    ]


class _Here:
    """The device of this host that a sweep would train on, with the precision and back end in effect there."""

    def __init__(self, backend: Backend, on_gpu: bool) -> None:
        self.backend = backend
        self.device = torch.device("cuda" if on_gpu and torch.cuda.is_available() else "cpu")
        gpu = self.device.type == "cuda"
        self.name = torch.cuda.get_device_name(self.device) if gpu else f"cpu: {cpu_name()}"
        self._in_effect: dict[tuple[bool, str], DeviceClass] = {}
        self._identities: dict[tuple[ModelConfig, str, bool, int, float], str] = {}

    def device_class(self, trial: Trial) -> DeviceClass:
        """Return the device class that a trial's row would have if it were trained here."""
        fusible, precision = trial.config.model.fusible, trial.config.training.precision
        if (fusible, precision) not in self._in_effect:
            with in_precision(precision, self.device):
                chosen = choose(self.backend, self.device, torch.float32)
            fused = fusible and chosen is not reference.conv_pool
            self._in_effect[fusible, precision] = DeviceClass(
                self.name, effective_precision(precision, self.device), "fused" if fused else "reference"
            )
        return self._in_effect[fusible, precision]

    def identity(self, trial: Trial) -> str:
        """Return the fingerprint under which a trial's step is cached, the same for steps that take equally long."""
        model, training = trial.config.model, trial.config.training
        shown = min(MEASURED_S, training.sequence_s)
        design = model, training.precision, training.deterministic, training.batch_size, shown
        if design not in self._identities:
            content = {
                "in_effect": self.device_class(trial),
                "deterministic": training.deterministic or self.device.type == "cpu",
                "torch": torch.__version__,
                "trial_version": TRIAL_VERSION,
                "model": dataclasses.asdict(model),
                "batch_size": training.batch_size,
                "sequence_s": shown,
            }
            text = json.dumps(content, sort_keys=True)
            self._identities[design] = hashlib.sha256(text.encode()).hexdigest()[:16]
        return self._identities[design]


def _read_known(path: Path) -> dict[str, float]:
    """Read the cached steps; none if the file is damaged, so that they are measured anew."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    pairs = content.items() if isinstance(content, dict) else ()
    return {identity: step for identity, step in pairs if isinstance(step, float) and 0 < step < math.inf}


def _measure(trial: Trial, batch_size: int, device: torch.device, backend: Backend) -> float:
    """Measure the seconds of one step per second of audio."""
    model_config: ModelConfig = trial.config.model
    training: TrainingConfig = trial.config.training
    prepare_process(training.precision, deterministic=training.deterministic)
    frames = max(1, int(min(MEASURED_S, training.sequence_s) * trial.corpus.label_rate))
    model = build(model_config, backend).to(device, weights_dtype(training.precision))
    waveform = torch.randn(batch_size, frames * trial.corpus.hop, device=device)
    gold = torch.randn(batch_size, frames, len(model_config.targets), device=device)
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        with in_precision(training.precision, device):
            prediction = model(waveform)
        loss = ccc_loss(prediction, gold)
        loss.backward()  # type: ignore[no-untyped-call]
        loss.item()  # waits for the device
        seconds.append(time.perf_counter() - begin)
    # the first step also allocates memory and chooses kernels; the faster of the others was disturbed less
    return min(seconds[1:]) / (batch_size * frames / trial.corpus.label_rate)
