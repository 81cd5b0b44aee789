import csv

import numpy as np
import pytest
from scipy import stats

from ser_ray.errors import InputError
from ser_ray.report.leaderboard import main
from ser_ray.results import CCC_COLUMNS, read_table


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_csv_holds_every_configuration_and_figure(sweep, tmp_path, capsys):
    path = tmp_path / "board.csv"
    main([str(sweep.folder.path), "--top", "1", "--csv", str(path)])
    rows = read(path)
    trials = {row["key"]: row for row in read_table(sweep.folder, "trials").to_pylist()}
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4"]
    for row in rows:
        members = [trials[key] for key in row["keys"].split()]
        assert len({tuple(member["kernels"]) for member in members}) == 1
        assert row["kernels"] == " ".join(map(str, members[0]["kernels"]))
        assert float(row["overlap_ratio"]) == pytest.approx(np.mean(members[0]["overlap_ratios"]))
        finished = [member for member in members if member["status"] == "finished"]
        assert int(row["finished"]) == len(finished)
        assert int(row["failed"]) == sum(member["status"] == "failed" for member in members)
        assert row["seeds"] == "0 1 2"
        for column in CCC_COLUMNS:
            values = [member[column] for member in finished]
            assert float(row[column]) == pytest.approx(np.mean(values))
            assert int(row[f"{column}_n"]) == len(values)
            if len(values) > 1:
                half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
                assert float(row[f"{column}_interval"]) == pytest.approx(half)
            else:
                assert row[f"{column}_interval"] == ""


def test_csv_leaves_what_does_not_exist_empty(sweep_without_test_gold, tmp_path, capsys):
    path = tmp_path / "board.csv"
    main([str(sweep_without_test_gold.folder.path), "--csv", str(path)])
    assert {row["ccc_test_mean"] for row in read(path)} == {""}
    assert {row["ccc_test_mean_n"] for row in read(path)} == {"0"}


def test_csv_has_the_columns_that_are_asked_for(sweep, tmp_path, capsys):
    path = tmp_path / "board.csv"
    asked = "train_seconds,ccc_test_mean,device,channels,learning_rate,seed"
    main([str(sweep.folder.path), "--columns", asked, "--csv", str(path)])
    with path.open(newline="") as file:
        heading = next(csv.reader(file))
    assert len(heading) == len(set(heading)), "what is there already is not there twice"
    for row in read(path):
        assert (row["device"], row["seed"], row["channels"]) == ("cpu", "varies", "64 128 256")
        assert (float(row["train_seconds"]), row["train_seconds_n"]) == (100.0, row["finished"])
        assert row["train_seconds_interval"] == ("0.0" if row["finished"] != "1" else "")


def test_a_file_that_cannot_be_written_is_an_input_error(sweep, tmp_path, capsys):
    with pytest.raises(InputError, match=r"gone/board\.csv cannot be written: No such file"):
        main([str(sweep.folder.path), "--csv", str(tmp_path / "gone" / "board.csv")])
