"""What a sweep file may say, and what is said about one that is wrong."""

import dataclasses
import sys

import pytest

from ser_ray.errors import InputError
from ser_ray.sweep.spec.config import Resources, Schedule, load_sweep, settable_keys
from ser_ray.sweep.spec.items import Design, Together
from ser_ray.sweep.spec.space import EXPLORABLE
from ser_ray.trial import TrialConfig


def refusal(read, text):
    with pytest.raises(InputError) as refused:
        read(text)
    return str(refused.value)


def test_a_name_is_enough(read):
    sweep = read("name: x")
    assert (sweep.name, sweep.corpus, sweep.trial, sweep.explore, sweep.replicates) == ("x", "synthetic", {}, (), 1)
    assert sweep.schedule == Schedule(
        early_stopping="none",
        grace_epochs=5,
        max_hours=None,
        max_gpu_hours=None,
        max_configurations=None,
        max_trials=None,
        silence_minutes=30,
        checkpoint_minutes=10,
    )
    assert sweep.resources == Resources(cpus=1, gpus=0.25, backend="auto", search_actors=None, mps=False)


def test_empty_sections_are_as_if_left_out(read):
    empty = "name: x\ntrial:\n  model:\nexplore:\nschedule:\nresources:\n"
    assert read(empty).explore == ()
    assert (read(empty).schedule, read(empty).resources) == (Schedule(), Resources())


def test_every_key_is_read(read):
    sweep = read("""
name: Over-lap_2.0
corpus: /data/recola
trial:
  model: {channels: [16, 32], dropout: 0}
  training: {epochs: 100, patience: null, sequence_s: 6, learning_rate: 1e-3}
  search: {methods: [greedy]}
explore:
  - design: {hop: 640, layers: 2, smallest_pool: 4, largest_pool: 160, overlap_ratio: [0.2, 0.4], count: 3}
  - training.batch_size: [5, 10]
    training.loss: [ccc, mse]
  - training.label_shift_s: {from: 0, to: 0.12, step: 0.04}
replicates: 3
schedule:
  {early_stopping: asha, grace_epochs: 10, max_hours: 12, max_gpu_hours: 3, max_configurations: 7, max_trials: 9,
   silence_minutes: 5, checkpoint_minutes: 0.5}
resources: {cpus: 2, gpus: 1, backend: reference, search_actors: 4, mps: true}
""")
    assert (sweep.name, sweep.corpus, sweep.replicates) == ("Over-lap_2.0", "/data/recola", 3)
    assert sweep.trial == {
        "model": {"channels": (16, 32), "dropout": 0.0},
        "training": {"epochs": 100, "patience": None, "sequence_s": 6.0, "learning_rate": 1e-3},
        "search": {"methods": ("greedy",)},
    }
    assert sweep.explore == (
        Design(hop=640, layers=2, smallest_pool=4, largest_pool=160, overlap_ratio=(0.2, 0.4), count=3),
        Together(values={"training.batch_size": (5, 10), "training.loss": ("ccc", "mse")}),
        Together(values={"training.label_shift_s": (0.0, 0.04, 0.08, 0.12)}),
    )
    assert sweep.schedule == Schedule(
        early_stopping="asha",
        grace_epochs=10,
        max_hours=12,
        max_gpu_hours=3,
        max_configurations=7,
        max_trials=9,
        silence_minutes=5,
        checkpoint_minutes=0.5,
    )
    assert sweep.resources == Resources(cpus=2, gpus=1, backend="reference", search_actors=4, mps=True)
    assert isinstance(sweep.given("training.sequence_s"), float)


def test_a_single_ratio_needs_no_list(read):
    assert read("name: x\nexplore: [{design: {overlap_ratio: 0.3}}]").explore == (Design(overlap_ratio=(0.3,)),)


def test_a_range_has_both_ends_and_no_rounding_errors(read):
    def values(text):
        return read(f"name: x\nexplore: [{{{text}}}]").explore[0].values

    shifts = values("training.label_shift_s: {from: 0, to: 6, step: 0.4}")["training.label_shift_s"]
    assert shifts == tuple(round(0.4 * i, 1) for i in range(16))
    epochs = values("training.epochs: {from: 10, to: 30, step: 10}")["training.epochs"]
    assert epochs == (10, 20, 30)
    assert all(isinstance(epoch, int) for epoch in epochs)
    assert values("training.seed: {from: 3, to: 3, step: 1}") == {"training.seed": (3,)}
    rates = values("training.learning_rate: {from: 1e-5, to: 3e-5, step: 1e-5}")
    assert rates == {"training.learning_rate": (1e-5, 2e-5, 3e-5)}


