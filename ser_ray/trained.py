"""A trained model loaded from its best.pt: the choice of the file, the network in it, and its post-processing."""

import dataclasses
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ser_ray.corpus.store.schema import SAMPLE_RATE, samples_per_frame
from ser_ray.errors import InputError
from ser_ray.files import irregular
from ser_ray.models import ModelConfig
from ser_ray.results import SweepFolder, ccc_column, open_sweep, read_table

if TYPE_CHECKING:
    from ser_ray.models.network import Network
    from ser_ray.postprocess import PostProcessing

_ZIP_MAGIC = b"PK\x03\x04"
_LEGAL = "MODEL must be a best.pt, a folder that contains one, or a sweep's folder such as results/overlap"


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A network with the weights of its best epoch, and the settings that its predictions need.

    The network is on the CPU when just loaded. Predictions have `label_rate` frames per second and are moved later by
    `shift_frames`, the label shift of each target in training; the targets of `config` name their columns.
    """

    model: "Network"
    config: ModelConfig
    label_rate: float
    shift_frames: tuple[int, ...]


def load_model(path: str | Path) -> TrainedModel:
    """Load the trained model of a path (see `find_checkpoint`); nothing in its file is executed.

    Raises InputError if there is none, or the file is no checkpoint that describes its network.
    """
    from ser_ray.models.network import build
    from ser_ray.training.config import first_problem, whole_frames

    checkpoint = find_checkpoint(path)
    content = _read(checkpoint)
    try:
        config = ModelConfig(**content["model_config"])
        if (content["sample_rate"], samples_per_frame(content["label_rate"])) != (SAMPLE_RATE, config.hop):
            raise ValueError(f"its frames of {config.hop} samples do not match its rates")
        shifts = content["label_shift_s"]
        if not isinstance(shifts, list):  # checkpoints of before had one shift for all targets
            shifts = [shifts] * len(config.targets)
        if len(shifts) != len(config.targets):
            raise ValueError(f"it has {len(shifts)} label shifts for {len(config.targets)} targets")
        if not all(0 <= shift < math.inf for shift in shifts):
            raise ValueError(f"label shifts {shifts} must be seconds of at least 0")
        shift_frames = tuple(whole_frames(shift, content["label_rate"], "label_shift_s") for shift in shifts)
        held = sum(weight.numel() for weight in content["model"].values())
        if held != config.parameters:  # checked before building: the described network may fit in no memory
            raise ValueError(f"it has {config.parameters:,} parameters, but the file contains {held:,}")
        if _values(content["model"].values()) < held:  # a single value may be expanded to billions of weights
            raise ValueError("its weights share memory")
        model = build(config)
        model.load_state_dict(content["model"])
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = first_problem(error) if isinstance(error, ValidationError) else " ".join(str(error).split())[:200]
        raise InputError(
            f"{checkpoint} describes a network that this version of ser_ray cannot build ({reason}); train it again"
        ) from error
    not_finite = next((name for name, weight in model.state_dict().items() if not weight.isfinite().all()), None)
    if not_finite is not None:
        raise InputError(f"{checkpoint} has weights that are NaN or infinite ({not_finite}); train it again")
    return TrainedModel(model.eval(), config, content["label_rate"], shift_frames)


def _values(weights: Iterable[Any]) -> int:
    """Count the values that tensors store; memory that several of them share counts once."""
    memory = {weight.untyped_storage().data_ptr(): weight for weight in weights}
    return sum(weight.untyped_storage().nbytes() // weight.element_size() for weight in memory.values())


def _read(checkpoint: Path) -> dict[str, Any]:
    from ser_ray.training.checkpoint import load_checkpoint

    reason = irregular(checkpoint)
    if reason is not None:
        raise InputError(f"{checkpoint} cannot be read ({reason}); {_LEGAL}")
    try:
        with checkpoint.open("rb") as file:
            whole = file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC
        content = load_checkpoint(checkpoint) if whole else {}
    except OSError as error:
        raise InputError(f"{checkpoint} cannot be read ({error.strerror})") from error
    except InputError as error:
        raise InputError(f"{checkpoint} is damaged, or is not a checkpoint of ser_ray; {_LEGAL}") from error
    if "model" not in content:
        raise InputError(f"{checkpoint} is not a checkpoint of ser_ray; {_LEGAL}")
    if "optimizer" in content:
        raise InputError(f"{checkpoint} is a checkpoint to resume training from; use the best.pt in the same folder")
    if "model_config" not in content:
        raise InputError(
            f"{checkpoint} does not describe its network, since an older version of ser_ray wrote it; train it again"
        )
    return content


def find_checkpoint(path: str | Path) -> Path:
    """Find the best.pt of a path: the file itself, the one in a folder, or that of a sweep's best trial.

    The best trial is the finished one with the highest raw devel CCC (mean of the targets). Raises InputError if there
    is none.
    """
    given = Path(path)
    if not given.is_dir():
        if given.exists():
            return given
        raise InputError(f"{given} does not exist; {_LEGAL}")
    if (given / "best.pt").is_file():
        return given / "best.pt"
    if not SweepFolder(given).sweep_file.is_file():
        near = sorted([*given.glob("*/best.pt"), *given.glob("*/sweep.yaml")])[:3]
        inside = f"; it contains {', '.join(str(found.parent) for found in near)}" if near else ""
        raise InputError(f"{given} contains neither a best.pt nor a sweep{inside}; {_LEGAL}")
    return _best_of(open_sweep(given))


def _best_of(folder: SweepFolder) -> Path:
    score = ccc_column("devel", "mean")
    rows = read_table(folder, "trials", columns=["key", "status", score]).to_pylist()
    finished = [row for row in rows if row["status"] == "finished" and row[score] is not None]
    if not finished:
        raise InputError(f"{folder.path} has no finished trial with a {score} yet; wait for one, or name a best.pt")
    best = max(finished, key=lambda row: float(row[score]))
    checkpoint = folder.checkpoints(best["key"]) / "best.pt"
    if not checkpoint.is_file():
        raise InputError(
            f"{checkpoint} does not exist; it belongs to the trial with the highest {score}; name the best.pt of "
            "another trial"
        )
    return checkpoint


def read_chains(checkpoint: Path, method: str, targets: Sequence[str]) -> list["PostProcessing"]:
    """Read the post-processing, one chain per target, that a search method found for the trial of a best.pt.

    Raises InputError if the file is in no sweep, or the sweep has no such chain.
    """
    from ser_ray.postprocess import PostProcessing

    place = checkpoint.resolve().parent
    key, folder = place.name, SweepFolder(place.parent.parent)
    part = folder.part("postprocessing", key)
    if folder.checkpoints(key) != place or not os.path.lexists(part):
        raise InputError(
            f"--postprocess {method}: {checkpoint} belongs to no sweep with searched post-processing ({part} does not "
            "exist); omit the option for raw predictions"
        )
    rows = read_table(folder, "postprocessing", keys=[key]).to_pylist()
    found = {row["target"]: row for row in rows if row["method"] == method}
    missing = [target for target in targets if target not in found]
    if missing:
        methods = ", ".join(sorted({row["method"] for row in rows})) or "none"
        raise InputError(
            f"--postprocess {method}: {part} has no chain of this method for {missing[0]}; it has: {methods}"
        )
    return [PostProcessing.of_row(found[target]) for target in targets]
