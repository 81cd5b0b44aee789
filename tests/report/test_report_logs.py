import io
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_ray.errors import InputError
from ser_ray.report.logs import find_log, last_lines, main, print_log


def test_a_key_or_its_beginning_prints_the_log(sweep, capsys):
    key = sweep.keys["failed"][0]
    for name in (key, key[:3]):
        assert main([str(sweep.folder.path), name]) == 0
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
    with pytest.raises(
        InputError,
        match=r"'1' begins the keys of 3 trials: 10cd00ef0123, .*; give more characters of "
        r"the key",
    ):
        find_log(sweep.folder, "1")


def test_a_trial_without_log_is_an_input_error_with_its_path(sweep):
    with pytest.raises(InputError, match=r"trial aaaaaaaaaaaa has no log at .*aaaaaaaaaaaa\.log"):
        find_log(sweep.folder, "aaa")


def test_no_trials_yet(new_sweep):
    with pytest.raises(InputError, match="it has no trials yet"):
        find_log(new_sweep().folder, "a")


@given(
    text=st.lists(st.sampled_from(["", "a", "\N{EURO SIGN} 5", "x" * 9, "a\rb", "\N{LINE SEPARATOR}"])).map("\n".join),
    end=st.sampled_from(["", "\n"]),
    count=st.integers(0, 9),
    block=st.integers(1, 9),
)
def test_the_last_lines_are_those_of_the_whole_text(text, end, count, block, tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "k.log"
    path.write_bytes((text + end).encode())
    whole = (text + end).removesuffix("\n")
    lines = whole.split("\n") if text + end else []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ser_ray.report.logs._BLOCK", block)
        assert last_lines(path, count) == (lines[-count:] if count else [])


def test_only_the_end_of_a_log_is_read(tmp_path, monkeypatch):
    path = tmp_path / "long.log"
    with path.open("wb") as file:
        file.truncate(10**12)  # takes no room on the disk, and would take for ever to read
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + b"line\n" * 10)
    assert last_lines(path, 10) == ["line"] * 10


def test_last_prints_so_many_lines(sweep, capsys):
    sweep.write_log("cccccccccccc", "1\n2\n3\n")
    assert main([str(sweep.folder.path), "cc", "--last", "2"]) == 0
    assert capsys.readouterr().out == "2\n3\n"
    with pytest.raises(InputError, match="--last is 0, but must be at least 1"):
        main([str(sweep.folder.path), "cc", "--last", "0"])


def test_following_prints_what_is_added_until_the_end(tmp_path):
    path = tmp_path / "k.log"
    path.write_bytes(b"1\n2\n")
    added = [b"3 \xe2\x82", b"\xac\n", b"", b"last\n"]
    out = io.StringIO()
    seen = []

    def add():
        seen.append(out.getvalue())
        with path.open("ab") as file:
            file.write(added.pop(0))

    print_log(path, out, last=1, until=lambda: not added, pause=add)
    assert out.getvalue() == "2\n3 \N{EURO SIGN}\nlast\n"
    assert seen == ["2\n", "2\n3 ", "2\n3 \N{EURO SIGN}\n", "2\n3 \N{EURO SIGN}\n"]


def test_following_goes_on_when_a_log_is_begun_anew(tmp_path):
    path = tmp_path / "k.log"
    path.write_text("a long first life\n")
    out = io.StringIO()
    looks = iter([False, True])
    print_log(path, out, until=lambda: next(looks), pause=lambda: path.write_text("second\n"))
    assert out.getvalue() == "a long first life\nsecond\n"


def test_following_ends_with_the_trial(sweep, capsys, monkeypatch):
    key = "cccccccccccc"

    def end(seconds):
        with sweep.folder.log(key).open("a") as file:
            file.write("ends\n")
        sweep.write("trials", key, [sweep.row(key, sweep.config())])

    monkeypatch.setattr(time, "sleep", end)
    assert main([str(sweep.folder.path), key, "--follow"]) == 0
    assert capsys.readouterr().out == "begins\nends\n"
    assert main([str(sweep.folder.path), key, "--follow", "--last", "1"]) == 0
    assert capsys.readouterr().out == "ends\n"


def test_ctrl_c_ends_following_with_0(sweep):
    command = [sys.executable, "-m", "ser_ray", "logs", str(sweep.folder.path), "cccccccccccc", "--follow"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begins\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "")
