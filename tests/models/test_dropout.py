import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_ray.models import kernels
from ser_ray.models.dropout import Draw, Dropout, keep_mask, philox, plain_keep_mask, quads

CPU = torch.device("cpu")


def dropout(rate=0.5, layer=0, seed=0, step=0):
    return Dropout(rate, layer, Draw(seed, step))


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # known answers of the authors' Random123 library, philox4x32-10
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_the_generator_gives_its_known_answers(counter, key, words):
    assert [int(w) for w in philox(tuple(torch.tensor(c) for c in counter), tuple(key))] == words


@given(
    st.integers(1, 70),
    st.integers(0, 2**15),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
)
@settings(deadline=None, max_examples=30)
def test_the_kernel_draws_the_same_words(channels, layer, frame, row, step, seed):
    n = quads(channels)
    drop = dropout(layer=layer, seed=seed, step=step)
    words = np.zeros(4 * n, np.uint32)
    kernels.draw(words, n, layer, frame, row, step, drop.key)
    counter = (torch.arange(n) | layer << 16, *(torch.tensor(v) for v in (frame, row, step)))
    expected = torch.cat([word.expand(n) for word in philox(counter, drop.key)])
    assert words.tolist() == expected.tolist()


@pytest.mark.parametrize("channels", [1, 3, 40, 64])
def test_the_kernel_keeps_what_plain_pytorch_keeps(channels):
    own = dropout(0.3, layer=2, seed=1 << 63 | 5, step=7)
    assert torch.equal(keep_mask(own, 3, 11, channels, CPU), plain_keep_mask(own, 3, 11, channels, CPU))


def test_masks_differ_by_seed_layer_step_row_and_frame_alone():
    mask = keep_mask(dropout(), 3, 40, 64, CPU)
    assert torch.equal(mask, keep_mask(dropout(), 3, 40, 64, CPU))
    others = [dropout(seed=1), dropout(seed=1 << 40), dropout(step=1), dropout(layer=1)]
    masks = [mask, *(keep_mask(other, 3, 40, 64, CPU) for other in others)]
    for i, first in enumerate(masks):
        for second in masks[i + 1 :]:
            assert 0.45 < (first == second).double().mean() < 0.55
    assert 0.45 < (mask[0] == mask[1]).double().mean() < 0.55
    assert 0.45 < (mask[:, 1:] == mask[:, :-1]).double().mean() < 0.55
    assert 0.45 < (mask[..., 1:] == mask[..., :-1]).double().mean() < 0.55


def test_a_mask_does_not_depend_on_what_is_beside_it():
    whole = keep_mask(dropout(), 5, 30, 10, CPU)
    assert torch.equal(keep_mask(dropout(), 2, 7, 10, CPU), whole[:2, :7])


@pytest.mark.parametrize("rate", [0.001, 0.2, 0.5, 0.9])
def test_as_many_are_dropped_as_the_rate_says(rate):
    kept = keep_mask(dropout(rate), 4, 1000, 100, CPU)
    n = kept.numel()
    assert abs((~kept).sum().item() - rate * n) < 4 * (n * rate * (1 - rate)) ** 0.5


def test_rates_at_the_ends_still_drop_and_keep():
    assert dropout(1e-12).threshold == 1
    assert dropout(1 - 1e-12).threshold == 2**32 - 1
    assert dropout(0.25).threshold == 2**30
    assert dropout(0.25).scale == 1 / 0.75
