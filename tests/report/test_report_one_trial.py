import numpy as np
import pytest

from ser_ray.errors import InputError
from ser_ray.report.configurations import read_sweep_tables
from ser_ray.report.one_trial import asked_trial, best_trial, read_chain_rows, read_recording_traces, shown_trial
from ser_ray.results import read_table


def test_the_trial_that_is_asked_for_is_shown_else_the_best(sweep, new_sweep):
    tables = read_sweep_tables(sweep.folder)
    best = best_trial(tables)["key"]
    assert shown_trial(tables, None) == (best, "the finished trial with the highest raw devel CCC")
    assert shown_trial(tables, "aaaaaaaaaaaa") == ("aaaaaaaaaaaa", "trial aaaaaaaaaaaa")
    assert shown_trial(read_sweep_tables(new_sweep("empty").folder), None)[0] is None


def test_a_trial_without_predictions_cannot_be_asked_for(sweep):
    assert asked_trial(sweep.folder, "aa") == "aaaaaaaaaaaa"
    for key in (sweep.keys["failed"][0], "bbbbbbbbbbbb"):
        with pytest.raises(InputError, match=rf"trial {key} has no predictions at .*{key}\.parquet.*omit --trial"):
            asked_trial(sweep.folder, key[:4])
    with pytest.raises(InputError, match="no trial 'zzz'"):
        asked_trial(sweep.folder, "zzz")


@pytest.mark.parametrize("partition", ["devel", "test"])
def test_traces_of_a_partition_in_the_order_of_their_frames(sweep, partition):
    traces = read_recording_traces(read_sweep_tables(sweep.folder), "aaaaaaaaaaaa", (partition,))
    assert [trace.recording for trace in traces] == [f"{partition}_{number}" for number in range(3)]
    rows = read_table(sweep.folder, "predictions", keys=["aaaaaaaaaaaa"]).to_pylist()
    for trace in traces:
        own = [row for row in rows if row["recording"] == trace.recording]
        assert list(trace.time_s) == [row["time_s"] for row in own]
        assert list(trace.gold["valence"]) == [row["gold_valence"] for row in own]
        assert list(trace.prediction["arousal"]) == [row["prediction_arousal"] for row in own]


@pytest.mark.parametrize("gap", [None, np.nan, np.inf])
@pytest.mark.parametrize("column", ["gold_valence", "prediction_valence"])
def test_a_target_with_a_gap_is_no_trace_of_its_recording(sweep, gap, column):
    place = ("devel_1", 50)
    sweep.rewrite(
        "predictions",
        "aaaaaaaaaaaa",
        **{column: lambda row: gap if (row["recording"], row["frame"]) == place else row[column]},
    )
    traces = read_recording_traces(read_sweep_tables(sweep.folder), "aaaaaaaaaaaa", ("devel",))
    both = ["arousal", "valence"]
    assert [list(trace.gold) for trace in traces] == [both, ["arousal"], both]
    assert [list(trace.prediction) for trace in traces] == [both, ["arousal"], both]


def test_chains_are_by_target_and_method_greedy_first(sweep):
    tables, key = read_sweep_tables(sweep.folder), sweep.keys["finished"][0]
    assert read_chain_rows(tables, key) == {}
    sweep.search(key, ("exhaustive", "greedy"))
    chains = read_chain_rows(tables, key)
    assert {target: list(methods) for target, methods in chains.items()} == {
        target: ["greedy", "exhaustive"] for target in ("arousal", "valence")
    }
    rows = read_table(sweep.folder, "postprocessing").to_pylist()
    assert sorted(rows, key=str) == sorted((row for methods in chains.values() for row in methods.values()), key=str)
    assert all(row["target"] == t and row["method"] == m for t, ms in chains.items() for m, row in ms.items())
