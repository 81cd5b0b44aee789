"""Made-up people for mimics: their voice, and several raters' ratings of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly

from ser_ray.corpus.store.schema import SAMPLE_RATE
from ser_ray.corpus.synthetic.generate import LABEL_RATE, speak_and_rate

NOTICE = "Made up by ser_ray in this layout: a synthetic voice and simulated raters. No person was recorded or rated."


@dataclass(frozen=True)
class Person:
    """One made-up recording: audio int16 [samples] at 16 kHz, and its ratings.

    `ratings` has a trace [frames] at 25 Hz per target and rater, in [-1, 1], in steps of 0.01.
    """

    audio: NDArray[np.int16]
    ratings: Mapping[str, Mapping[str, NDArray[np.float64]]]

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return self.audio.size / SAMPLE_RATE

    def gold(self, target: str) -> NDArray[np.float64]:
        """Return the mean of all raters of a target, [frames] at 25 Hz."""
        return np.asarray(np.mean(list(self.ratings[target].values()), axis=0))

    def write_audio(self, path: Path, rate_hz: int = SAMPLE_RATE, channels: int = 1) -> None:
        """Write the audio as 16-bit WAV with equal channels."""
        samples = self.audio.astype(np.float64) / 32768
        if rate_hz != SAMPLE_RATE:
            samples = resample_poly(samples, rate_hz, SAMPLE_RATE)
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.tile(np.clip(samples, -1, 1)[:, None], channels), rate_hz, subtype="PCM_16")


def person(number: int, seconds: float, seed: int) -> Person:
    """Generate a person with arousal, valence and raters R1 to R6; each number gives another voice and other traces."""
    audio, ratings = speak_and_rate(seconds, np.random.default_rng([seed, number]), np.random.default_rng([seed, 0]))
    return Person(audio, ratings)


def at_times(trace: NDArray[np.float64], times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interpolate a trace [frames] at 25 Hz linearly at other times; beyond its ends it is constant."""
    return np.asarray(np.interp(times_s, np.arange(trace.size) / LABEL_RATE, trace))
