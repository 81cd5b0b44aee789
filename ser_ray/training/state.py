"""State of a training between two steps, as stored in checkpoints, and checks that a checkpoint fits a training."""

import copy
import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from ser_ray.errors import InputError
from ser_ray.models import ModelConfig
from ser_ray.training.config import TrainingConfig, first_problem
from ser_ray.training.evaluate import Scores


@dataclass(frozen=True)
class EpochReport:
    """Result of one epoch.

    Args:
        epoch: counted from 1.
        train_loss: mean over the epoch's batches.
        devel: CCC on devel, before any post-processing.
        best: whether its devel mean is the best so far.
        ended_at: UTC.
    """

    epoch: int
    train_loss: float
    devel: Scores
    best: bool
    train_seconds: float
    evaluate_seconds: float
    ended_at: datetime


class CheckpointMismatchError(InputError):
    """A readable checkpoint from which its training cannot resume."""


def plain_reports(reports: list[EpochReport]) -> list[dict[str, Any]]:
    """Convert reports to the plain data of a checkpoint: numbers, texts, and dicts of these."""
    return [
        {**vars(report), "devel": vars(report.devel), "ended_at": report.ended_at.isoformat()} for report in reports
    ]


def read_reports(content: Mapping[str, Any]) -> list[EpochReport]:
    """Read the reports of all epochs from a checkpoint; raise CheckpointMismatchError if they are not valid."""
    try:
        reports = TypeAdapter(list[EpochReport]).validate_python(content.get("epochs"))
    except ValidationError as error:
        raise CheckpointMismatchError(first_problem(error, "epochs")) from error
    if [report.epoch for report in reports] != list(range(1, len(reports) + 1)):
        raise CheckpointMismatchError("its epochs are not numbered from 1")
    return reports


def identity(model: ModelConfig, config: TrainingConfig, corpus_fingerprint: str) -> dict[str, Any]:
    """Return the identity of a training as plain data; each of its checkpoints contains it.

    The number of epochs is not part of it: a longer training can resume from a shorter one.
    """
    parts = {"model": dataclasses.asdict(model), "training": dataclasses.asdict(config)}
    del parts["training"]["epochs"]
    flat = {f"{part}.{name}": value for part, fields in parts.items() for name, value in fields.items()}
    plain: dict[str, Any] = json.loads(json.dumps(flat | {"corpus": corpus_fingerprint}))
    return plain


def check_content(
    content: Mapping[str, Any],
    *,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    steps_per_epoch: int,
    max_epochs: int,
    identity: Mapping[str, Any],
) -> None:
    """Check that a training can resume from a checkpoint; if not, raise CheckpointMismatchError with the reason.

    The training itself is not changed. Content that version 0.1.0 did not write may be missing: the best weights, the
    progress within an epoch, and the training's identity.
    """
    _check_identity(content, identity)
    reports = read_reports(content)
    if len(reports) > max_epochs:
        raise CheckpointMismatchError(f"it has {len(reports)} epochs, but this training has at most {max_epochs}")
    best_epoch = content.get("best_epoch")
    if type(best_epoch) is not int or not min(1, len(reports)) <= best_epoch <= len(reports):
        raise CheckpointMismatchError(f"best_epoch is {best_epoch!r}, but the checkpoint has {len(reports)} epochs")
    expected = model.state_dict()
    _check_weights("model", content.get("model"), expected)
    if "best" in content and reports:
        _check_weights("best", content["best"], expected)
    losses, seconds = content.get("losses", []), content.get("seconds", 0.0)
    if not isinstance(losses, list) or len(losses) > steps_per_epoch or not all(map(_is_number, losses)):
        raise CheckpointMismatchError(f"losses is not a list of at most {steps_per_epoch} finite numbers")
    if not _is_number(seconds) or seconds < 0:
        raise CheckpointMismatchError("seconds is not a number of at least 0")
    _check_optimizer(content.get("optimizer"), _after_a_step(optimizer), begun=bool(reports or losses))
    _check_random("random", content.get("random"), torch.device("cpu"))
    if content.get("random_cuda") is not None and device.type == "cuda":
        _check_random("random_cuda", content["random_cuda"], device)


