"""What is known of a training between two of its steps, as its checkpoints hold it, and whether one of them fits it."""

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
from ser_ray.training.config import TrainingConfig
from ser_ray.training.evaluate import Scores


@dataclass(frozen=True)
class EpochReport:
    """What one epoch came to.

    Args:
        epoch: counted from 1.
        train_loss: mean over the epoch's batches.
        devel: CCC on devel, before any post-processing.
        best: whether its devel mean is the best so far.
        train_seconds: of this epoch's training.
        evaluate_seconds: of this epoch's evaluation.
        ended_at: when, UTC.
    """

    epoch: int
    train_loss: float
    devel: Scores
    best: bool
    train_seconds: float
    evaluate_seconds: float
    ended_at: datetime


class UnfitCheckpointError(InputError):
    """A checkpoint that can be read, and holds what its training cannot go on from."""


def plain_reports(reports: list[EpochReport]) -> list[dict[str, Any]]:
    """Return reports as a checkpoint holds them: numbers, texts, and dicts of these."""
    return [
        {**vars(report), "devel": vars(report.devel), "ended_at": report.ended_at.isoformat()} for report in reports
    ]


def read_reports(content: Mapping[str, Any]) -> list[EpochReport]:
    """Return the reports of all epochs that ended before a checkpoint.

    Args:
        content: of the checkpoint.

    Raises:
        UnfitCheckpointError: if it holds no such reports.
    """
    try:
        reports = TypeAdapter(list[EpochReport]).validate_python(content.get("epochs"))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in ("epochs", *first["loc"]))
        raise UnfitCheckpointError(f"{place}: {first['msg']}") from error
    if [report.epoch for report in reports] != list(range(1, len(reports) + 1)):
        raise UnfitCheckpointError("its epochs are not numbered from 1")
    return reports


def identity(model: ModelConfig, config: TrainingConfig, corpus_fingerprint: str) -> dict[str, Any]:
    """Return what a checkpoint says of the training that it belongs to, as plain data.

    The number of epochs is no part of it: a longer training goes on from a shorter one.
    """
    parts = {"model": dataclasses.asdict(model), "training": dataclasses.asdict(config)}
    del parts["training"]["epochs"]
    flat = {f"{part}.{name}": value for part, fields in parts.items() for name, value in fields.items()}
    plain: dict[str, Any] = json.loads(json.dumps(flat | {"corpus": corpus_fingerprint}))
    return plain