def test_explorable_are_the_fields_of_model_and_training():
    config = TrialConfig()
    expected = [f"model.{field.name}" for field in dataclasses.fields(config.model)]
    expected += [f"training.{field.name}" for field in dataclasses.fields(config.training)]
    assert list(EXPLORABLE) == expected
    assert {"name", "replicates", "trial.training.seed", "schedule.max_hours", "resources.cpus"} <= set(settable_keys())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # unknown keys, at any depth
        ("nam: x", "s.yaml:1:1: unknown key nam; did you mean name? (known: name, corpus, trial, explore,"),
        ("trial: {modle: {}}", "s.yaml:2:9: unknown key modle in trial; did you mean model? (known: model, training, "),
        ("trial:\n  model: {chanels: [3]}", "s.yaml:3:11: unknown key chanels in trial.model; did you mean channels?"),
        ("schedule: {max_hour: 3}", "s.yaml:2:12: unknown key max_hour in schedule; did you mean max_hours?"),
        ("resources: {cpu: 3}", "s.yaml:2:13: unknown key cpu in resources; did you mean cpus?"),
        ("explore: [{design: {laiers: 3}}]", "unknown key laiers in explore[0].design; did you mean layers?"),
        ("explore: [{training.sequence: [3]}]", "unknown key training.sequence in explore[0]; did you mean "
         "training.sequence_s?"),
        ("explore: [{sequence_s: [3]}]", "s.yaml:2:12: unknown key sequence_s in explore[0]; did you mean "
         "training.sequence_s?"),
        ("explore: [{training.zzz: [3]}]", "unknown key training.zzz in explore[0] (known: design, random, guided, "
         "training.epochs, training."),
        ("explore: [{training.seed: {from: 1, to: 2, steps: 1}}]", "unknown key steps in explore[0].training.seed; "
         "did you mean step?"),
        # keys that stand in the wrong place
        ("epochs: 3", "s.yaml:2:1: unknown key epochs; did you mean trial.training.epochs?"),
        ("training: {}", "s.yaml:2:1: unknown key training; did you mean trial.training?"),
        ("trial: {training: {dropout: 0}}", "unknown key dropout in trial.training; did you mean trial.model.dropout?"),
        ("trial: {corpus: x}", "s.yaml:2:9: unknown key corpus in trial; corpus belongs at the top of the file"),
        ("explore: [{model: [3]}]", "model in explore[0] is a section; explore one of its keys, such as"),
        ("explore: [{search.methods: [[greedy]]}]", "search.methods in explore[0] cannot be explored: all searches use "
         "the same predictions"),
        # the wrong kind of value
        ("trial: {training: {epochs: '3'}}", 's.yaml:2:20: trial.training.epochs is "3", but must be a whole number of '
         "at least 1; write 3 without quotes"),
        ("trial: {training: {epochs: true}}", "trial.training.epochs is true, but must be a whole number of"),
        ("trial: {training: {epochs: 3.5}}", "trial.training.epochs is 3.5, but must be a whole number of at least 1"),
        ("trial: {training: {learning_rate: '1e-4'}}", 'trial.training.learning_rate is "1e-4", but must be a number '
         "above 0; write 1e-4 without quotes"),
        ("trial: {training: {learning_rate: true}}", "trial.training.learning_rate is true, but must be a number"),
        ("trial: {training: {sequence_s: [6, 20]}}", "trial.training.sequence_s is [6, 20], but must be a number above "
         "0 and at most 86400; put lists of values to try under explore"),
        # beyond all use: more than a table, a clock or a memory holds
        ("trial: {training: {seed: 9223372036854775808}}", "s.yaml:2:20: trial.training.seed is 9223372036854775808, "
         "but must be a whole number of at least 0 and at most 9e+18"),
        ("trial: {training: {label_shift_s: 1e9}}", "s.yaml:2:20: trial.training.label_shift_s is 1000000000.0, but "
         "must be a number of at least 0 and at most 86400"),
        ("trial: {model: {hidden: 1000000000000}}", "but must be a whole number of at least 1 and at most 1e+09"),
        ("trial: {model: {lstm_layers: 1000000000}}", "a whole number of at least 1 and at most 100"),
        ("explore: [{training.batch_size: [5, 99999999999999999999]}]", "s.yaml:2:37: explore[0].training.batch_size[1]"
         " is 99999999999999999999, but must be a whole number of at least 1 and at most 1e+09"),
        ("schedule: {silence_minutes: 1e300}", "is 1e+300, but must be a number above 0 and at most 1e+06"),
        ("schedule: {max_hours: 1e300}", "must be a number above 0 or null and at most 1e+06"),
        ("trial: {training: {epochs: " + "9" * 10_000 + "}}", "s.yaml:2:28: '" + "9" * 75 + " ... is not a valid int "
         "of at most "
         "4300 digits"),
        ("trial: {training: {epochs: " + "9" * 1_000 + "}}", "trial.training.epochs is " + "9" * 76 + " ..., but must"),
        ('corpus: "a\\0b"', "but must be a folder of shards (a path of at most 4095 printable characters)"),
        ("corpus: " + "x" * 5_000, 's.yaml:2:1: corpus is "' + "x" * 75 + " ..., but must be a folder of shards (a "),
        ("trial: {training: {patience: none}}", 'trial.training.patience is "none", but must be a whole number of at '
         "least 1 or null; write null"),
        ("trial: {model: {channels: 64}}", "trial.model.channels is 64, but must be a list, each a "
         "whole number of at least 1; write [64]"),
        ("trial: {model: {targets: arousal}}", 'but must be a list of at least one, each one of arousal, valence; '
         "write [arousal]"),
        ("trial: {model:\n  {kernels: [8, x, 6]}}", 's.yaml:3:17: trial.model.kernels[1] is "x", but must be a whole'),
        ("trial: 3", "s.yaml:2:1: trial is 3, but must be a mapping with keys of model, training, search"),
        ("trial: {model: [8]}", "trial.model is [8], but must be a mapping with keys of channels, kernels, pools,"),
        ("corpus: 3", 's.yaml:2:1: corpus is 3, but must be a folder of shards (a path of at most 4095 printable '
         'characters), or synthetic or synthetic-demo; '
         'write "3" in quotes'),
        # out of range
        ("trial: {training: {epochs: 0}}", "trial.training.epochs is 0, but must be a whole number of at least 1"),
        ("trial: {model: {dropout: 1}}", "trial.model.dropout is 1, but must be a number of at least 0 and below 1"),
        ("trial: {training: {sequence_s: .inf}}", "trial.training.sequence_s is inf, but must be a number above 0 and "
         "at most 86400; infinity and NaN are not allowed"),
        ("trial: {model: {pools: [10, 0, 8]}}", "trial.model.pools[1] is 0, but must be a whole number of at least 1"),
        ("replicates: 0", "s.yaml:2:1: replicates is 0, but must be a whole number of at least 1"),
        ("schedule: {max_trials: 0}", "schedule.max_trials is 0, but must be a whole number of at least 1 or null"),
        ("schedule: {max_gpu_hours: 0}", "schedule.max_gpu_hours is 0, but must be a number above 0 or null"),
        ("schedule: {silence_minutes: 0}", "schedule.silence_minutes is 0, but must be a number above 0"),
        ("schedule: {checkpoint_minutes: null}", "schedule.checkpoint_minutes is null, but must be a number above 0"),
        ("resources: {mps: 1}", "resources.mps is 1, but must be true or false"),
        ("schedule: {max_hours: 0}", "schedule.max_hours is 0, but must be a number above 0 or null"),
        ("resources: {backend: triton}", 'resources.backend is "triton", but must be one of auto, reference, fused'),
        ("trial: {training: {deterministic: yes}}", 'trial.training.deterministic is "yes", but must be true or false'),
        ("trial: {training: {precision: fp16}}", 'precision is "fp16", but must be one of float32, tf32, bf16'),
        ("trial: {training: {weight_decay: -1}}", "training.weight_decay is -1, but must be a number of at least 0"),
        ("resources: {gpus: -1}", "resources.gpus is -1, but must be a number of at least 0"),
        ("resources: {gpus: 1.5}", "s.yaml:2:1: resources: gpus is 1.5, but above 1 it must be a whole number"),
        ("explore: [{design: {overlap_ratio: 1}}]", "explore[0].design.overlap_ratio is 1, but must be a number of at "
         "least 0 and below 1"),
        ("explore: [{design: {smallest_pool: 4, largest_pool: 2}}]", "largest_pool 2 is below smallest_pool 4"),
        # none of the words
        ("trial: {training: {loss: cc}}", 'trial.training.loss is "cc", but must be one of ccc, mse; did you mean ccc'),
        ("trial: {model: {targets: [arousl]}}", 'trial.model.targets[0] is "arousl", but must be one of arousal, '
         "valence; did you mean arousal?"),
        ("schedule: {early_stopping: ash}", 'schedule.early_stopping is "ash", but must be one of none, asha, median; '
         "did you mean asha?"),
        # explore
        ("explore: {training.seed: [1]}", "explore is {training.seed: [1]}, but must be a list of items; begin each "
         "with '- '"),
        ("explore:\n  - {}", "s.yaml:3:5: explore[0] is {}, but must be a mapping: design, random, guided, or "
         "dotted keys with lists of values, such as training.sequence_s: [6, 20]"),
        ("explore: [3]", "explore[0] is 3, but must be a mapping: design, random, guided, or dotted keys with"),
        ("explore:\n  - training.seed: []", "s.yaml:3:5: explore[0].training.seed is [], but must be a list of at "
         "least one value or a range {from: ..., to: ..., step: ...}"),
        ("explore: [{training.seed: 3}]", "explore[0].training.seed is 3, but must be a list of at least one value"),
        ("explore: [{training.seed: [1, -1]}]", "s.yaml:2:31: explore[0].training.seed[1] is -1, but must be a whole "
         "number of at least 0"),
        ("explore: [{model.kernels: [8, 6, 6]}]", "explore[0].model.kernels is [8, 6, 6], but each value of "
         "model.kernels is a list itself; write [[8, 6, 6]]"),
        ("explore:\n  - model.kernels: [[8, 6, 6], [4, 4, 4]]\n    model.pools: [[10, 8, 8]]",
         "s.yaml:3:5: explore[0]: lists in one item are paired and need the same number of values, but model.kernels "
         "has 2, model.pools has 1; to combine all values, put each list in an item of its own"),
        ("explore: [{design: {}, training.seed: [1]}]", "explore[0] has both training.seed and design; design must be "
         "the only key"),
        ("explore: [{design: {}}, {model.pools: [[10, 8, 8]]}]", "s.yaml:2:26: model.pools is already explored by "
         "explore[0]; explore each key once"),
        ("explore: [{training.seed: [1]}, {training.seed: [2]}]", "training.seed is already explored by explore[0]"),
        ("replicates: 2\nexplore: [{training.seed: [1, 2]}]", "s.yaml:3:12: training.seed is explored although "
         "replicates is 2; replicates are seeds, so use only one "
         "of the two"),
        # ranges
        ("explore: [{training.seed: {from: 0, to: 5}}]", "explore[0].training.seed.step is missing, but must be a "
         "number"),
        ("explore: [{training.seed: {from: 0, to: x, step: 1}}]", 'explore[0].training.seed.to is "x", but must be a'),
        ("explore: [{training.seed: {from: 0, to: 5, step: 0}}]", "but a range must increase: step above 0"),
        ("explore: [{training.seed: {from: 5, to: 0, step: 1}}]", "but a range must increase: step above 0, to not "
         "below from"),
        ("explore: [{training.seed: {from: 0, to: 5, step: 2}}]", "explore[0].training.seed does not reach its end 5 "
         "in steps of 2; end at 4 or 6"),
        ("explore: [{training.seed: {from: 0, to: 1000000, step: 1}}]", "has 1000001 values; at most 100000"),
        ("explore: [{training.epochs: {from: 0, to: 5, step: 1}}]", "explore[0].training.epochs is 0, but must be a "
         "whole number of at least 1"),
    ],
)  # fmt: skip
def test_mistake_reports_place_value_and_what_is_allowed(read, text, message):
    said = refusal(read, text if text.startswith("nam: ") else f"name: x\n{text}")
    assert message in said
    assert said.startswith("s.yaml:")
    for inside in ("pydantic", "http", "Config", "Traceback", "Input should"):
        assert inside not in said


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "", "a b", "x" * 101, "null", "1.0", "[a]"])
def test_a_name_must_be_fit_for_a_folder(read, name):
    said = refusal(read, f"name: {name}")
    assert "name is " in said
    assert "but must be at most 100 letters, digits, '.', '_' and '-', the first a letter or digit" in said


