"""A synthetic corpus: voices that follow latent arousal and valence, and simulated raters who follow the latent traces.

It needs no data, is the same for the same seed, and has the size of the paper's corpus. Results on it say nothing
about people. It is for learning the program, for tests, and for power analyses of experimental designs.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ser_ray.corpus.gold.consensus import gold_standard
from ser_ray.corpus.progress import track
from ser_ray.corpus.store.schema import MANIFEST, PARTITIONS, SCHEMA_VERSION
from ser_ray.corpus.store.writer import CorpusWriter, check_free
from ser_ray.corpus.synthetic.speech import CONTROL_RATE, draw_voice, one_pole, speak
from ser_ray.errors import InputError

GENERATOR_VERSION = 1
"""Increased whenever equal parameters would give other samples or labels."""

LABEL_RATE = 25.0
TARGETS = ("arousal", "valence")
RATERS = 6
NOTICE = (
    "Made up by ser_ray: a synthetic voice, latent traces and simulated raters. No person was "
    "recorded or rated; results on this corpus say nothing about human emotion."
)


@dataclass(frozen=True, kw_only=True)
class SyntheticConfig:
    """Size and seed of a synthetic corpus; the defaults have the paper's shape.

    `recordings` are the numbers in train, devel and test; each recording lasts `seconds`.
    """

    recordings: tuple[int, int, int] = (16, 15, 15)
    seconds: float = 300.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse sizes that give no corpus to train on."""
        if len(self.recordings) != 3 or min(self.recordings[:2]) < 1 or self.recordings[2] < 0:
            raise InputError(
                f"recordings are {list(self.recordings)}, but must be three numbers: train and devel "
                "of at least 1, test of at least 0"
            )
        if not 1 <= self.seconds <= 36_000:
            raise InputError(f"seconds is {self.seconds}, but a recording must last 1 to 36000 seconds")
        if self.seed < 0:
            raise InputError(f"seed is {self.seed}, but must be at least 0")


BUILT_IN: Mapping[str, SyntheticConfig] = {
    "synthetic": SyntheticConfig(),
    "synthetic-small": SyntheticConfig(recordings=(8, 4, 4), seconds=120.0),
    "synthetic-demo": SyntheticConfig(recordings=(8, 4, 4), seconds=60.0),
}
"""Names of corpora that a sweep may give instead of a folder."""


def built_in(name: str, folder: str | Path) -> Path:
    """Return the folder of a built-in corpus, folder/NAME-HASH, generated on first use.

    HASH is the hash of its parameters. Two processes may call this at once: each gets a complete corpus.

    Raises:
        InputError: if the name is unknown.
    """
    if name not in BUILT_IN:
        raise InputError(f"built-in corpus is {name!r}, but must be one of {', '.join(BUILT_IN)}")
    config = BUILT_IN[name]
    text = json.dumps({"version": GENERATOR_VERSION, "schema": SCHEMA_VERSION, **asdict(config)}, sort_keys=True)
    out = Path(folder) / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    if (out / MANIFEST).is_file():
        return out
    check_free(out)
    # Generated under a unique name, then moved: the later of two processes finds the folder present and drops its copy.
    made = Path(folder) / f".{out.name}.{secrets.token_hex(4)}"
    try:
        _make(made, name, config)
        os.replace(made, out)
    except OSError:
        if not (out / MANIFEST).is_file():
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return out


def make_synthetic(
    out: str | Path,
    *,
    recordings: tuple[int, int, int] = (16, 15, 15),
    seconds: float = 300.0,
    seed: int = 0,
    name: str = "synthetic",
) -> Path:
    """Make a corpus of synthetic voices and return its folder; the default has the paper's shape.

    `recordings` are the numbers in train, devel and test; each recording has its own speaker. Equal arguments give an
    equal fingerprint.

    Raises:
        InputError: if an argument is out of range or the folder is not empty.
    """
    config = SyntheticConfig(recordings=recordings, seconds=seconds, seed=seed)
    _make(Path(out), name, config)
    return Path(out)


