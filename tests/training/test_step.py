"""What a step of training asks of its device: nothing that has it wait, and few operations for many weights."""

from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ser_ray.models import ModelConfig, build
from ser_ray.training.config import TrainingConfig
from ser_ray.training.loss import ccc_loss, mse_loss
from ser_ray.training.optimizers import make_optimizer

WAITING = ("_local_scalar_dense", "item", "nonzero", "masked_select", "equal", "is_nonzero", "unique")
"""Operations whose result, or its shape, the host has to know."""


class Operations(TorchDispatchMode):
    """Counts operations, those apart that wait for a device."""

    def __init__(self):
        super().__init__()
        self.waiting, self.all = [], Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        self.all[name] += 1
        by_mask = name in ("index", "index_put", "index_put_") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if name in WAITING or by_mask:
            self.waiting.append(name)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("loss", [ccc_loss, mse_loss])
@pytest.mark.parametrize("optimizer", ["rmsprop", "rmsprop_tf"])
def test_nothing_in_a_step_waits_for_the_device(optimizer, loss, masked):
    model = build(ModelConfig(channels=(3, 4), kernels=(4, 6), pools=(8, 8), hidden=5, dropout=0.0), "reference")
    steps = make_optimizer(TrainingConfig(optimizer=optimizer, weight_decay=0.01), model.parameters())
    mask = torch.rand(3, 10, generator=torch.Generator().manual_seed(0)) > 0.3 if masked else None
    waveform, gold = torch.randn(3, 640), torch.randn(3, 10, 2)
    for _ in range(2):  # the first makes the optimiser's state
        with Operations() as asked:
            loss(model(waveform), gold, mask).backward()
            steps.step()
    assert asked.waiting == []
    assert asked.all["convolution"] == 2  # it is the step that was watched


@pytest.mark.parametrize(
    "waits", [lambda x: x.sum().item(), lambda x: x[x > 0], lambda x: x[x.argmax()], lambda x: x.nonzero()]
)
def test_that_check_can_fail(waits):
    with Operations() as asked:
        waits(torch.randn(4))
    assert asked.waiting


def test_rmsprop_tf_takes_a_handful_of_operations_however_many_weights_there_are():
    counts = []
    for many in (2, 20):
        weights = [torch.nn.Parameter(torch.randn(3)) for _ in range(many)]
        steps = make_optimizer(TrainingConfig(optimizer="rmsprop_tf", weight_decay=0.01), weights)
        for _ in range(2):  # the first makes its state
            for weight in weights:
                weight.grad = torch.randn(3)
            with Operations() as asked:
                steps.step()
        counts.append(sum(asked.all.values()))
    assert counts[0] == counts[1] <= 12
