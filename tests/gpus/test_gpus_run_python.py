"""Python processes that print, fail, crash or hang."""

from ser_ray.gpus.run_python import run_python


def test_an_answer():
    answer = run_python("-c", "print('a'); print(); print('b')")
    assert (answer.lines, answer.error) == (("a", "b"), None)
    assert answer.seconds > 0


def test_the_last_line_of_a_traceback_is_the_reason():
    answer = run_python("-c", "print('first', flush=True); import no_such_module")
    assert answer.lines == ("first",)
    assert answer.error == "ModuleNotFoundError: No module named 'no_such_module'"


def test_a_crash_is_named_by_its_signal():
    assert run_python("-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)").error == "ended by SIGSEGV"


def test_a_silent_failure_is_named_by_its_code():
    assert run_python("-c", "raise SystemExit(3)").error == "exit code 3"


def test_a_hanging_process_is_killed_and_its_output_kept():
    answer = run_python("-c", "import time; print('here', flush=True); time.sleep(600)", timeout_s=2)
    assert answer.lines == ("here",)
    assert answer.error == "no answer within 2 s"
    assert answer.seconds < 60
