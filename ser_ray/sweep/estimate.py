"""How long trials will take on this host, from a training step that is measured once per design and kept."""

import dataclasses
import hashlib
import json
import math
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track

from ser_ray.models import ModelConfig
from ser_ray.models.network import build
from ser_ray.provenance import cpu_name, host_name
from ser_ray.training.config import TrainingConfig, whole_frames
from ser_ray.training.loss import ccc_loss
from ser_ray.training.numerics import prepare_process
from ser_ray.training.segments import cut_segments, recordings_of
from ser_ray.trial import TRIAL_VERSION, Trial

MEASURED_S = 2.0
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
    known = _read_known(path)
    designs = {_identity(trial, name): trial for trial in trials}
    missing = {identity: trial for identity, trial in designs.items() if identity not in known}
    console = Console(stderr=True)
    if missing:
        note = f"measuring a training step of {len(missing)} designs on this host; it is kept for the next time"
        console.print(note, soft_wrap=True)
    for identity in track(missing, "measuring", console=console, disable=not console.is_terminal, transient=True):
        known[identity] = _measure(missing[identity], device)
    if missing:
        try:
            _keep(path, known)
        except OSError as error:
            console.print(f"the measured steps are not kept: {error}", markup=False)
    return [_hours(trial, known[_identity(trial, name)]) for trial in trials]


def _read_known(path: Path) -> dict[str, float]:
    """Return the steps measured before; none where the file is damaged, so that they are measured anew."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    pairs = content.items() if isinstance(content, dict) else ()
    return {identity: step for identity, step in pairs if isinstance(step, float) and 0 < step < math.inf}


def _keep(path: Path, known: Mapping[str, float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        temporary.write_text(json.dumps(known, indent=1, sort_keys=True), encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _identity(trial: Trial, device_name: str) -> str:
    content = {
        "device": device_name,
        "torch": torch.__version__,
        "trial_version": TRIAL_VERSION,
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
    for _ in range(3):
        begin = time.perf_counter()
        loss = ccc_loss(model(waveform), gold)
        loss.backward()  # type: ignore[no-untyped-call]
        loss.item()  # waits for the device
        seconds.append(time.perf_counter() - begin)
    # the first steps also fetch memory and choose kernels; of the others the faster is less disturbed by the rest
    return min(seconds[1:]) / (training.batch_size * frames / trial.corpus.label_rate)


def _hours(trial: Trial, seconds_per_audio_second: float) -> float:
    training, corpus = trial.config.training, trial.corpus
    frames = {
        partition: sum(recording.frames for recording in recordings_of(corpus, partition, training))
        for partition in ("devel", "test")
    }
    sequence_frames = whole_frames(training.sequence_s, corpus.label_rate, "training.sequence_s")
    segments = cut_segments(recordings_of(corpus, "train", training), sequence_frames)
    trained = len(segments) * sequence_frames  # short sequences are padded to whole ones
    evaluated = training.epochs * frames["devel"] + frames["devel"] + frames["test"]
    audio_s = (training.epochs * trained + evaluated / 3) / corpus.label_rate
    return seconds_per_audio_second * audio_s / 3600
