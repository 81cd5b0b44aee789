"""A validated sweep file: the trial, the explored fields, replicates, schedule and resources."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, InstanceOf, Strict, TypeAdapter
from pydantic.dataclasses import dataclass
from pydantic.json_schema import SkipJsonSchema

from ser_ray.models.config import Backend, Count
from ser_ray.sweep.spec.document import Document, KeyPath, override, read_document, shortened
from ser_ray.sweep.spec.fields import dotted_types, empty_if_null, field_types, mapping_of
from ser_ray.sweep.spec.items import ITEM_FORMS, GuidedSearch, Item
from ser_ray.sweep.spec.reading import input_error, validate
from ser_ray.training.config import Number
from ser_ray.trial import TrialConfig

Name = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="at most 100 letters, digits, '.', '_' and '-', the first a letter or digit",
    ),
]
LocalFolder = Annotated[
    str,
    Field(
        pattern=r"^[/~$][^\x00-\x1f\x7f]*$",
        max_length=4095,
        description="an absolute path, which may begin with ~ or with a variable of the nodes' environment, such as "
        "$TMPDIR",
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
    """Rules by which trials end before their last epoch, and limits on the number of planned trials."""

    early_stopping: Literal["none", "asha", "median"] = "none"
    grace_epochs: Count = 5  # trained by every trial before it may be stopped
    max_hours: Bounded | None = None  # then the sweep ends; running it again resumes its trials
    max_gpu_hours: Bounded | None = None  # the same, for the hours of its trials times their share of a GPU
    max_configurations: Count | None = None  # evenly spread over those explored
    max_trials: Count | None = None  # replicates included, the first seed of every configuration first
    silence_minutes: Bounded = 30.0  # a trial without a sign of life for this long is started again
    checkpoint_minutes: Bounded = 10.0  # a trial is saved at least this often, also within an epoch


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Resources:
    """Resources of each trial, and how they are used.

    Args:
        cpus: CPU cores of a trial.
        gpus: least share of a GPU of a trial, or whole GPUs; ignored where no GPU can be used. 0 trains on the CPU.
        backend: of the convolutional blocks: "reference" is plain PyTorch, "fused" one operation per block where there
            is one, "auto" the fastest of a device. It changes only rounding, so it is not part of the key.
        search_actors: processes that search post-processing; None takes as many as fit beside the trials.
        mps: run CUDA MPS on the node, so that trials share a GPU side by side instead of taking turns.
        staging: a folder on each node's own disk, to which the corpus is copied once per node; trials read that local
            copy. None has them read the corpus in place. It changes no number, so it is not part of the key.
        verify_corpus: compare the shards with the manifest's hashes before anything is trained on them, once per host;
            rows record whether it was done. It changes no number, so it is not part of the key.
    """

    cpus: Count = 1
    gpus: Number = 0.25
    backend: Backend = "auto"
    search_actors: Count | None = None
    mps: Annotated[bool, Strict()] = False
    staging: LocalFolder | None = None
    verify_corpus: Annotated[bool, Strict()] = True

    def __post_init__(self) -> None:
        """Refuse a number of GPUs above one that is not whole."""
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus is {self.gpus}, but above 1 it must be a whole number")


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", defer_build=True))
class SweepConfig:
    """A sweep: a trial, the fields that are explored, and how the trials are run.

    `trial` contains the given values of the trial's fields, by section ("model", "training", "search") and field; all
    others have their default. It is no TrialConfig yet: explored values may be needed to make it valid.
    """

    name: Name
    corpus: CorpusName = "synthetic"
    trial: Annotated[dict[str, dict[str, Any]], mapping_of(field_types(TrialConfig))] = dataclasses.field(
        default_factory=dict
    )
    explore: Annotated[  # the items multiply
        tuple[Annotated[Item, ITEM_FORMS], ...],
        BeforeValidator(lambda given: () if given is None else given),
        Field(description="a list of items; begin each with '- '"),
    ] = ()
    replicates: Annotated[int, Strict(), Field(ge=1, le=10_000)] = 1  # seeds: training.seed and those after it
    schedule: Annotated[Schedule, BeforeValidator(empty_if_null)] = dataclasses.field(default_factory=Schedule)
    resources: Annotated[Resources, BeforeValidator(empty_if_null)] = dataclasses.field(default_factory=Resources)
    source: Annotated[Document, InstanceOf(), SkipJsonSchema()] = dataclasses.field(  # for messages
        default=Document("the sweep", {}, {}), compare=False, repr=False
    )

    def given(self, path: str, default: Any = None) -> Any:
        """Return the sweep's value of a trial's field such as "training.seed", or `default` if it has none."""
        section, field = path.split(".")
        return self.trial.get(section, {}).get(field, default)

    @property
    def guided(self) -> GuidedSearch | None:
        """The guided search, if that is what the sweep explores."""
        return next((item for item in self.explore if isinstance(item, GuidedSearch)), None)


_SWEEP = TypeAdapter(SweepConfig)  # built when it is used first


def load_sweep(file: str | Path, overrides: Sequence[str] = (), corpus: str | None = None) -> SweepConfig:
    """Read a sweep file, changed by texts KEY=VALUE (see `override`) and by --corpus.

    Raises:
        InputError: naming file, line, key and value of each mistake, what is allowed, and the fix.
    """
    document = override(read_document(Path(file)), overrides, settable_keys())
    if corpus is not None:
        origins = {**document.origins, ("corpus",): f"--corpus {shortened(corpus, 200)}"}
        document = Document(document.name, {**document.data, "corpus": corpus}, origins)
    return read_sweep(document)


def read_sweep(document: Document) -> SweepConfig:
    """Validate a document as a sweep; raise InputError like `load_sweep`."""
    sweep = validate(_SWEEP, {"source": document} | document.data, document)
    conflicts = list(_conflicts(sweep))
    if conflicts:
        raise input_error(document, conflicts)
    return sweep


def settable_keys() -> list[str]:
    """List every key of a sweep file that has a value, dotted from the top."""
    parts = {"trial": TrialConfig, "schedule": Schedule, "resources": Resources}
    top = [key for key in field_types(SweepConfig) if key not in (*parts, "source")]
    return top + [key for part, owner in parts.items() for key in dotted_types(owner, f"{part}.")]


def _conflicts(sweep: SweepConfig) -> Iterator[tuple[KeyPath, str]]:
    """Yield the conflicts within a sweep, each as a key and what is wrong with it."""
    first: dict[str, int] = {}
    for index, item in enumerate(sweep.explore):
        if isinstance(item, GuidedSearch) and len(sweep.explore) > 1:
            yield (
                ("explore", index, "guided"),
                f"explore[{index}].guided proposes whole configurations and must be the only item of explore; move the "
                "other keys into it, or use random, which combines with other items",
            )
        for path in item.paths:
            inner = ("explore", index, *item.place(path))
            if first.setdefault(path, index) != index:
                yield inner, f"{path} is already explored by explore[{first[path]}]; explore each key once"
            key = ("trial", *path.split("."))
            if sweep.source.origins.get(key, "").startswith("--set"):
                place = sweep.source.where(inner)
                yield key, f"{path} is explored in {place}, so setting it has no effect; set explore instead"
            if path == "training.seed" and sweep.replicates > 1:
                yield (
                    inner,
                    f"training.seed is explored although replicates is {sweep.replicates}; replicates are seeds, so "
                    "use only one of the two",
                )