def test_missing_name_is_reported_with_an_example(read):
    assert refusal(read, "replicates: 2") == "s.yaml: name is missing; begin the file with, for instance, name: s"


def test_up_to_five_problems_are_reported_in_the_order_of_the_file(read):
    said = refusal(read, "nme: x\ntrial: {training: {epochs: 0, loss: x}}\nreplicates: no").splitlines()
    assert [line.split(": ")[0] for line in said] == [
        "s.yaml",
        "s.yaml:1:1",
        "s.yaml:2:20",
        "s.yaml:2:31",
        "s.yaml:3:1",
    ]
    many = ", ".join(f"key{index}: 1" for index in range(8))
    said = refusal(read, f"name: x\ntrial: {{{many}}}").splitlines()
    assert len(said) == 6
    assert said[-1] == "and 3 more"


def test_the_corpus_of_the_command_line_comes_before_the_file_s(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("name: x\ncorpus: there")
    assert load_sweep(file).corpus == "there"
    assert load_sweep(str(file), corpus="here: [").corpus == "here: ["
    with pytest.raises(InputError, match='--corpus : corpus is "", but must be a folder of shards'):
        load_sweep(file, corpus="")


CODE = [
    "!!python/name:canary.touched",
    "!!python/module:canary",
    "!!python/object:canary.Touch {}",
    "!!python/object/new:canary.Touch [x]",
    "!!python/object/apply:canary.touch [x]",
    "!!python/object/apply:os.system ['touch NEVER']",
    "!canary.Touch {}",
    "!<tag:yaml.org,2002:python/object/apply:canary.touch> []",
    "!!map/canary {}",
]


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """A module that leaves a file behind when anything imports it."""
    (tmp_path / "canary.py").write_text(
        "from pathlib import Path\nPath('TOUCHED').touch()\nTouch = touch = Path.touch\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield
    assert "canary" not in sys.modules
    assert not (tmp_path / "TOUCHED").exists()
    assert not (tmp_path / "NEVER").exists()


PLACES = [
    "name: %s",
    "name: x\ntrial: {model: %s }",
    "name: x\nexplore: [{random: {count: 2, model.hidden: %s }}]",
    "%s: x",
]


@pytest.mark.parametrize("code", CODE)
@pytest.mark.parametrize("place", PLACES)
def test_a_sweep_file_cannot_name_code(tmp_path, canary, place, code):
    file = tmp_path / "s.yaml"
    file.write_text(place % (code if place != "%s: x" else f"? {code}\n"))
    with pytest.raises(InputError) as refused:
        load_sweep(file)
    said = str(refused.value)
    assert said.startswith(f"{file}:")
    assert "tag !" in said
    assert "contains only strings, numbers, lists and mappings; remove the tag" in said


@pytest.mark.parametrize("code", CODE)
def test_neither_can_an_option(tmp_path, canary, code):
    file = tmp_path / "s.yaml"
    file.write_text("name: x")
    with pytest.raises(InputError, match="contains only strings, numbers, lists and mappings; remove the tag"):
        load_sweep(file, [f"training.loss={code}"])


def test_words_that_look_like_code_are_words(read, canary):
    said = refusal(read, "name: x\ntrial: {training: {optimizer: canary.Touch}, model: {pooling: 'import canary'}}")
    assert 'optimizer is "canary.Touch", but must be one of rmsprop' in said
    assert 'pooling is "import canary", but must be one of max, average, stride' in said
    assert "name is \"__import__('canary')\"" in refusal(read, "name: __import__('canary')")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("explore: [&x {training.seed: [1]}, {<<: *x}]", "merge keys (<<) are not supported; write the keys out"),
        ("trial: &x {model: *x}", "aliases (*) make this recursive or larger than 200000 values"),
        (
            "\n".join(
                ["trial:", "  a: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
                + [f"  b{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
            ),
            "aliases (*) make this recursive or larger than 200000 values",
        ),
    ],
    ids=["merge", "endless", "bomb"],
)
def test_merges_and_bombs_of_aliases_are_refused(read, text, said):
    assert said in refusal(read, f"name: x\n{text}")
