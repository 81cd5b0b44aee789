"""What PyTorch is asked, with the CPU and stand-ins in the place of GPUs."""

import json
from types import SimpleNamespace

import pytest
import torch

from ser_ray.gpus import probe
from ser_ray.gpus.run_python import run_python
from ser_ray.gpus.visible import Gpu, read_probe

CPU = torch.device("cpu")


def cuda(**functions):
    """Stands for torch.cuda with two GPUs."""
    working = {
        "is_available": lambda: True,
        "device_count": lambda: 2,
        "get_device_name": lambda index: f"Model {index}",
        "mem_get_info": lambda index: (30, 40 + index),
    }
    return SimpleNamespace(**{**working, **functions})


def raises(error):
    def function(*_):
        raise error

    return function


def test_a_device_that_computes_as_the_cpu_is_right():
    assert probe.computed_wrongly(CPU) is None


@pytest.mark.parametrize(("name", "said"), [("matmul", "a matrix product"), ("conv1d", "a convolution")])
@pytest.mark.parametrize("error", [1e-3, float("nan")])
def test_a_device_that_errs_is_found_out(monkeypatch, name, said, error):
    room = torch if name == "matmul" else torch.nn.functional
    right = getattr(room, name)

    def wrong(*operands):
        found = right(*operands)
        return found if found.dtype == torch.float64 else found + error * found.abs().max()

    monkeypatch.setattr(room, name, wrong)
    assert probe.computed_wrongly(CPU).startswith(f"{said} is wrong by ")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("wrong", "a step of an LSTM is wrong by "),
        ("unsteady", "a step of an LSTM gives different gradients when it is repeated"),
    ],
)
def test_a_device_whose_lstm_errs_is_found_out(monkeypatch, kind, said):
    right, calls = torch.nn.LSTM.forward, []

    def forward(lstm, x):
        calls.append(x.dtype)
        out, state = right(lstm, x)
        if x.dtype == torch.float32 and kind == "wrong":
            out = out * 1.05
        if x.dtype == torch.float32 and kind == "unsteady" and calls.count(torch.float32) == 2:
            out = out * (1 + 1e-5)
        return out, state

    monkeypatch.setattr(torch.nn.LSTM, "forward", forward)
    assert probe.computed_wrongly(CPU).startswith(said)


def test_each_gpu_is_tried_by_its_number():
    tried = []

    def device(index):
        tried.append(index)
        return CPU

    assert probe.probe_gpus(cuda(), device) == {
        "gpus": [
            {"name": "Model 0", "total": 40, "free": 30, "wrong": None},
            {"name": "Model 1", "total": 41, "free": 30, "wrong": None},
        ],
        "reason": None,
    }
    assert tried == [0, 1]


def test_a_gpu_that_raises_is_wrong_and_the_others_are_tried():
    def memory(index):
        if index == 0:
            raise torch.OutOfMemoryError("CUDA error: uncorrectable ECC error\nCompile with ...")
        return 30, 40

    first, second = probe.probe_gpus(cuda(mem_get_info=memory), lambda _: CPU)["gpus"]
    assert (first["name"], first["wrong"]) == ("Model 0", "CUDA error: uncorrectable ECC error")
    assert second["wrong"] is None


@pytest.mark.parametrize("error", [RuntimeError("too old\nadvice"), AssertionError("too old")])
def test_the_reason_for_none_is_pytorchs_own(error):
    none = cuda(is_available=lambda: False, init=raises(error))
    assert probe.probe_gpus(none, lambda _: CPU) == {"gpus": [], "reason": "too old"}


def test_an_error_without_words_has_its_name():
    none = cuda(is_available=lambda: False, init=raises(RuntimeError()))
    assert probe.probe_gpus(none, lambda _: CPU)["reason"] == "RuntimeError"


def test_the_process_prints_the_versions_and_what_the_gpus_computed():
    answer = run_python("-m", "ser_ray.gpus.probe")
    assert answer.error is None
    imported, tried = map(json.loads, answer.lines)
    assert imported["torch"] == torch.__version__
    assert imported["cuda"] == torch.version.cuda
    seen = read_probe(answer)
    assert len(seen.gpus) == len(tried["gpus"]) == torch.cuda.device_count()
    assert all(isinstance(gpu, Gpu) for gpu in seen.gpus)
