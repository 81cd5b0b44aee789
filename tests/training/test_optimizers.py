from typing import get_args

import pytest
import torch
from torch import nn

from ser_ray.training.config import Optimizer, TrainingConfig
from ser_ray.training.optimizers import RMSpropTF, make_optimizer


def gradients(steps=6):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(4, generator=generator, dtype=torch.float64) for _ in range(steps)]


def test_rmsprop_of_the_papers_framework_is_its_formula():
    weight = nn.Parameter(torch.zeros(4, dtype=torch.float64))
    optimizer = RMSpropTF([weight], 1e-2, decay=0.9, momentum=0.1, epsilon=1e-10)
    expected, mean_square, moving = (
        torch.zeros(4, dtype=torch.float64),
        torch.ones(4, dtype=torch.float64),
        torch.zeros(4),
    )
    for gradient in gradients():
        weight.grad = gradient.clone()
        optimizer.step()
        mean_square = 0.9 * mean_square + 0.1 * gradient**2
        moving = 0.1 * moving + 1e-2 * gradient / torch.sqrt(mean_square + 1e-10)
        expected = expected - moving
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-12, atol=0)


def test_weight_decay_is_part_of_the_gradient_in_the_papers_framework_too():
    start = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    weight, expected = nn.Parameter(start.clone()), start.clone()
    optimizer = make_optimizer(
        TrainingConfig(optimizer="rmsprop_tf", learning_rate=1e-2, momentum=0.3, weight_decay=0.05), [weight]
    )
    mean_square, moving = torch.ones(4, dtype=torch.float64), torch.zeros(4)
    for gradient in gradients():
        weight.grad = gradient.clone()
        optimizer.step()
        assert torch.equal(weight.grad, gradient)
        decayed = gradient + 0.05 * expected
        mean_square = 0.9 * mean_square + 0.1 * decayed**2
        moving = 0.3 * moving + 1e-2 * decayed / torch.sqrt(mean_square + 1e-10)
        expected = expected - moving
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("decoupled", [False, True], ids=["adam", "adamw"])
def test_adams_weight_decay_is_part_of_the_gradient_and_adamws_is_not(decoupled):
    start = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    weight, expected = nn.Parameter(start.clone()), start.clone()
    config = TrainingConfig(optimizer="adamw" if decoupled else "adam", learning_rate=1e-2, weight_decay=0.05)
    optimizer = make_optimizer(config, [weight])
    first, second = torch.zeros(4), torch.zeros(4)
    for step, gradient in enumerate(gradients(), start=1):
        weight.grad = gradient.clone()
        optimizer.step()
        g = gradient if decoupled else gradient + 0.05 * expected
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
        move = 1e-2 * (first / (1 - 0.9**step)) / (torch.sqrt(second / (1 - 0.999**step)) + 1e-8)
        expected = expected - move - (1e-2 * 0.05 * expected if decoupled else 0)
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-9, atol=0)


def test_rmsprops_weight_decay_is_part_of_the_gradient():
    start = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    weight, expected = nn.Parameter(start.clone()), start.clone()
    optimizer = make_optimizer(TrainingConfig(weight_decay=0.05), [weight])
    mean_square, moving = torch.zeros(4), torch.zeros(4)
    for gradient in gradients():
        weight.grad = gradient.clone()
        optimizer.step()
        decayed = gradient + 0.05 * expected
        mean_square = 0.9 * mean_square + 0.1 * decayed**2
        moving = 0.1 * moving + decayed / (torch.sqrt(mean_square) + 1e-8)
        expected = expected - 1e-4 * moving
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("optimizer", get_args(Optimizer))
def test_no_weight_decays_unless_asked_for(optimizer):
    weight = nn.Parameter(torch.ones(3))
    made = make_optimizer(TrainingConfig(optimizer=optimizer), [weight])
    weight.grad = torch.zeros(3)
    made.step()
    assert torch.equal(weight.detach(), torch.ones(3))


def test_rmsprop_is_pytorchs_with_the_papers_numbers():
    weight = nn.Parameter(torch.zeros(4, dtype=torch.float64))
    optimizer = make_optimizer(TrainingConfig(), [weight])
    mean_square, moving, expected = torch.zeros(4), torch.zeros(4), torch.zeros(4, dtype=torch.float64)
    for gradient in gradients():
        weight.grad = gradient.clone()
        optimizer.step()
        mean_square = 0.9 * mean_square + 0.1 * gradient**2
        moving = 0.1 * moving + gradient / (torch.sqrt(mean_square) + 1e-8)
        expected = expected - 1e-4 * moving
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-9, atol=0)


def test_the_two_differ_most_at_first():
    steps = []
    for name in ("rmsprop", "rmsprop_tf"):
        weight = nn.Parameter(torch.zeros(1))
        optimizer = make_optimizer(TrainingConfig(optimizer=name), [weight])
        weight.grad = torch.full((1,), 1e-3)
        optimizer.step()
        steps.append(abs(weight.item()))
    assert steps[0] / steps[1] == pytest.approx(1000 * 3, rel=0.1)


def test_adam_has_the_learning_rate():
    optimizer = make_optimizer(TrainingConfig(optimizer="adam", learning_rate=5e-4), [nn.Parameter(torch.zeros(1))])
    assert isinstance(optimizer, torch.optim.Adam)
    assert optimizer.param_groups[0]["lr"] == 5e-4


def test_state_goes_through_a_checkpoint():
    def run(saved_after):
        weight = nn.Parameter(torch.zeros(4, dtype=torch.float64))
        optimizer = RMSpropTF([weight], 1e-2, momentum=0.1)
        for number, gradient in enumerate(gradients()):
            if number == saved_after:
                state = optimizer.state_dict()
                optimizer = RMSpropTF([weight], 1e-2, momentum=0.1)
                optimizer.load_state_dict(state)
            weight.grad = gradient.clone()
            optimizer.step()
        return weight.detach()

    assert torch.equal(run(None), run(3))


def test_a_closure_is_evaluated_with_gradients():
    weight = nn.Parameter(torch.ones(1))
    optimizer = RMSpropTF([weight], 0.1)

    def closure():
        loss = weight.square().sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 1.0
    assert weight.item() < 1