def _check_identity(content: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    found = content.get("training")
    if found is None:
        return
    if not isinstance(found, dict):
        raise CheckpointMismatchError("training is not a mapping of settings")
    for name, own in expected.items():
        # a setting that one of them lacks was added or removed in another version of ser_ray
        if name in found and found[name] != own:
            raise CheckpointMismatchError(
                f"it belongs to another training: {name} is {str(found[name])[:40]}, but {str(own)[:40]} here"
            )


def _check_optimizer(content: object, expected: Mapping[str, Any], *, begun: bool) -> None:
    if not isinstance(content, dict) or not content.keys() >= expected.keys():
        raise CheckpointMismatchError("optimizer is not the state of an optimizer")
    groups, state = content["param_groups"], content["state"]
    if not isinstance(groups, list) or len(groups) != len(expected["param_groups"]):
        raise CheckpointMismatchError("optimizer has different parameter groups")
    for group, own in zip(groups, expected["param_groups"], strict=True):
        if not isinstance(group, dict) or group.get("params") != own["params"]:
            raise CheckpointMismatchError("optimizer has different parameters")
        for name, value in own.items():
            # settings of the implementation are flags or None, and may change from version to version
            if _is_number(value) and group.get(name) != value:
                raise CheckpointMismatchError(f"optimizer: {name} is {group.get(name)!r}, but {value!r} here")
    if not isinstance(state, dict) or state.keys() != (expected["state"].keys() if begun else state.keys()):
        raise CheckpointMismatchError("optimizer lacks the state of some parameters, or has the state of unknown ones")
    for place, own in expected["state"].items():
        if place in state:
            _check_entry(f"optimizer.state.{place}", state[place], own)


def _after_a_step(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the state of a copy of an optimiser after one step."""
    stepped = copy.deepcopy(optimizer)
    for group in stepped.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    stepped.step()
    return stepped.state_dict()


def _check_entry(name: str, found: object, expected: Mapping[str, Any]) -> None:
    if not isinstance(found, dict) or found.keys() != expected.keys():
        raise CheckpointMismatchError(f"{name} does not have the entries of this optimizer")
    for entry, own in expected.items():
        value = found[entry]
        if type(value) is not type(own):
            raise CheckpointMismatchError(f"{name}.{entry} has a different type")
        if isinstance(own, torch.Tensor):
            _check_tensor(f"{name}.{entry}", value, own)
            if value.isnan().any():  # it may be infinite: the square of a gradient can overflow
                raise CheckpointMismatchError(f"{name}.{entry} contains NaN")


def _check_weights(name: str, found: object, expected: Mapping[str, torch.Tensor]) -> None:
    if not isinstance(found, dict):
        raise CheckpointMismatchError(f"{name} contains no weights")
    if found.keys() != expected.keys():
        missing, others = sorted(expected.keys() - found.keys()), sorted(map(str, found.keys() - expected.keys()))
        raise CheckpointMismatchError(
            f"{name} {f'lacks {missing[0]}' if missing else f'has the unknown entry {others[0]}'}"
        )
    for weight, own in expected.items():
        _check_tensor(f"{name}.{weight}", found[weight], own)
        if not found[weight].isfinite().all():
            raise CheckpointMismatchError(f"{name}.{weight} contains NaN or infinity")


def _check_tensor(name: str, found: object, expected: torch.Tensor) -> None:
    if not isinstance(found, torch.Tensor):
        raise CheckpointMismatchError(f"{name} is not a tensor")
    if (found.shape, found.dtype) != (expected.shape, expected.dtype):
        given, wanted = (f"{tuple(one.shape)} {one.dtype}" for one in (found, expected))
        raise CheckpointMismatchError(f"{name} is {given}, but {wanted} here")


def _check_random(name: str, found: object, device: torch.device) -> None:
    try:
        torch.Generator(device).set_state(found)  # type: ignore[arg-type]
    except (TypeError, RuntimeError) as error:
        raise CheckpointMismatchError(f"{name} is not the state of a random number generator") from error


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
