import os
import subprocess
import sys

import pytest
import torch

from ser_ray.training.numerics import effective_precision, in_precision, prepare_process

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def as_before():
    """Leave the process as any training leaves it."""
    yield
    prepare_process()


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_tf32_is_allowed_where_it_is_asked_for_alone(precision):
    prepare_process("tf32")
    prepare_process(precision)
    assert torch.backends.cuda.matmul.allow_tf32 == (precision == "tf32")
    assert torch.backends.cudnn.allow_tf32 == (precision == "tf32")


@pytest.mark.parametrize("deterministic", [True, False])
def test_algorithms_are_chosen_by_determinism_or_by_timing(deterministic):
    prepare_process(deterministic=not deterministic)
    prepare_process(deterministic=deterministic)
    assert torch.are_deterministic_algorithms_enabled() == deterministic
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.backends.cudnn.deterministic == deterministic
    assert torch.backends.cudnn.benchmark != deterministic
    assert not torch.utils.deterministic.fill_uninitialized_memory


@pytest.mark.parametrize(("given", "set_to"), [(None, ":4096:8"), (":16:8", ":16:8")])
def test_buffers_of_cublas_have_one_size_unless_the_user_says_otherwise(monkeypatch, given, set_to):
    if given is None:
        monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    else:
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", given)
    prepare_process()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == set_to


def test_a_process_is_prepared_without_loading_a_compiler():
    code = (
        "import sys; from ser_ray.training.numerics import prepare_process; prepare_process(); "
        "print('torch._inductor.config' in sys.modules, 'triton' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_bfloat16_holds_inside_its_context_alone(monkeypatch):
    weight, x = torch.randn(4, 4), torch.randn(3, 4)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    for precision, dtype in (("float32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16)):
        with in_precision(precision, CPU):
            assert (x @ weight).dtype == dtype
        assert (x @ weight).dtype == torch.float32


@pytest.mark.parametrize(
    ("precision", "capability", "in_effect"),
    [
        ("tf32", None, "float32"),
        ("tf32", (7, 5), "float32"),
        ("tf32", (8, 0), "tf32"),
        ("tf32", (9, 0), "tf32"),
        ("float32", (9, 0), "float32"),
        ("bf16", (9, 0), "bf16"),
        ("float64", None, "float64"),
    ],
)
def test_tf32_is_in_effect_where_the_device_has_it(monkeypatch, precision, capability, in_effect):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    device = CPU if capability is None else torch.device("cuda:0")
    assert effective_precision(precision, device) == in_effect


@pytest.mark.parametrize(("supported", "in_effect"), [(True, "bf16"), (False, "float32")])
def test_bfloat16_is_in_effect_on_a_cpu_whose_lstm_has_it(monkeypatch, supported, in_effect):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported)
    assert effective_precision("bf16", CPU) == in_effect
    with in_precision("bf16", CPU):
        assert torch.is_autocast_enabled("cpu") == supported