def _make(out: Path, name: str, config: SyntheticConfig) -> None:
    raters = _draw_raters(np.random.default_rng([config.seed, 0]))
    rows = [
        (partition, number + 1)
        for partition, count in zip(PARTITIONS, config.recordings, strict=True)
        for number in range(count)
    ]
    with CorpusWriter(out, name=name, label_rate=LABEL_RATE, targets=TARGETS, notice=NOTICE) as writer:
        for row, (partition, number) in enumerate(track(rows, "making synthetic speech")):
            # Each recording has its own random stream, so none depends on the number of recordings before it.
            rng = np.random.default_rng([config.seed, 1 + row])
            audio, ratings = _speak_and_rate(config.seconds, rng, raters)
            gold = [gold_standard(list(by_rater.values()), "ewe") for by_rater in ratings.values()]
            writer.add(
                f"{partition}_{number}",
                partition,
                f"S{row + 1:02d}",
                audio,
                np.round(np.stack(gold, axis=1), 5).astype(np.float32),
                ratings=ratings,
            )


def speak_and_rate(
    seconds: float, rng: np.random.Generator, raters_rng: np.random.Generator
) -> tuple[NDArray[np.int16], dict[str, dict[str, NDArray[np.float64]]]]:
    """Generate one recording, int16 [samples] at 16 kHz, and a trace [frames] at 25 Hz per target and rater.

    The raters are drawn from `raters_rng`; the voice, the latent traces and the raters' noise from `rng`.
    """
    return _speak_and_rate(seconds, rng, _draw_raters(raters_rng))


def _speak_and_rate(
    seconds: float, rng: np.random.Generator, raters: "list[_Rater]"
) -> tuple[NDArray[np.int16], dict[str, dict[str, NDArray[np.float64]]]]:
    frames = int(seconds * LABEL_RATE)
    latent = np.stack([_random_walk(frames, rng) for _ in TARGETS])
    arousal, valence = (_at_control_rate(trace) for trace in latent)
    audio = speak(draw_voice(rng), arousal, valence, rng)
    ratings = {
        target: {f"R{i + 1}": _rate(trace, rater, rng) for i, rater in enumerate(raters)}
        for target, trace in zip(TARGETS, latent, strict=True)
    }
    return audio, ratings


@dataclass(frozen=True)
class _Rater:
    lag_s: float
    smoothing_s: float
    gain: float
    bias: float
    noise: float


def _draw_raters(rng: np.random.Generator) -> list[_Rater]:
    return [
        _Rater(
            lag_s=float(rng.uniform(1.0, 3.0)),
            smoothing_s=float(rng.uniform(0.4, 0.7)),
            gain=float(rng.normal(0.9, 0.12)),
            bias=float(rng.normal(0, 0.05)),
            noise=float(rng.uniform(0.08, 0.18)),
        )
        for _ in range(RATERS)
    ]


def _rate(latent: NDArray[np.float64], rater: _Rater, rng: np.random.Generator) -> NDArray[np.float64]:
    """Simulate one rater: delay, smooth and scale the latent trace and add noise, in [-1, 1], in steps of 0.01."""
    lag = round(rater.lag_s * LABEL_RATE)
    late = np.concatenate([np.full(lag, latent[0]), latent])[: latent.size]
    keep = float(np.exp(-1 / (rater.smoothing_s * LABEL_RATE)))
    for _ in range(2):  # two equal poles: the rater's hand, critically damped
        late = one_pole(late, keep)
    noise = rater.noise * _ornstein_uhlenbeck(latent.size, 3.0, rng)
    return np.asarray(np.round(np.clip(rater.gain * late + rater.bias + noise, -1, 1), 2))


def _random_walk(frames: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a smooth latent trace [frames] in [-1, 1] that varies around 0 within some seconds."""
    walk = _ornstein_uhlenbeck(frames, 8.0, rng)
    keep = float(np.exp(-1 / (0.5 * LABEL_RATE)))
    walk = one_pole(walk, keep)
    return np.asarray(np.round(np.tanh(0.8 * walk), 6))


def _ornstein_uhlenbeck(frames: int, time_constant_s: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw an Ornstein-Uhlenbeck process [frames]: a random walk pulled back to 0, of unit variance."""
    keep = float(np.exp(-1 / (time_constant_s * LABEL_RATE)))
    steps = rng.standard_normal(frames) * np.sqrt((1 + keep) / (1 - keep))
    steps[0] = rng.standard_normal()
    return np.asarray(one_pole(steps, keep))


def _at_control_rate(trace: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interpolate a trace [frames] at the voice's control steps: [steps]."""
    steps = np.arange(round(trace.size * CONTROL_RATE / LABEL_RATE)) * (LABEL_RATE / CONTROL_RATE)
    return np.asarray(np.interp(steps, np.arange(trace.size), trace))
