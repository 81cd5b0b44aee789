"""The obvious loops that the searches are held against, and traces that are hard on them."""

import itertools

import numpy as np
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

KINDS = ("noise", "walk", "quantised", "constant", "ramp", "spikes", "saw")


def trace(kind, frames, rng):
    """One recording of an adversarial kind, [frames]."""
    t = np.arange(frames, dtype=float)
    match kind:
        case "noise":
            return rng.standard_normal(frames)
        case "walk":
            return np.cumsum(rng.standard_normal(frames))
        case "quantised":
            return rng.integers(-1, 2, frames) / 2
        case "constant":
            return np.full(frames, rng.choice([0.1, -2.0]))
        case "ramp":
            return t * rng.choice([-0.1, 0.3])
        case "spikes":
            return 0.1 + 50.0 * (rng.random(frames) < 0.1)
        case "saw":
            return t % 5


@st.composite
def devel_sets(draw, max_frames=24):
    """Predictions and gold of one to four recordings; the gold is not one constant."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths = draw(st.lists(st.integers(1, max_frames), min_size=1, max_size=4).filter(lambda n: sum(n) > 1))
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=2, max_size=2))
    offset, attenuation = draw(st.sampled_from([0.0, 3.0, -100.0])), draw(st.sampled_from([1.0, 0.01]))
    gold = [trace(kinds[0], n, rng) for n in lengths]
    if np.ptp(np.concatenate(gold)) == 0:
        gold[0][0] += 1.0
    if draw(st.booleans()):
        predictions = [offset + attenuation * (g + 0.3 * trace(kinds[1], g.size, rng)) for g in gold]
    else:
        predictions = [offset + attenuation * trace(kinds[1], n, rng) for n in lengths]
    return predictions, gold


def medians(x, window):
    return np.median(sliding_window_view(np.pad(x, window // 2, mode="edge"), window), axis=1)


def shifted(x, shift):
    return np.array([x[min(max(t - shift, 0), x.size - 1)] for t in range(x.size)])


def ccc(predictions, gold):
    x, y = np.concatenate(predictions), np.concatenate(gold)
    psi = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    return 2 * np.mean((x - x.mean()) * (y - y.mean())) / psi


def processed(filtered, gold, centre, scale, shift):
    """Centred, scaled and shifted, with constants of the filtered predictions themselves."""
    x, y = np.concatenate(filtered), np.concatenate(gold)
    factor = y.std() / x.std() if scale else 1.0
    target = y.mean() if centre else x.mean()
    return [shifted((f - x.mean()) * factor + target, shift) for f in filtered]


def naive_table(predictions, gold, windows, shifts):
    """The CCC of each chain, one by one: [windows, centre, scale, shifts]."""
    table = np.zeros((len(windows), 2, 2, len(shifts)))
    for i, window in enumerate(windows):
        filtered = [medians(p, window) for p in predictions]
        if np.ptp(np.concatenate(filtered)) == 0:
            continue
        for centre, scale, j in itertools.product((0, 1), (0, 1), range(len(shifts))):
            table[i, centre, scale, j] = ccc(processed(filtered, gold, centre, scale, shifts[j]), gold)
    return table


def naive_greedy(predictions, gold, windows, max_shift, tie=1e-12):
    """The paper's chain, (window, centre, scale, shift, ccc), step after step."""

    def value(window, centre, scale, shift):
        return naive_table(predictions, gold, [window], [shift])[0, centre, scale, 0]

    chain = (1, 0, 0, 0)
    values = [value(w, 0, 0, 0) for w in windows]
    chain = (next(w for w, v in zip(windows, values, strict=True) if v >= max(values) - tie), 0, 0, 0)
    for step in (1, 2):
        with_step = tuple(1 if i == step else field for i, field in enumerate(chain))
        if value(*with_step) > value(*chain) + tie:
            chain = with_step
    values = [value(*chain[:3], d) for d in range(max_shift + 1)]
    shift = next(d for d, v in enumerate(values) if v >= max(values) - tie)
    return (*chain[:3], shift, values[shift])
