"""A sweep file, validated: what to explore, from which trial, how often, and how it is scheduled."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, SkipValidation, Strict
from pydantic.dataclasses import dataclass

from ser_ray.models.config import Count
from ser_ray.sweep.spec.document import Document, in_part, read_document
from ser_ray.sweep.spec.items import GuidedSearch, Item, read_items
from ser_ray.sweep.spec.overrides import override
from ser_ray.sweep.spec.reading import Reader, field_paths, field_types
from ser_ray.training.config import Number
from ser_ray.trial import TrialConfig

Name = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="at most 100 letters, digits, '.', '_' and '-', the first a letter or digit",
    ),
]
Backend = Literal["auto", "reference", "fused"]
LocalFolder = Annotated[
    str,
    Field(
        pattern=r"^[/~$][^\x00-\x1f\x7f]*$",
        max_length=4095,
        description="an absolute path, which may begin with ~ or with a variable of the nodes' environment as $TMPDIR",
    ),
]
CorpusName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=4095,
        pattern=r"^[^\x00-\x1f\x7f]*$",
        description="a folder of shards (a path of at most 4095 printable characters), or synthetic or synthetic-demo",
    ),
]
Bounded = Annotated[float, Strict(), Field(gt=0, le=10**6)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Schedule:
    """When trials end before their last epoch, and how many are planned.

    Args:
        early_stopping: "none", "asha" (stops trials that are behind at fixed epochs) or "median" (those below the
            median of the others).
        grace_epochs: epochs that every trial gets before it may be stopped.
        max_hours: hours after which the sweep ends; what is under way then is taken up by running it again.
        max_gpu_hours: GPU hours after which it ends likewise: the hours of its trials times their share of a GPU.
        max_configurations: plan only so many configurations, evenly spread over those explored; None plans all.
        max_trials: plan only so many trials, replicates counted, the first seed of every configuration first.
        silence_minutes: a trial that gives no sign of life for so long is taken for hung and started again.
        checkpoint_minutes: a trial is saved at least that often, within an epoch, too.
    """

    early_stopping: Literal["none", "asha", "median"] = "none"
    grace_epochs: Count = 5
    max_hours: Bounded | None = None
    max_gpu_hours: Bounded | None = None
    max_configurations: Count | None = None
    max_trials: Count | None = None
    silence_minutes: Bounded = 30.0
    checkpoint_minutes: Bounded = 10.0


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Resources:
    """What each trial gets.

    Args:
        cpus: CPU cores of a trial.
        gpus: least share of a GPU of a trial, or whole GPUs; used only where a GPU can be used. 0 trains on the CPU.
        backend: what computes the convolutional blocks: "reference" is plain PyTorch, "fused" one operation per block
            where there is one, "auto" the fastest of a device. It changes rounding alone, so it is part of no key.
        search_actors: processes that search post-processing; None takes as many as fit beside the trials.
        mps: run CUDA MPS on the node, so that trials share a GPU side by side and not in turns.
        staging: a folder on each node's own disk, to which the corpus is copied once per node, and from which trials
            read it then; None has them read it where it lies. It changes no number, so it is part of no key.
        verify_corpus: compare the shards with the manifest's hashes before anything is trained on them, once per host;
            rows say whether it was done. It changes no number, so it is part of no key.
    """

    cpus: Count = 1
    gpus: Number = 0.25
    backend: Backend = "auto"
    search_actors: Count | None = None
    mps: Annotated[bool, Strict()] = False
    staging: LocalFolder | None = None
    verify_corpus: Annotated[bool, Strict()] = True

    def __post_init__(self) -> None:
        """Refuse a broken number of GPUs above one."""
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus is {self.gpus}, but above 1 it must be a whole number")


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SweepConfig:
    """A sweep: a trial, what of it is varied, and how the trials are run.

    Args:
        name: of the sweep and of its folder of results.
        corpus: a folder of shards, or the name of a built-in corpus.
        trial: the values given for the trial's fields, by section ("model", "training", "search") and field; what is
            not given has its default. Not a TrialConfig yet: what is explored may be needed to make it whole.
        explore: what is varied; the items multiply.
        replicates: seeds of each configuration: training.seed and those after it.
        schedule: when trials end early.
        resources: what a trial gets.
        source: the file, for messages.
    """

    name: Name
    corpus: CorpusName = "synthetic"
    trial: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    explore: tuple[Item, ...] = ()
    replicates: Annotated[int, Strict(), Field(ge=1, le=10_000)] = 1
    schedule: Schedule = dataclasses.field(default_factory=Schedule)
    resources: Resources = dataclasses.field(default_factory=Resources)
    source: Annotated[Document, SkipValidation] = dataclasses.field(
        default=Document("the sweep", {}, {}), compare=False, repr=False
    )

    def given(self, path: str, default: Any = None) -> Any:
        """Return what the sweep gives for a trial's field such as "training.seed", or a default."""
        section, field = path.split(".")
        return self.trial.get(section, {}).get(field, default)

    @property
    def guided(self) -> GuidedSearch | None:
        """The guided search, if that is what the sweep explores."""
        return next((item for item in self.explore if isinstance(item, GuidedSearch)), None)


