"""The filterbank: its mel centres, its filters, and the energies that it makes of a waveform."""

import numpy as np
import pytest
import torch
import torchaudio

from ser_ray.models.front_ends.filterbank import Filterbank, mel_centres, mel_filters

RATE_HZ = 16_000


def filterbank(filters=40, width=400, hop=160, start="mel"):
    torch.manual_seed(3)
    return Filterbank(filters, width, hop, RATE_HZ, start).requires_grad_(False)


@pytest.mark.parametrize("filters", [2, 7, 40, 64])
def test_centres_are_those_of_an_independent_mel_scale(filters):
    centres = mel_centres(filters, RATE_HZ)
    assert (centres[1], centres[-2]) == (pytest.approx(60), pytest.approx(7600))
    # triangles of torchaudio's scale have their peaks at the centres between a first and a last frequency
    below, above = max(0.0, centres[0].item()), centres[-1].item()
    if centres[0] < 0:
        return  # no scale begins below 0 Hz
    bands = torchaudio.functional.melscale_fbanks(9001, 0.0, 9000.0, 1, RATE_HZ, mel_scale="htk")
    assert bands.shape == (9001, 1)
    own = torchaudio.functional.melscale_fbanks(
        90_001, below, above, filters, 2 * 9000, norm=None, mel_scale="htk"
    )  # a row per 0.1 Hz
    np.testing.assert_allclose(own.argmax(dim=0).numpy() / 10, centres[1:-1].numpy(), atol=0.1)


def test_filters_are_windowed_tones_of_unit_energy():
    weight = filterbank().weight.numpy().astype(np.float64)
    assert weight.shape == (80, 400)
    np.testing.assert_allclose((weight**2).sum(axis=1), 1, rtol=1e-6)
    centres = mel_centres(40, RATE_HZ).numpy()
    time = np.arange(400) - 199.5
    for k in (0, 11, 39):
        length = min(400, 2 * RATE_HZ / ((centres[k + 2] - centres[k]) / 2))
        window = np.where(np.abs(time) < length / 2, np.cos(np.pi * time / length) ** 2, 0)
        tones = [window * np.cos(2 * np.pi * centres[k + 1] * time / RATE_HZ)]
        tones.append(window * np.sin(2 * np.pi * centres[k + 1] * time / RATE_HZ))
        for own, tone in zip((weight[k], weight[40 + k]), tones, strict=True):
            np.testing.assert_allclose(own, tone / np.sqrt((tone**2).sum()), atol=1e-6)


@pytest.mark.parametrize("start", ["mel", "random"])
@pytest.mark.parametrize(("width", "hop"), [(400, 160), (401, 160), (160, 160), (33, 8)])
def test_energies_are_their_formula(width, hop, start):
    bank = filterbank(5, width, hop, start).double()
    waveform = np.random.default_rng(0).normal(size=20 * hop)
    found = bank(torch.from_numpy(waveform)[None, :, None])[0].numpy()
    left = (width - hop) // 2
    padded = np.concatenate([np.zeros(left), waveform, np.zeros(width)])
    filters = bank.weight.numpy()
    expected = [
        [
            np.dot(filters[k], padded[t * hop : t * hop + width]) ** 2
            + np.dot(filters[5 + k], padded[t * hop : t * hop + width]) ** 2
            for k in range(5)
        ]
        for t in range(20)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_averaged_energies_are_means_of_consecutive_steps():
    waveform = torch.randn(2, 24 * 160, 1)
    torch.manual_seed(3)
    averaged = Filterbank(40, 400, 160, RATE_HZ, "mel", average=3).requires_grad_(False)
    assert averaged.pool == 480
    expected = filterbank()(waveform).unflatten(1, (8, 3)).mean(dim=2)
    torch.testing.assert_close(averaged(waveform), expected)


@pytest.mark.parametrize("k", [3, 20, 39])
def test_a_tone_is_loudest_in_its_own_filter_whatever_its_phase(k):
    time = torch.arange(16_000) / RATE_HZ
    hz = mel_centres(40, RATE_HZ)[k + 1].item()
    energies = torch.stack(
        [filterbank()(torch.sin(2 * torch.pi * hz * time + phase)[None, :, None])[0, 50] for phase in (0.0, 0.7, 1.6)]
    )
    assert (energies.argmax(dim=1) == k).all()
    assert energies[:, k].std() < 0.02 * energies[:, k].mean()


def test_white_noise_of_unit_power_has_energy_two_in_every_pair():
    torch.manual_seed(0)
    for start in ("mel", "random"):
        energies = filterbank(start=start)(torch.randn(1, 160 * 6000, 1))[0].mean(dim=0)
        np.testing.assert_allclose(energies.numpy(), 2, rtol=0.1)


def test_a_random_start_differs_from_seed_to_seed_and_a_mel_start_does_not():
    torch.manual_seed(1)
    random, mel = (Filterbank(4, 40, 16, RATE_HZ, start).weight for start in ("random", "mel"))
    torch.manual_seed(2)
    assert not torch.equal(Filterbank(4, 40, 16, RATE_HZ, "random").weight, random)
    assert torch.equal(Filterbank(4, 40, 16, RATE_HZ, "mel").weight, mel)
    assert torch.equal(mel_filters(4, 40, RATE_HZ).norm(dim=1) > 0, torch.ones(8, dtype=torch.bool))


@pytest.mark.parametrize(("width", "hop"), [(40, 16), (33, 8), (16, 16), (7, 5)])
def test_gradients_are_those_of_the_formula_on_copied_windows(width, hop):
    torch.manual_seed(4)
    bank = Filterbank(3, width, hop, RATE_HZ, "random").double()
    waveform = torch.randn(2, 12 * hop, 1, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(2, 12, 3, dtype=torch.float64)
    found = torch.autograd.grad((bank(waveform) * upstream).sum(), (waveform, bank.weight))
    windows = torch.nn.functional.pad(waveform[..., 0], (bank.pad_left, bank.pad_right)).unfold(-1, width, hop)
    cosine, sine = (windows @ bank.weight.T).chunk(2, dim=-1)
    energies = cosine.square() + sine.square()
    expected = torch.autograd.grad((energies * upstream).sum(), (waveform, bank.weight))
    for own, other in zip(found, expected, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-10, atol=1e-10)


def test_a_row_has_the_same_bits_beside_any_others():
    waveform = torch.randn(4, 160 * 30, 1)
    assert torch.equal(filterbank()(waveform)[2:3], filterbank()(waveform[2:3]))
