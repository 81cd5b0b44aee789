"""Sweeps over filterbanks: designs of the overlap rule whose first layer is the filterbank, and what fits a corpus."""

import pytest

from ser_ray.errors import InputError
from ser_ray.overlap import overlap_ratio
from ser_ray.results import SweepFolder
from ser_ray.sweep.planning.explore import TrialFactory, configurations
from ser_ray.sweep.planning.listing import label_of
from ser_ray.sweep.planning.plan import make_plan

SWEEP = """
name: x
trial:
  model: {{front_end: filterbank, {model}}}
  training: {{sequence_s: 0.08}}
explore:
  - design: {{layers: {layers}, smallest_pool: 2, overlap_ratio: [0.2, 0.6]}}
"""


def test_the_first_layer_of_a_design_is_the_filterbank(read):
    sweep = read(SWEEP.format(model="channels: [8]", layers=2))
    found = [configuration.trial.model for configuration in configurations(sweep, 640)]
    assert {(len(model.kernels), len(model.pools), model.hop) for model in found} == {(1, 1, 640)}
    for model in found:
        wanted = 0.2 if abs(model.overlap_ratios[0] - 0.2) < 0.2 else 0.6
        hop, width = model.hop_ms * 16, model.width_ms * 16
        assert hop * model.pools[0] == 640
        # the nearest whole kernel of the rule: half a sample more or less
        assert overlap_ratio(round(width - hop + 1), round(hop)) == pytest.approx((width - hop) / width)
        assert (width - hop) / width == pytest.approx(wanted, abs=0.5 / width * 2)


def test_an_average_takes_its_part_of_the_hop(read):
    sweep = read(SWEEP.format(model="channels: [], average: 4", layers=1))
    found = [configuration.trial.model for configuration in configurations(sweep, 640)]
    assert [(model.hop_ms, model.width_ms, model.kernels) for model in found] == [(10, 12.5, ()), (10, 25, ())]


def test_averaged_energies_are_part_of_the_first_pool(read):
    sweep = read(SWEEP.format(model="channels: [], average: 2, energy_steps: 4", layers=1))
    found = [configuration.trial.model for configuration in configurations(sweep, 640)]
    assert [(model.hop_ms, model.layers[0][1], model.kernels) for model in found] == [(5, 320, ()), (5, 320, ())]
    assert [model.overlap_ratios[0] for model in found] == pytest.approx([0.2, 0.6], abs=0.01)
    with pytest.raises(InputError, match=r"no first pool is a multiple of model.energy_steps 3: set it to 1"):
        configurations(read(SWEEP.format(model="channels: [], average: 2, energy_steps: 3", layers=1)), 640)


def test_layers_of_another_number_than_channels_are_refused(read):
    with pytest.raises(InputError, match=r"has 2 layers, the first of them the filterbank, but trial.model.channels"):
        configurations(read(SWEEP.format(model="channels: [8, 8]", layers=2)), 640)


def plan(read, corpus, tmp_path, model):
    sweep = read(f"name: x\ntrial:\n  model: {{front_end: filterbank, {model}}}\n  training: {{sequence_s: 0.08}}\n")
    return make_plan(sweep, TrialFactory(corpus, "x", SweepFolder(tmp_path / "x")))


def test_a_label_names_the_filterbank(read, tiny_corpus, tmp_path):
    model = "channels: [], kernels: [], pools: [], width_ms: 2, hop_ms: 1, average: 4"
    (trial,) = plan(read, tiny_corpus, tmp_path, model).trials
    assert label_of(trial) == "filterbank 2/1 ms, seed 0"


def test_frames_that_are_not_the_corpuss_are_refused_with_the_fix(read, tiny_corpus, tmp_path):
    with pytest.raises(InputError, match=r"pools \[\], average 1 make frames of 16 .* has 64; average 4 fits"):
        plan(read, tiny_corpus, tmp_path, "channels: [], kernels: [], pools: [], width_ms: 2, hop_ms: 1")
    averaged = "channels: [], kernels: [], pools: [], width_ms: 2, hop_ms: 1, energy_steps: 3"
    with pytest.raises(InputError, match=r"energy_steps 3, .* has 64; change energy_steps, hop_ms or the pools"):
        plan(read, tiny_corpus, tmp_path, averaged)
    with pytest.raises(InputError, match=r"average 1 make frames of 160 .* has 64; change hop_ms or the pools"):
        plan(read, tiny_corpus, tmp_path, "channels: [], kernels: [], pools: []")


def test_fields_that_contradict_each_other_name_their_line(read, tiny_corpus, tmp_path):
    with pytest.raises(InputError, match=r":3:.* filter_rate 0 keeps filters as they start"):
        plan(read, tiny_corpus, tmp_path, "channels: [], kernels: [], pools: [], filter_start: random, filter_rate: 0")


def test_a_message_names_the_place_of_the_field_that_it_names_first(read, tiny_corpus, tmp_path):
    fields = "channels: [], kernels: [], pools: [], temporal: tcn,\n    lstm_layers: 3"
    with pytest.raises(InputError, match=r":4:5: model: lstm_layers is of temporal lstm and bilstm"):
        plan(read, tiny_corpus, tmp_path, fields)


def test_a_filterbank_that_fits_in_no_memory_is_refused_by_its_filters(read, tiny_corpus, tmp_path):
    fields = "channels: [], kernels: [], pools: [], width_ms: 2, hop_ms: 1, average: 4, temporal: tcn, hidden: 1"
    fields += ", filters: 1000000000"
    with pytest.raises(InputError, match=r"trial.model.filters: training .* parameters .*; make it smaller"):
        plan(read, tiny_corpus, tmp_path, fields)