def load_sweep(file: str | Path, overrides: Sequence[str] = (), corpus: str | None = None) -> SweepConfig:
    """Return the sweep that a file describes.

    Args:
        file: a sweep file.
        overrides: texts KEY=VALUE that change what the file says (see `ser_ray.sweep.spec.overrides`).
        corpus: what --corpus says; taken instead of the file's corpus if given.

    Returns:
        The validated sweep.

    Raises:
        InputError: naming file, line, key and value of what is wrong, what is allowed, and the fix.
    """
    document = override(read_document(Path(file)), overrides, settable_keys())
    if corpus is not None:
        origins = {**document.origins, ("corpus",): f"--corpus {in_part(corpus, 200)}"}
        document = Document(document.name, {**document.data, "corpus": corpus}, origins)
    return read_sweep(document)


def read_sweep(document: Document) -> SweepConfig:
    """Return the sweep that a document describes.

    Args:
        document: a sweep file's contents.

    Returns:
        The validated sweep.

    Raises:
        InputError: as `load_sweep`.
    """
    sections = [f"trial.{section}" for section in field_types(TrialConfig)]
    reader = Reader(document, elsewhere=settable_keys() + sections)
    given = reader.mapping((), _top_keys())
    values: dict[str, Any] = {"source": document}
    for key in ("name", "corpus", "replicates"):
        if key in given:
            values[key] = reader.value((key,), SweepConfig, key)
    if "name" not in given:
        reader.wrong((), f"name is missing; begin the file with, for instance, name: {_stem(document)}")
    if "trial" in given:
        values["trial"] = reader.fields(("trial",), TrialConfig)
    values["explore"] = read_items(reader)
    for key, part in (("schedule", Schedule), ("resources", Resources)):
        if key in given:
            values[key] = reader.instance((key,), part)
    reader.finish()
    sweep = SweepConfig(**values)
    _refuse_conflicts(sweep)
    return sweep


def settable_keys() -> list[str]:
    """Return every key of a sweep file that holds a value, dotted from the top."""
    top = ["name", "corpus", "explore", "replicates"]
    parts = field_paths(Schedule, "schedule.") + field_paths(Resources, "resources.")
    return top + field_paths(TrialConfig, "trial.") + parts


def _top_keys() -> tuple[str, ...]:
    return tuple(key for key in field_types(SweepConfig) if key != "source")


def _stem(document: Document) -> str:
    stem = Path(document.name).stem
    return stem if stem.replace("-", "").replace("_", "").isalnum() else "my-sweep"


def _refuse_conflicts(sweep: SweepConfig) -> None:
    """Refuse keys that two parts of the file would set.

    Raises:
        InputError: naming both.
    """
    reader = Reader(sweep.source)
    for index, item in enumerate(sweep.explore):
        for path in item.paths:
            inner = ("explore", index, *item.place(path))
            place = sweep.source.where(inner)
            key = ("trial", *path.split("."))
            if sweep.source.origins.get(key, "").startswith("--set"):
                reader.wrong(key, f"{path} is explored in {place}, so that this would change nothing; set explore")
            if path == "training.seed" and sweep.replicates > 1:
                reader.wrong(
                    inner,
                    f"training.seed is explored beside replicates: {sweep.replicates}; "
                    "replicates are seeds, so keep one of the two",
                )
    reader.finish()
