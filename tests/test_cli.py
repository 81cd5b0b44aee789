"""The door: which commands there are, what is said of mistakes, and what of a reader that leaves."""

import importlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ser_ray import __version__, cli, process
from ser_ray.errors import InputError
from ser_ray.process import handle_signals

BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
"""As users run it: what is printed goes out in blocks, the last at the end."""


def command(*arguments, module="ser_ray"):
    return [sys.executable, "-m", module, *arguments]


@pytest.fixture
def sweep_with_log(tmp_path):
    """A sweep of one trial whose log is longer than a pipe holds."""
    folder = tmp_path / "overlap"
    (folder / "logs").mkdir(parents=True)
    (folder / "sweep.yaml").write_text("name: overlap")
    (folder / "logs" / "aaaaaaaaaaaa.log").write_text("".join(f"line {n} of the log\n" for n in range(20_000)))
    return folder


def test_help_lists_every_command(capsys):
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: ser-ray COMMAND")
    for name, (_, what) in cli.COMMANDS.items():
        (line,) = [line for line in out.splitlines() if line.split()[:2] == ["ser-ray", name]]
        assert line.endswith(f"  {what}")


def test_no_command_at_all_is_a_mistake(capsys):
    assert cli.main([]) == 2
    assert "usage: ser-ray COMMAND" in capsys.readouterr().out


def test_an_unknown_command_is_named(capsys):
    assert cli.main(["swep", "x.yaml"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: no command 'swep'\n")
    assert "ser-ray leaderboard" in captured.err
    assert captured.out == ""


def test_the_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"ser_ray {__version__}\n"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_a_module_that_prints_its_usage(name, capsys):
    module, _ = cli.COMMANDS[name]
    assert callable(importlib.import_module(module).main)
    with pytest.raises(SystemExit) as exited:
        cli.main([name, "--help"])
    assert exited.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: ser-ray {name} ")


def test_the_command_gets_the_arguments_after_its_name_and_its_code_is_handed_on(monkeypatch):
    room = type(sys)("room")
    room.main = len
    monkeypatch.setitem(sys.modules, "room", room)
    monkeypatch.setitem(cli.COMMANDS, "count", ("room", "counts"))
    assert cli.main(["count", "a", "--help", "b"]) == 3
    monkeypatch.setattr(sys, "argv", ["ser-ray", "count", "a"])
    assert cli.main() == 1


def test_a_mistake_is_one_message_and_exits_2(capsys):
    def wrong(argv):
        raise InputError(f"epochs is {argv[0]}, but must be at least 1")

    assert process.guarded(wrong, ["0"]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "error: epochs is 0, but must be at least 1\n")


def test_what_is_no_mistake_of_the_user_keeps_its_traceback():
    def broken(argv):
        raise KeyError("ours")

    with pytest.raises(KeyError, match="ours"):
        process.guarded(broken)


@pytest.mark.parametrize("code", [0, 1, 75])
def test_run_exits_with_the_commands_code(code):
    with handle_signals(signal.default_int_handler), pytest.raises(SystemExit) as left:  # puts the handlers in again
        process.run(lambda argv: code)
    assert left.value.code == code


def test_a_mistake_in_a_process_of_its_own(tmp_path):
    for line in (command("leaderboard", str(tmp_path)), command(str(tmp_path / "no.yaml"), module="ser_ray.sweep")):
        done = subprocess.run(line, check=False, capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert str(tmp_path) in done.stderr
        assert "Traceback" not in done.stderr


def test_a_closed_pipe_ends_a_command_quietly(sweep_with_log):
    writer = subprocess.Popen(
        command("logs", str(sweep_with_log), "aaaa"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    head = subprocess.run(["head", "-n", "1"], stdin=writer.stdout, capture_output=True, text=True, check=True)
    writer.stdout.close()
    assert head.stdout == "line 0 of the log\n"
    assert writer.stderr.read() == ""
    writer.stderr.close()
    assert writer.wait() == 0


@pytest.mark.parametrize("arguments", [["--help"], ["status", "--help"], ["--version"]])
def test_a_reader_that_left_before_a_few_lines_came_is_no_error(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            command(*arguments), check=False, stdout=writer, stderr=subprocess.PIPE, text=True, env=BUFFERED
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_closed_output_is_no_error(tmp_path):
    code = "import os, sys; os.close(1); os.execv(sys.executable, [sys.executable, '-m', 'ser_ray', '--version'])"
    done = subprocess.run([sys.executable, "-c", code], check=False, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_installed_command_is_this_door():
    script = Path(sys.executable).parent / "ser-ray"
    if not script.exists():
        pytest.skip("the package is not installed beside this Python")
    done = subprocess.run([script, "--version"], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"ser_ray {__version__}\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_a_terminal_cannot_show_is_replaced(encoding, monkeypatch):
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)

    def command(argv):
        print("Zoë – 张伟")
        raise InputError("no recording 张伟")

    assert process.guarded(command) == 2
    err.flush()
    shown, said = out.buffer.getvalue().decode(encoding), err.buffer.getvalue().decode(encoding)
    expected = "Zoë – 张伟".encode(encoding, "backslashreplace").decode(encoding)
    assert shown == f"{expected}\n"
    assert said.startswith("error: no recording ")