@dataclass(frozen=True)
class Fit:
    """What a checkpoint must be like for a training to go on from it.

    Args:
        model: its network.
        optimizer: of the network's parameters; only its structure and settings matter.
        device: where it trains.
        steps_per_epoch: batches of an epoch.
        most_epochs: that it has.
        identity: of the training, see `identity`.
    """

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    device: torch.device
    steps_per_epoch: int
    most_epochs: int
    identity: Mapping[str, Any]

    def check(self, content: Mapping[str, Any]) -> None:
        """Return if a training can go on from a checkpoint.

        Nothing of the training is changed. What version 0.1.0 did not write may be missing: the best weights, what is
        done of an epoch, and whose it is.

        Args:
            content: of the checkpoint.

        Raises:
            UnfitCheckpointError: if it cannot, saying what does not fit.
        """
        self._check_identity(content)
        reports = read_reports(content)
        if len(reports) > self.most_epochs:
            raise UnfitCheckpointError(f"it has {len(reports)} epochs, of a training of {self.most_epochs}")
        best_epoch = content.get("best_epoch")
        if type(best_epoch) is not int or not min(1, len(reports)) <= best_epoch <= len(reports):
            raise UnfitCheckpointError(f"best_epoch is {best_epoch!r}, of {len(reports)} epochs")
        expected = self.model.state_dict()
        _check_weights("model", content.get("model"), expected)
        if "best" in content and reports:
            _check_weights("best", content["best"], expected)
        losses, seconds = content.get("losses", []), content.get("seconds", 0.0)
        if not isinstance(losses, list) or len(losses) > self.steps_per_epoch or not all(map(_is_number, losses)):
            raise UnfitCheckpointError(f"losses are not those of at most {self.steps_per_epoch} steps")
        if not _is_number(seconds) or seconds < 0:
            raise UnfitCheckpointError("seconds is no time")
        self._check_optimizer(content.get("optimizer"), begun=bool(reports or losses))
        _check_random("random", content.get("random"), torch.device("cpu"))
        if content.get("random_cuda") is not None and self.device.type == "cuda":
            _check_random("random_cuda", content["random_cuda"], self.device)

    def _check_identity(self, content: Mapping[str, Any]) -> None:
        theirs = content.get("training")
        if theirs is None:
            return
        if not isinstance(theirs, dict):
            raise UnfitCheckpointError("it does not say of which training it is")
        # a setting that one of them lacks came, or went, with a version of ser_ray
        others = [name for name in self.identity if name in theirs and theirs[name] != self.identity[name]]
        if others:
            name = others[0]
            raise UnfitCheckpointError(
                f"it is of another training: {name} is {str(theirs[name])[:40]}, here {str(self.identity[name])[:40]}"
            )

    def _check_optimizer(self, content: object, *, begun: bool) -> None:
        """Compare with what the optimiser holds after a step, which a copy of it takes."""
        example = _after_a_step(self.optimizer)
        if not isinstance(content, dict) or not content.keys() >= example.keys():
            raise UnfitCheckpointError("optimizer is not the state of one")
        groups, state = content["param_groups"], content["state"]
        if not isinstance(groups, list) or len(groups) != len(example["param_groups"]):
            raise UnfitCheckpointError("optimizer has other groups of parameters")
        for group, own in zip(groups, example["param_groups"], strict=True):
            if not isinstance(group, dict) or group.get("params") != own["params"]:
                raise UnfitCheckpointError("optimizer has other parameters")
            for name, value in own.items():
                # settings that say how it is computed are flags or None, and may change from version to version
                if _is_number(value) and group.get(name) != value:
                    raise UnfitCheckpointError(f"optimizer: {name} is {group.get(name)!r}, here {value!r}")
        if not isinstance(state, dict) or state.keys() != (example["state"].keys() if begun else state.keys()):
            raise UnfitCheckpointError("optimizer lacks the state of some parameters, or has that of others")
        for place, own in example["state"].items():
            if place in state:
                _check_entry(f"optimizer.state.{place}", state[place], own)


def _after_a_step(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    stepped = copy.deepcopy(optimizer)
    for group in stepped.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    stepped.step()
    return stepped.state_dict()


def _check_entry(name: str, found: object, expected: Mapping[str, Any]) -> None:
    if not isinstance(found, dict) or found.keys() != expected.keys():
        raise UnfitCheckpointError(f"{name} has not the entries of this optimiser")
    for entry, own in expected.items():
        value = found[entry]
        if type(value) is not type(own):
            raise UnfitCheckpointError(f"{name}.{entry} is of another type")
        if isinstance(own, torch.Tensor):
            _check_tensor(f"{name}.{entry}", value, own)
            if value.isnan().any():  # infinite it may be, by a gradient whose square is
                raise UnfitCheckpointError(f"{name}.{entry} is NaN in places")


def _check_weights(name: str, found: object, expected: Mapping[str, torch.Tensor]) -> None:
    if not isinstance(found, dict):
        raise UnfitCheckpointError(f"{name} holds no weights")
    if found.keys() != expected.keys():
        lacking, others = sorted(expected.keys() - found.keys()), sorted(map(str, found.keys() - expected.keys()))
        raise UnfitCheckpointError(f"{name} {f'lacks {lacking[0]}' if lacking else f'has {others[0]}, too'}")
    for weight, own in expected.items():
        _check_tensor(f"{name}.{weight}", found[weight], own)
        if not found[weight].isfinite().all():
            raise UnfitCheckpointError(f"{name}.{weight} is NaN or infinite in places")


def _check_tensor(name: str, found: object, expected: torch.Tensor) -> None:
    if not isinstance(found, torch.Tensor):
        raise UnfitCheckpointError(f"{name} is no tensor")
    if (found.shape, found.dtype) != (expected.shape, expected.dtype):
        given, wanted = (f"{tuple(one.shape)} {one.dtype}" for one in (found, expected))
        raise UnfitCheckpointError(f"{name} is {given}, here {wanted}")


def _check_random(name: str, found: object, device: torch.device) -> None:
    try:
        torch.Generator(device).set_state(found)  # type: ignore[arg-type]
    except (TypeError, RuntimeError) as error:
        raise UnfitCheckpointError(f"{name} is no state of a random number generator") from error


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
