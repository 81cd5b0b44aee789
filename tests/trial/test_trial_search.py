"""Both halves of a trial without Ray: raw predictions, their search, and a row that follows from them."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from ser_ray import postprocess, results
from ser_ray.errors import InputError
from ser_ray.models import ModelConfig
from ser_ray.postprocess.config import SearchConfig
from ser_ray.postprocess.grid import Grid
from ser_ray.results import CCC_COLUMNS, read_metadata, read_table
from ser_ray.training.numerics import effective_precision
from ser_ray.trial import TrialConfig, search_trial, train_trial
from ser_ray.trial.search import read_trained

CPU = torch.device("cpu")
TIMES = {"search_seconds", "ended_at"}


def literal_ccc(prediction, gold):
    """Eq. 3, word by word."""
    x, y = np.concatenate(prediction).astype(np.float64), np.concatenate(gold).astype(np.float64)
    covariance = np.mean((x - x.mean()) * (y - y.mean()))
    return 2 * covariance / (np.var(x) + np.var(y) + (x.mean() - y.mean()) ** 2)


def run(trial):
    train_trial(trial, CPU)
    search_trial(trial.folder, trial.key)
    return the_row(trial.folder, trial.key)


def the_row(folder, key):
    (row,) = read_table(folder, "trials", keys=[key]).to_pylist()
    return row


def chains_of(folder, key):
    return {(row["method"], row["target"]): row for row in read_table(folder, "postprocessing", keys=[key]).to_pylist()}


def stored(folder, key, partition, target):
    """Stored predictions and gold of the recordings that have gold."""
    rows = read_table(folder, "predictions", keys=[key]).to_pylist()
    names = list(dict.fromkeys(row["recording"] for row in rows if row["partition"] == partition))
    traces = []
    for name in names:
        own = [row for row in rows if row["recording"] == name]
        if own[0][f"gold_{target}"] is not None:
            traces.append([[row[f"{kind}_{target}"] for row in own] for kind in ("prediction", "gold")])
    return [np.array(p) for p, _ in traces], [np.array(g) for _, g in traces]


def check_figures(folder, row, targets):
    """Every figure of the row from the stored predictions and chains alone."""
    chains, key = chains_of(folder, row["key"]), row["key"]
    for partition in ("devel", "test"):
        for stage in ("", "greedy", "exhaustive"):
            pooled, single = [], []
            for target in targets:
                predictions, gold = stored(folder, key, partition, target)
                if stage:
                    fields = {
                        f.name: chains[stage, target][f.name] for f in dataclasses.fields(postprocess.PostProcessing)
                    }
                    predictions = postprocess.apply(postprocess.PostProcessing(**fields), predictions)
                pooled.append(literal_ccc(predictions, gold))
                single.append(np.mean([literal_ccc([p], [g]) for p, g in zip(predictions, gold, strict=True)]))
                name = "_".join(part for part in ("ccc", partition, stage, target) if part)
                assert row[name] == pytest.approx(pooled[-1], abs=1e-9), name
                assert row[f"{name}_per_recording"] == pytest.approx(single[-1], abs=1e-9), name
            mean = "_".join(part for part in ("ccc", partition, stage, "mean") if part)
            assert row[mean] == pytest.approx(np.mean(pooled), abs=1e-9), mean
            assert row[f"{mean}_per_recording"] == pytest.approx(np.mean(single), abs=1e-9), mean


def test_a_trial_from_its_configuration_to_its_row(make_trial, tiny_config):
    trial, seen = make_trial(tiny_config()), []
    train_trial(trial, CPU, lambda report: seen.append((report.epoch, len(read_table(trial.folder, "epochs")))))
    assert seen == [(1, 1), (2, 2), (3, 3)], "an epoch's row is there when it is told"
    assert trial.folder.keys("predictions") == {trial.key}
    assert trial.folder.keys("trials") == set(), "no row before the search"
    search_trial(trial.folder, trial.key)
    row = the_row(trial.folder, trial.key)
    assert (row["status"], row["error"], row["epochs"], row["git_commit"]) == ("finished", None, 3, "abc+")
    assert None not in {row[column] for column in CCC_COLUMNS}
    check_figures(trial.folder, row, ("arousal", "valence"))
    epochs = read_table(trial.folder, "epochs").to_pylist()
    best = epochs[row["best_epoch"] - 1]
    for column in (name for name in epochs[0] if name.startswith("ccc_")):
        assert best[column] == pytest.approx(row[column], abs=1e-6), column
    assert row["started_at"] <= epochs[0]["ended_at"] <= epochs[-1]["ended_at"] <= row["ended_at"]
    assert not list(trial.folder.tmp.iterdir())


@pytest.mark.skipif(
    effective_precision("bf16", torch.device("cpu")) != "bf16", reason="this CPU's LSTM has no bfloat16"
)
def test_a_trial_in_bfloat16_predicts_in_bfloat16_and_says_so(make_trial, tiny_config):
    trial = make_trial(tiny_config(precision="bf16"))
    row = run(trial)
    assert (row["precision"], row["backend"], row["deterministic"]) == ("bf16", "reference", True)
    best = read_table(trial.folder, "epochs").to_pylist()[row["best_epoch"] - 1]
    for column in (name for name in best if name.startswith("ccc_")):
        assert best[column] == pytest.approx(row[column], abs=1e-6), column
    full = run(make_trial(tiny_config()))
    assert (full["precision"], full["backend"]) == ("float32", "fused")
    assert full["ccc_devel_mean"] != pytest.approx(row["ccc_devel_mean"], abs=1e-6)


def test_a_test_set_without_gold_leaves_nulls_there_alone(make_trial, tiny_config, without_gold):
    corpus = without_gold(["test_1", "test_2"])
    trial = make_trial(tiny_config(epochs=1), corpus)
    row = run(trial)
    assert row["status"] == "finished"
    test = {column for column in CCC_COLUMNS if column.startswith("ccc_test")}
    assert {row[column] for column in test} == {None}
    assert None not in {row[column] for column in set(CCC_COLUMNS) - test}
    table = read_table(trial.folder, "predictions")
    for partition, nulls in (("devel", 0), ("test", sum(r.frames for r in corpus.recordings("test")))):
        here = table.filter(np.array(table["partition"].to_pylist()) == partition)
        for target in ("arousal", "valence"):
            assert here[f"gold_{target}"].null_count == nulls
            assert here[f"prediction_{target}"].null_count == 0


def test_recordings_without_gold_are_left_out_of_the_figures(make_trial, tiny_config, without_gold):
    trial = make_trial(tiny_config(epochs=1), without_gold(["test_2", "devel_1"]))
    row = run(trial)
    check_figures(trial.folder, row, ("arousal", "valence"))
    assert row["ccc_test_mean_per_recording"] == pytest.approx(row["ccc_test_mean"])
    assert len(stored(trial.folder, trial.key, "devel", "arousal")[0]) == 1


@pytest.mark.parametrize("target", ["arousal", "valence"])
def test_one_target_leaves_the_other_null(make_trial, tiny_config, target):
    base = tiny_config(epochs=1)
    model = ModelConfig(**{**dataclasses.asdict(base.model), "targets": (target,)})
    trial = make_trial(TrialConfig(model=model, training=base.training))
    row = run(trial)
    check_figures(trial.folder, row, (target,))
    other = {"arousal": "valence", "valence": "arousal"}[target]
    assert {row[column] for column in CCC_COLUMNS if other in column} == {None}
    assert row["ccc_test_greedy_mean"] == row[f"ccc_test_greedy_{target}"]
    table = read_table(trial.folder, "predictions")
    assert table[f"gold_{other}"].null_count == table[f"prediction_{other}"].null_count == len(table)
    assert set(chains_of(trial.folder, trial.key)) == {("greedy", target), ("exhaustive", target)}


def test_the_key_and_the_predictions_do_not_know_the_search(make_trial, tiny_config):
    base = tiny_config(epochs=1)
    rows = {}
    for methods in (("greedy",), ("exhaustive", "greedy")):
        config = TrialConfig(model=base.model, training=base.training, search=SearchConfig(methods=methods))
        trial = make_trial(config)
        rows[methods] = run(trial)
        found = {method for method, _ in chains_of(trial.folder, trial.key)}
        assert found == set(methods)
    one, both = rows.values()
    assert one["key"] == both["key"]
    assert one["config"] == both["config"]
    searched = {column for column in CCC_COLUMNS if "exhaustive" in column}
    assert {one[column] for column in searched} == {None}
    assert {c: one[c] for c in set(CCC_COLUMNS) - searched} == {c: both[c] for c in set(CCC_COLUMNS) - searched}


def voice(seed, frames, lag=0):
    rng = np.random.default_rng(seed)
    gold = np.cumsum(rng.normal(0, 0.1, frames + lag))
    return (0.5 * gold[lag:] + rng.normal(0, 0.05, frames)).astype(np.float32), gold[:frames].astype(np.float32)


def recordings(frames=120, **lags):
    return {
        (f"{partition}_{number}", partition): {
            target: voice(10 * number + seed, frames, lags.get(target, 0))
            for seed, target in enumerate(("arousal", "valence"))
        }
        for partition in ("devel", "test")
        for number in (1, 2)
    }


def test_a_search_needs_the_predictions_alone(put_predictions, folder):
    put_predictions("k", recordings(), sweep="s", seed=3, started_at="2026-01-02 03:04:05.678901+00:00")
    search_trial(folder, "k")
    row = the_row(folder, "k")
    check_figures(folder, row, ("arousal", "valence"))
    assert (row["key"], row["sweep"], row["seed"]) == ("k", "s", 3)
    assert row["started_at"].isoformat() == "2026-01-02T03:04:05.678901"
    assert row["search_seconds"] > 0


def test_the_chain_is_kept_with_its_gains_and_in_seconds(put_predictions, folder):
    put_predictions("k", recordings(arousal=5), label_rate=12.5)
    search_trial(folder, "k")
    row, chains = the_row(folder, "k"), chains_of(folder, "k")
    assert set(chains) == {(m, t) for m in ("greedy", "exhaustive") for t in ("arousal", "valence")}
    for (method, target), chain in chains.items():
        assert chain["shift_s"] == pytest.approx(chain["shift"] / 12.5)
        assert chain["median_window_s"] == pytest.approx(chain["median_window"] / 12.5)
        assert chain["ccc_devel_raw"] == pytest.approx(row[f"ccc_devel_{target}"], abs=1e-12)
        assert chain["ccc_devel"] == pytest.approx(row[f"ccc_devel_{method}_{target}"], abs=1e-12)
        gains = math.fsum(chain[f"gain_{step}"] for step in ("median", "centre", "scale", "shift"))
        assert chain["ccc_devel"] == pytest.approx(chain["ccc_devel_raw"] + gains, abs=1e-9)
        assert chain["seconds"] > 0
    assert chains["exhaustive", "arousal"]["shift"] > 0, "it came too early"
    for target in ("arousal", "valence"):
        assert chains["exhaustive", target]["ccc_devel"] >= chains["greedy", target]["ccc_devel"] - 1e-12


@pytest.mark.parametrize("rate", [25.0, 12.5, 3.0, 29.97, 30.0188])
@pytest.mark.parametrize("frames", [2, 120, 7501])
def test_the_rate_is_the_one_that_was_trained_at_and_not_one_from_rounded_times(put_predictions, folder, rate, frames):
    put_predictions("k", recordings(frames=frames), label_rate=rate)
    assert read_trained(folder, "k").label_rate == rate


def test_the_rate_that_training_kept_is_taken(make_trial, tiny_config):
    trial = make_trial(tiny_config(epochs=1))
    train_trial(trial, CPU)
    part = trial.folder.part("predictions", trial.key)
    assert float(read_metadata(part)["label_rate"]) == trial.corpus.label_rate
    assert read_trained(trial.folder, trial.key).label_rate == trial.corpus.label_rate


def test_chains_at_the_edge_of_their_grid_say_which(put_predictions, folder):
    put_predictions("k", recordings(arousal=5), search={"max_shift_s": 0.12, "max_window_s": 0})
    search_trial(folder, "k")
    chains = chains_of(folder, "k")
    assert {chain["at_edge"] for (_, target), chain in chains.items() if target == "arousal"} == {"shift"}
    grid = Grid(11, 3)
    for window, frames, met in ((11, 0, "window"), (9, -3, "shift"), (11, 3, "window, shift"), (9, 2, None)):
        assert grid.edges_met(window, frames) == met
    assert Grid(1, 0).edges_met(1, 0) is None
    assert Grid(11, 3, forward_only=True).edges_met(1, 0) is None


def test_only_devel_is_searched(put_predictions, folder):
    given = recordings()
    put_predictions("a", given)
    swapped = {
        (name, partition): {t: (p, -g if partition == "test" else g) for t, (p, g) in pairs.items()}
        for (name, partition), pairs in given.items()
    }
    put_predictions("b", swapped)
    for key in ("a", "b"):
        search_trial(folder, key)
    plain = [
        {pair: {n: v for n, v in chain.items() if n not in ("key", "seconds")} for pair, chain in found.items()}
        for found in (chains_of(folder, "a"), chains_of(folder, "b"))
    ]
    assert plain[0] == plain[1]
    assert the_row(folder, "a")["ccc_test_mean"] != the_row(folder, "b")["ccc_test_mean"]


def test_the_rate_is_read_even_if_the_first_recording_is_one_frame(put_predictions, folder):
    short = {("devel_0", "devel"): {t: (np.float32([0.1]), np.float32([0.2])) for t in ("arousal", "valence")}}
    put_predictions("k", short | recordings(arousal=5))
    search_trial(folder, "k")
    chain = chains_of(folder, "k")["exhaustive", "arousal"]
    assert chain["shift_s"] == pytest.approx(chain["shift"] / 25)
    assert chain["median_window_s"] == pytest.approx(chain["median_window"] / 25)


def test_a_figure_that_does_not_exist_is_null(put_predictions, folder):
    given = recordings()
    constant = np.full(120, 0.25, np.float32)
    for pairs in given.values():
        pairs["valence"] = (constant, constant)
    put_predictions("k", given)
    search_trial(folder, "k")
    row = the_row(folder, "k")
    check = {column for column in CCC_COLUMNS if "valence" in column or "mean" in column}
    assert {row[column] for column in check} == {None}
    assert None not in {row[column] for column in set(CCC_COLUMNS) - check}
    assert row["status"] == "finished"


def searched(put_predictions, folder, given, **settings):
    put_predictions("k", given, search=settings)
    search_trial(folder, "k")
    return the_row(folder, "k"), chains_of(folder, "k")


def test_each_row_says_what_was_searched_and_what_unseen_recordings_would_get(put_predictions, folder):
    settings = {"choice": "per_target", "max_window_s": 1.0, "max_shift_s": 0.4, "forward_only": True}
    row, chains = searched(put_predictions, folder, recordings(arousal=5), **settings)
    for (method, target), chain in chains.items():
        assert {name: chain[name] for name in settings} == settings
        assert (chain["folds"], chain["recordings"]) == (2, 2)
        assert chain["median_window"] <= 25
        assert 0 <= chain["shift"] <= 10
        predictions, gold = stored(folder, "k", "devel", target)
        search = postprocess.search_greedy if method == "greedy" else postprocess.search_exhaustive
        options = {} if method == "greedy" else {"forward_only": True}
        alone = search(predictions, gold, max_window_frames=25, max_shift_frames=10, folds=10, **options)
        assert chain["ccc_devel_crossfit"] == pytest.approx(alone.crossfit_ccc, abs=1e-9)
        assert row[f"ccc_devel_{method}_crossfit_{target}"] == chain["ccc_devel_crossfit"]
        assert chain["shift"] == alone.chain.shift
    for method in ("greedy", "exhaustive"):
        both = [row[f"ccc_devel_{method}_crossfit_{target}"] for target in ("arousal", "valence")]
        assert row[f"ccc_devel_{method}_crossfit_mean"] == pytest.approx(np.mean(both))


def test_joint_steps_are_the_same_and_their_constants_are_not(put_predictions, folder):
    given = recordings(arousal=9, valence=2)
    _, alone = searched(put_predictions, folder, given, max_window_s=1.0, max_shift_s=1.0)
    row, joint = searched(put_predictions, folder, given, max_window_s=1.0, max_shift_s=1.0, choice="joint")
    check_figures(folder, row, ("arousal", "valence"))
    for method in ("greedy", "exhaustive"):
        steps = [
            [joint[method, target][name] for name in ("median_window", "centre", "shift")]
            for target in ("arousal", "valence")
        ]
        assert steps[0] == steps[1]
        assert joint[method, "arousal"]["gold_mean"] != joint[method, "valence"]["gold_mean"]
    assert alone["exhaustive", "arousal"]["shift"] != alone["exhaustive", "valence"]["shift"]


def test_joint_targets_are_searched_on_the_recordings_that_have_both(put_predictions, folder):
    given = recordings()
    given["devel_3", "devel"] = {t: voice(9 + n, 120) for n, t in enumerate(("arousal", "valence"))}
    given["devel_2", "devel"]["valence"][1][7] = np.nan
    _, alone = searched(put_predictions, folder, given)
    assert [alone["greedy", target]["recordings"] for target in ("arousal", "valence")] == [3, 2]
    row, joint = searched(put_predictions, folder, given, choice="joint")
    assert [joint["greedy", target]["recordings"] for target in ("arousal", "valence")] == [2, 2]
    assert row["ccc_devel_greedy_crossfit_mean"] is not None


def test_one_devel_recording_has_no_estimate_and_a_doubt(put_predictions, folder):
    given = {pair: traces for pair, traces in recordings().items() if pair[0] != "devel_2"}
    row, chains = searched(put_predictions, folder, given)
    assert row["status"] == "finished"
    assert {row[f"ccc_devel_{method}_crossfit_mean"] for method in ("greedy", "exhaustive")} == {None}
    assert {chain["doubt"] for chain in chains.values()} == {
        "devel has one recording, so nothing tells what the search brings on others"
    }


@pytest.mark.parametrize("partition", ["devel", "test"])
def test_predictions_that_are_no_numbers_name_their_recording(put_predictions, folder, partition):
    given = recordings()
    given[f"{partition}_2", partition]["valence"][0][5:8] = np.nan, np.inf, -np.inf
    with pytest.raises(InputError) as raised:
        searched(put_predictions, folder, given)
    assert f"the valence predictions of recording {partition}_2 are NaN or infinite in 3 of 120 frames" in str(
        raised.value
    )
    assert folder.keys("trials") == folder.keys("postprocessing") == set()


def test_a_devel_without_gold_is_named_by_its_target(put_predictions, folder):
    given = recordings()
    for (_, partition), pairs in given.items():
        if partition == "devel":
            pairs["valence"] = (pairs["valence"][0], None)
    with pytest.raises(InputError, match="no recording of devel is labelled in all frames for valence"):
        searched(put_predictions, folder, given)
    with pytest.raises(InputError, match="labelled in all frames for arousal and valence"):
        searched(put_predictions, folder, given, choice="joint")


def test_a_row_of_an_earlier_search_never_stands_beside_other_chains(put_predictions, folder, monkeypatch):
    searched(put_predictions, folder, recordings(arousal=5))
    write, seen = results.write_part, []

    def write_and_look(folder, name, *arguments, **options):
        seen.append((name, folder.part("trials", "k").exists()))
        return write(folder, name, *arguments, **options)

    monkeypatch.setattr(results, "write_part", write_and_look)
    search_trial(folder, "k")
    assert seen == [("postprocessing", False), ("trials", False)]


def test_a_search_done_again_leaves_the_same(put_predictions, folder):
    put_predictions("k", recordings())
    search_trial(folder, "k")
    row, chains = the_row(folder, "k"), chains_of(folder, "k")
    search_trial(folder, "k")
    again = the_row(folder, "k")
    assert {name for name in row if row[name] != again[name]} <= TIMES
    for pair, chain in chains_of(folder, "k").items():
        assert {name for name in chain if chain[name] != chains[pair][name]} <= {"seconds"}


def test_the_row_is_written_last(put_predictions, folder, monkeypatch):
    put_predictions("k", recordings(), methods=("greedy",))
    write = results.write_part

    def write_no_row(folder, name, *arguments, **options):
        if name == "trials":
            raise OSError(28, "No space left on device")
        return write(folder, name, *arguments, **options)

    monkeypatch.setattr(results, "write_part", write_no_row)
    with pytest.raises(OSError, match="No space left"):
        search_trial(folder, "k")
    assert folder.keys("postprocessing") == {"k"}
    assert folder.keys("trials") == set()


@pytest.mark.parametrize("content", [None, b"", b"PAR1 half a file"], ids=["absent", "empty", "half"])
def test_predictions_that_cannot_be_read_are_named(folder, content):
    path = folder.part("predictions", "k")
    path.parent.mkdir(parents=True)
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        search_trial(folder, "k")
    assert str(raised.value).startswith(f"{path} cannot be read")
    assert folder.keys("trials") == set()


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({}, "'trial'"),
        ({"trial": "{"}, "Expecting"),
        ({"trial": "{}", "search": '{"methods": ["best"]}'}, "methods"),
        ({"trial": "[]", "search": "{}"}, "does not say"),
    ],
)
def test_predictions_that_do_not_say_whose_they_are_are_named(put_predictions, folder, metadata, says):
    put_predictions("k", recordings())
    path = folder.part("predictions", "k")
    results.write_part(folder, "predictions", "k", read_table(folder, "predictions"), metadata=metadata)
    with pytest.raises(InputError) as raised:
        search_trial(folder, "k")
    assert str(raised.value).startswith(f"{path} does not say, as a training writes it")
    assert says in str(raised.value)


def test_predictions_of_no_frame_are_named(put_predictions, folder):
    put_predictions("k", recordings())
    path = folder.part("predictions", "k")
    empty = read_table(folder, "predictions").slice(0, 0)
    results.write_part(folder, "predictions", "k", empty, metadata=read_metadata(path))
    with pytest.raises(InputError, match="holds no frame"):
        search_trial(folder, "k")


def test_what_the_search_needs_travels_with_the_predictions(make_trial, tiny_config):
    trial = make_trial(tiny_config(epochs=1))
    train_trial(trial, CPU)
    assert set(read_metadata(trial.folder.part("predictions", trial.key))) == {"trial", "search", "label_rate"}
