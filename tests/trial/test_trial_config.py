"""Keys of trials: those of the first release stand, and every field that was added since has a part in new ones."""

import dataclasses
import json

import pytest

from ser_ray.models import ModelConfig
from ser_ray.results.added_fields import ADDED_FIELDS, fill_in_added
from ser_ray.training.config import TrainingConfig
from ser_ray.trial import TrialConfig, keyed_config, trial_key
from ser_ray.trial.config import configuration_key

FINGERPRINT = "0123456789abcdef"
OTHERS = {
    "front_end": {"front_end": "filterbank"},
    "filters": {"front_end": "filterbank", "filters": 41},
    "width_ms": {"front_end": "filterbank", "width_ms": 30.0},
    "hop_ms": {"front_end": "filterbank", "hop_ms": 5.0},
    "energy_steps": {"front_end": "filterbank", "energy_steps": 2},
    "filter_start": {"front_end": "filterbank", "filter_start": "random"},
    "filter_rate": {"front_end": "filterbank", "filter_rate": 1.0},
    "compression": {"compression": "log"},
    "normalization": {"normalization": "running"},
    "statistics": {"normalization": "recording", "statistics": "recording"},
    "average": {"average": 2},
    "dropouts": {"dropouts": (0.5, 0.5, 0.5)},
    "temporal": {"temporal": "bilstm"},
    "dilations": {"temporal": "tcn", "dilations": (1, 2)},
    "tcn_kernel": {"temporal": "tcn", "tcn_kernel": 3},
    "causal": {"temporal": "tcn", "causal": True},
    "temporal_dropout": {"temporal": "tcn", "temporal_dropout": 0.1},
}


def test_keys_of_the_first_release_stand():
    paper, small = TrialConfig(), TrialConfig(model=ModelConfig(hidden=8), training=TrainingConfig(seed=3))
    assert (trial_key(paper, "0" * 16), configuration_key(paper, "0" * 16)) == ("be5fe462f1e4", "6296c2900b5b")
    assert trial_key(small, FINGERPRINT) == "077b2c575fbb"
    keyed = keyed_config(paper, FINGERPRINT)
    assert not set(keyed["model"]) & set(ADDED_FIELDS["model"])
    assert not set(keyed["training"]) & set(ADDED_FIELDS["training"])


@pytest.mark.parametrize(("section", "kind"), [("model", ModelConfig), ("training", TrainingConfig)])
def test_an_added_field_reproduces_what_was_before_it_by_default(section, kind):
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    assert {name: defaults[name] for name in ADDED_FIELDS[section]} == ADDED_FIELDS[section]


def test_every_added_field_has_a_part_in_the_key():
    assert set(OTHERS) == set(ADDED_FIELDS["model"])
    base = {"front_end": {"front_end": "filterbank"}, "temporal": {"temporal": "tcn"}}
    for name, fields in OTHERS.items():
        part = next((base[key] for key in base if key in fields and key != name), {})
        config, without = (TrialConfig(model=ModelConfig(**given)) for given in (fields, part))
        assert trial_key(config, FINGERPRINT) != trial_key(without, FINGERPRINT), name
        stored = json.loads(json.dumps(keyed_config(config, FINGERPRINT)))
        assert ModelConfig(**stored["model"]) == config.model, "a stored configuration can be read again"
    clipped = TrialConfig(training=TrainingConfig(clip_norm=1.0))
    assert trial_key(clipped, FINGERPRINT) != trial_key(TrialConfig(), FINGERPRINT)


def test_stored_configurations_are_compared_by_all_that_one_of_them_says():
    plain, other = {"model.hidden": 8}, {"model.hidden": 8, "model.normalization": "recording", "model.dilations": [1]}
    fill_in_added([plain, other])
    assert plain == {"model.hidden": 8, "model.normalization": "none", "model.dilations": [1, 2, 4, 8, 16]}
    assert other["model.normalization"] == "recording"
