"""How long trials will take on this host, from a training step that is measured once per design and kept."""

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track

from ser_ray.models import ModelConfig
from ser_ray.models.network import build
from ser_ray.provenance import cpu_name, host_name
from ser_ray.training.config import TrainingConfig
from ser_ray.training.loss import ccc_loss
from ser_ray.training.numerics import prepare_process
from ser_ray.training.segments import recordings_of
from ser_ray.trial import Trial

MEASURED_S = 4.0
"""Length of the sequences in the measured step; its time is scaled to the trial's."""


def estimate_hours(trials: Sequence[Trial], cache: Path) -> list[float]:
    """Return how many hours each trial takes at most on one device of this host.

    One step of each design is measured, forward and backward, with the trial's batch size on a few seconds of audio,
    and scaled to the corpus: in proportion to the audio for training, a third of it for evaluation, which has no
    backward pass. Patience and early stopping can only shorten it.

    Args:
        trials: any number of trials.
        cache: folder in which measured steps are kept, one file per host.

    Returns:
        Hours, in the order of the trials.
    """
    prepare_process()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    path = cache / f"{host_name()}.json"
    known: dict[str, float] = json.loads(path.read_text()) if path.is_file() else {}
    designs = {_identity(trial, name): trial for trial in trials}
    missing = {identity: trial for identity, trial in designs.items() if identity not in known}
    console = Console(stderr=True)
    for identity in track(
        missing, "measuring one step per design", console=console, disable=not console.is_terminal, transient=True
    ):
        known[identity] = _measure(missing[identity], device)
    if missing:
        cache.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(known, indent=1, sort_keys=True))
    return [_hours(trial, known[_identity(trial, name)]) for trial in trials]


def _identity(trial: Trial, device_name: str) -> str:
    content = {
        "device": device_name,
        "torch": torch.__version__,
        "model": dataclasses.asdict(trial.config.model),
        "batch_size": trial.config.training.batch_size,
        "sequence_s": min(MEASURED_S, trial.config.training.sequence_s),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _measure(trial: Trial, device: torch.device) -> float:
    """Return seconds of one step per second of audio."""
    model_config: ModelConfig = trial.config.model
    training: TrainingConfig = trial.config.training
    frames = max(1, int(min(MEASURED_S, training.sequence_s) * trial.corpus.label_rate))
    model = build(model_config).to(device)
    waveform = torch.randn(training.batch_size, frames * trial.corpus.hop, device=device)
    gold = torch.randn(training.batch_size, frames, len(model_config.targets), device=device)
    seconds = []
    for _ in range(4):
        begin = time.perf_counter()
        loss = ccc_loss(model(waveform), gold)
        loss.backward()  # type: ignore[no-untyped-call]
        loss.item()  # waits for the device
        seconds.append(time.perf_counter() - begin)
    # the first steps also fetch memory and choose kernels; of the others the faster is less disturbed by the rest
    return min(seconds[2:]) / (training.batch_size * frames / trial.corpus.label_rate)


def _hours(trial: Trial, seconds_per_audio_second: float) -> float:
    training, corpus = trial.config.training, trial.corpus
    audio_s = {
        partition: sum(r.frames for r in recordings_of(corpus, partition, training)) / corpus.label_rate
        for partition in ("train", "devel", "test")
    }
    # short sequences are padded to whole ones
    padding = sum(
        math.ceil(r.frames / corpus.label_rate / training.sequence_s) * training.sequence_s
        for r in recordings_of(corpus, "train", training)
    ) / max(audio_s["train"], 1e-9)
    epoch_s = audio_s["train"] * padding + audio_s["devel"] / 3
    return seconds_per_audio_second * (training.epochs * epoch_s + (audio_s["devel"] + audio_s["test"]) / 3) / 3600
