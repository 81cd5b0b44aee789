import pytest

from ser_ray.errors import InputError
from ser_ray.sweep.spec.config import load_sweep, read_sweep, settable_keys
from ser_ray.sweep.spec.document import override, parse_document

TEXT = "name: x\ntrial: {model: {hidden: 64}}\nexplore: [{training.sequence_s: [6, 20]}]"


def changed(*assignments, text=TEXT):
    return read_sweep(override(parse_document(text, "s.yaml"), assignments, settable_keys()))


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("training.epochs=3", "training.epochs", 3),
        ("trial.training.epochs=3", "training.epochs", 3),
        ("training.learning_rate=1e-3", "training.learning_rate", 1e-3),
        ("training.patience=null", "training.patience", None),
        ("model.hidden=32", "model.hidden", 32),
        ("model.kernels=[4, 4, 4]", "model.kernels", (4, 4, 4)),
        ("search.methods=[greedy]", "search.methods", ("greedy",)),
    ],
)
def test_a_key_of_the_trial_is_set(assignment, path, value):
    assert changed(assignment).given(path, "absent") == value


def test_keys_from_the_top_are_set():
    sweep = changed(
        "replicates=3", "schedule.max_hours=2", "resources.cpus=4", "corpus=/a=b", "name=y", "explore=[{design: {}}]"
    )
    assert (sweep.replicates, sweep.schedule.max_hours, sweep.resources.cpus) == (3, 2, 4)
    assert (sweep.corpus, sweep.name, len(sweep.explore)) == ("/a=b", "y", 1)


def test_the_last_of_two_wins_and_the_rest_stays():
    sweep = changed("training.epochs=3", "training.epochs=4")
    assert sweep.trial == {"model": {"hidden": 64}, "training": {"epochs": 4}}


def test_the_document_itself_is_left_alone():
    document = parse_document(TEXT, "s.yaml")
    override(document, ["model.hidden=32"], settable_keys())
    assert document.data["trial"]["model"]["hidden"] == 64


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("training.epochs", "--set training.epochs: no '='; write --set KEY=VALUE"),
        ("training.epochs=", "--set training.epochs=: no value after '='; write null for none"),
        ("training.epochs=[", "--set training.epochs=[: not valid YAML"),
        ("training.loss=!!python/name:os.system", "tag !!python/name:os.system is not allowed"),
        ("training.epoch=3", "--set training.epoch=3: unknown key training.epoch; did you mean training.epochs?"),
        ("epochs=3", "--set epochs=3: unknown key epochs; did you mean training.epochs?"),
        ("max_hours=3", "unknown key max_hours; did you mean schedule.max_hours?"),
        ("zzz=3", "--set zzz=3: unknown key zzz (known: name, corpus, explore, replicates, model.channels,"),
        ("model=3", "--set model=3: model is a section; set one of its keys, such as trial.model.channels"),
        ("schedule={}", "schedule is a section; set one of its keys, such as schedule.early_stopping"),
        ("explore.0.design=3", "explore is a list and can only be set as a whole, such as --set "
                               "'explore=[{training.sequence_s"),
        ("training.epochs='3'", "--set training.epochs='3': trial.training.epochs is \"3\", but must be a whole"),
        ("model.kernels=[8, 0, 6]", "--set model.kernels=[8, 0, 6]: trial.model.kernels[1] is 0, but must be a whole"),
        ("schedule.max_hours=none", "--set schedule.max_hours=none: schedule.max_hours is \"none\""),
        ("replicates=0", "--set replicates=0: replicates is 0, but must be a whole number of at least 1"),
        ("explore=[{training.seed: [a]}]", "--set explore=[{training.seed: [a]}]: explore[0].training.seed[0] is"),
        ("training.sequence_s=6", "--set training.sequence_s=6: training.sequence_s is explored in s.yaml:3:12, so "
                                  "setting it has no effect; set explore instead"),
    ],
)  # fmt: skip
def test_a_mistake_names_the_option(assignment, message):
    with pytest.raises(InputError) as refused:
        changed(assignment)
    assert message in str(refused.value)
    assert str(refused.value).startswith(f"--set {assignment}: ")


def test_a_broken_section_in_the_file_is_not_papered_over():
    with pytest.raises(InputError, match="trial is not a mapping in the sweep file; correct that first"):
        changed("training.epochs=3", text="name: x\ntrial: 3")


def test_the_file_is_blamed_for_what_the_option_did_not_change():
    with pytest.raises(InputError, match=r"^s\.yaml:2:17: trial\.model\.hidden is 0"):
        changed("training.epochs=3", text="name: x\ntrial: {model: {hidden: 0}}")


def test_load_sweep_applies_overrides(tmp_path):
    (tmp_path / "a.yaml").write_text(TEXT)
    assert load_sweep(tmp_path / "a.yaml", ["training.epochs=7"]).given("training.epochs") == 7


@pytest.mark.parametrize("option", ["seed", "corpus"])
def test_of_a_very_long_option_a_part_is_quoted(tmp_path, option):
    path, long = tmp_path / "x.yaml", "9" * 10_000
    path.write_text("name: x")
    with pytest.raises(InputError, match=r"^--\w+ (training.seed=)?9+ \.\.\.") as raised:
        load_sweep(
            path, [f"training.seed={long}"] if option == "seed" else (), corpus=long if option != "seed" else None
        )
    assert len(str(raised.value)) < 600
