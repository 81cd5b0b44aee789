import pytest

from ser_ray.errors import InputError
from ser_ray.report.logs import find_log, main


def test_a_key_or_its_beginning_prints_the_log(sweep, capsys):
    key = sweep.keys["failed"][0]
    for given in (key, key[:3]):
        assert main([str(sweep.folder.path), given]) == 0
        assert capsys.readouterr().out == f"log of {key}\n"


def test_a_whole_key_wins_over_a_longer_one(sweep):
    sweep.write_log("cccccccccccc00", "longer\n")
    assert find_log(sweep.folder, "cccccccccccc").name == "cccccccccccc.log"


def test_bytes_that_are_no_text_are_printed_all_the_same(sweep, capsys):
    sweep.folder.log("cccccccccccc").write_bytes(b"loss \xff\n")
    main([str(sweep.folder.path), "cc"])
    assert capsys.readouterr().out == "loss \N{REPLACEMENT CHARACTER}\n"


def test_unknown_key_names_near_ones(sweep):
    key = sweep.keys["failed"][0]
    wrong = key[:-1] + "x"
    with pytest.raises(InputError, match=rf"no trial '{wrong}'; trials there are: {key}"):
        find_log(sweep.folder, wrong)
    with pytest.raises(InputError, match="no trial 'zzz'; trials there are: "):
        find_log(sweep.folder, "zzz")


def test_empty_key_is_none(sweep):
    with pytest.raises(InputError, match="no trial ''"):
        find_log(sweep.folder, "")


def test_a_beginning_of_several_keys_is_refused(sweep):
    with pytest.raises(InputError, match=r"'1' begins the keys of 3 trials: 10cd00ef0123, .*; give more of the key"):
        find_log(sweep.folder, "1")


def test_a_trial_without_log_says_where_it_would_be(sweep):
    with pytest.raises(InputError, match=r"trial aaaaaaaaaaaa has no log at .*aaaaaaaaaaaa\.log"):
        find_log(sweep.folder, "aaa")


def test_no_trials_yet(new_sweep):
    with pytest.raises(InputError, match="it has no trials yet"):
        find_log(new_sweep().folder, "a")
