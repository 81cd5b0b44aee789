"""A synthetic voice: pulses through a vocal tract, controlled by arousal and valence.

The effects are those of the textbook (Scherer 2003). Arousal raises pitch, loudness, speaking rate and brightness, and
makes pauses rare. Valence spreads the lips (formants up), widens the melody and makes the voice less breathy; its
effects are weaker, as in real speech. The control signals are rounded to a coarse grid and the samples are made by
plain arithmetic, so that a seed gives the same samples on every machine of the same kind.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ser_ray.corpus.store.schema import SAMPLE_RATE
from ser_ray.kernel_cache import compiled

CONTROL_RATE = 100
"""Control steps of the voice per second."""

BLOCK = SAMPLE_RATE // CONTROL_RATE
VOWELS_HZ = np.array(  # first three formants of five vowels
    [[700, 1220, 2600], [530, 1840, 2480], [280, 2250, 2900], [500, 1000, 2450], [320, 900, 2300]],
    np.float64,
)
BANDWIDTHS_HZ = (80.0, 110.0, 160.0)


@dataclass(frozen=True)
class Voice:
    """Parameters of a speaker.

    `tract` is a factor on all formants, above 1 for a shorter vocal tract; `rate_hz` is syllables per second;
    `brightness_hz` is the corner frequency of the source's spectral slope; `breath` and `room` are noise levels.
    """

    pitch_hz: float
    tract: float
    rate_hz: float
    brightness_hz: float
    breath: float
    room: float


def draw_voice(rng: np.random.Generator) -> Voice:
    """Draw a random speaker."""
    high = rng.random() < 0.5
    return Voice(
        pitch_hz=float((195.0 if high else 115.0) * 2 ** rng.uniform(-0.25, 0.25)),
        tract=float((1.08 if high else 0.97) * rng.uniform(0.95, 1.05)),
        rate_hz=float(rng.uniform(3.8, 5.2)),
        brightness_hz=float(rng.uniform(600, 1000)),
        breath=float(rng.uniform(0.06, 0.14)),
        room=float(rng.uniform(0.002, 0.008)),
    )


def speak(
    voice: Voice,
    arousal: NDArray[np.float64],
    valence: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.int16]:
    """Synthesise speech, int16 [steps * BLOCK] at 16 kHz, from arousal and valence.

    Both are [steps], in [-1, 1], with CONTROL_RATE steps per second.
    """
    steps = arousal.size
    # The phase runs faster with arousal: its integer part numbers the syllables, its fraction is the position in one.
    phase = np.cumsum(_grid(voice.rate_hz * 2 ** (0.5 * arousal), 1024)) / CONTROL_RATE
    syllable = phase.astype(np.int64)
    place = phase - syllable
    count = int(syllable[-1]) + 1
    starts = np.searchsorted(syllable, np.arange(count))
    starts = np.minimum(starts, steps - 1)

    accent = rng.standard_normal(count) * (1.5 + 1.0 * valence[starts])  # semitones
    stress_db = 1.5 * rng.standard_normal(count)
    vowel = rng.integers(0, len(VOWELS_HZ), count)
    pause = rng.random(count) < 0.20 - 0.10 * arousal[starts]
    pause[1:] |= pause[:-1] & (rng.random(count - 1) < 0.4)

    contour = np.sin(np.pi * place)
    pitch_semitones = 3.5 * arousal + accent[syllable] * contour
    pitch_hz = _grid(voice.pitch_hz * 2 ** (pitch_semitones / 12), 256)
    level_db = 5.0 * arousal + stress_db[syllable] - 12.0
    gate = np.where(pause[syllable], 0.0, np.sqrt(contour) * 0.9 + 0.1)
    gain = _grid(10 ** (level_db / 20) * gate, 65536)
    corner_hz = voice.brightness_hz * 2 ** (0.9 * arousal + 0.35 * valence)
    slope = _grid(1 - np.exp(-2 * np.pi * corner_hz / SAMPLE_RATE), 65536)
    breath = _grid(voice.breath * 2 ** (-1.8 * valence), 65536)
    formants = VOWELS_HZ[vowel[syllable]] * (voice.tract * (1 + 0.10 * valence))[:, None]
    for formant in formants.T:
        formant[:] = one_pole(formant.copy(), 0.85)  # articulation takes time

    radius = np.exp(-np.pi * np.array(BANDWIDTHS_HZ) / SAMPLE_RATE)
    turn = _grid(2 * radius * np.cos(2 * np.pi * formants / SAMPLE_RATE), 2**24)
    noise = rng.standard_normal(steps * BLOCK, dtype=np.float32)
    steering = np.column_stack([pitch_hz / SAMPLE_RATE, gain, slope, breath, turn])
    wave: NDArray[np.float32] = _vocal_tract(steering, _grid(radius**2, 2**24), noise, voice.room)
    return np.rint(np.clip(wave * 16384, -32767, 32767)).astype(np.int16)


def _grid(values: NDArray[np.float64], per_unit: int) -> NDArray[np.float64]:
    """Round values to a grid, so that the last bits of exp and cos make no difference."""
    return np.asarray(np.rint(values * per_unit) / per_unit)


@compiled
def one_pole(values: NDArray[np.float64], keep: float) -> NDArray[np.float64]:
    """Smooth float64 [steps] by y[t] = keep y[t - 1] + (1 - keep) x[t], starting from y[-1] = x[0]."""
    smooth = np.empty_like(values)
    state = values[0]
    for t in range(values.size):
        state = keep * state + (1.0 - keep) * values[t]
        smooth[t] = state
    return smooth


@compiled
def _vocal_tract(
    steering: NDArray[np.float64], damp: NDArray[np.float64], noise: NDArray[np.float32], room: float
) -> NDArray[np.float32]:
    """Synthesise float32 samples, roughly in [-1, 1]: pulses and breath, a lowpass, three parallel resonances."""
    # steering is [steps, 7]: fundamental frequency in cycles per sample; amplitude; coefficient of the source's
    # one-pole lowpass, in (0, 1]; level of breath noise relative to the pulses; 2 r cos(w) of each of three resonances.
    # damp is r squared of each resonance, noise standard normal, room the level of background noise.
    wave = np.empty(noise.size, np.float32)
    phase, level, source = 0.0, 0.0, 0.0
    a1 = a2 = b1 = b2 = c1 = c2 = 0.0
    for step in range(len(steering)):
        cycles, gain, slope, breath, turn_a, turn_b, turn_c = steering[step]
        ramp = (gain - level) / BLOCK
        for i in range(step * BLOCK, (step + 1) * BLOCK):
            level += ramp
            phase += cycles
            if phase >= 1.0:
                phase -= 1.0
            # Derivative of a Rosenberg pulse: the glottis is open for 0.6 of the cycle, then closes abruptly.
            t = phase / 0.6
            pulse = t * (2.0 - 3.0 * t) if t < 1.0 else 0.0
            source += slope * (level * (pulse + breath * noise[i]) - source)
            a = source + turn_a * a1 - damp[0] * a2
            b = source + turn_b * b1 - damp[1] * b2
            c = source + turn_c * c1 - damp[2] * c2
            a2, a1, b2, b1, c2, c1 = a1, a, b1, b, c1, c
            wave[i] = 0.04 * (a - b + c) + room * noise[i]
    return wave
