"""Configuration of the post-processing search."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, Strict
from pydantic.dataclasses import dataclass

from ser_ray.postprocess.grid import Grid

SearchMethod = Literal["greedy", "exhaustive"]
Choice = Literal["per_target", "joint"]
_Seconds = Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SearchConfig:
    """Settings of the searches on a trial's devel predictions, and of their grid of chains.

    Args:
        methods: "greedy" is the paper's chain, "exhaustive" the exact optimum of the grid.
        choice: "per_target" chooses the steps of each target by that target's CCC; "joint" chooses the same steps for
            all targets, by the mean of their CCCs. Constants are fitted per target either way.
        max_window_s: the longest median window; 0 for no filter.
        max_shift_s: the largest shift; 0 for none.
        forward_only: whether the exhaustive search leaves shifts backward in time out, as greedy does.
    """

    methods: Annotated[tuple[SearchMethod, ...], Field(min_length=1)] = ("greedy", "exhaustive")
    choice: Choice = "per_target"
    max_window_s: _Seconds = 20.0
    max_shift_s: _Seconds = 10.0
    forward_only: Annotated[bool, Strict()] = False

    def grid(self, label_rate: float, longest_frames: int) -> Grid:
        """Return the grid in frames, see `Grid.of_seconds`."""
        return Grid.of_seconds(
            self.max_window_s, self.max_shift_s, label_rate, longest_frames, forward_only=self.forward_only
        )

    @classmethod
    def of_rows(cls, rows: Iterable[Mapping[str, Any]]) -> "SearchConfig":
        """Read the settings of a trial's search from its rows of `postprocessing`; a missing value has its default."""
        stored = list(rows)
        fields: dict[str, Any] = {"methods": tuple(dict.fromkeys(row["method"] for row in stored))}
        for field in dataclasses.fields(cls):
            if field.name != "methods" and stored and stored[0].get(field.name) is not None:
                fields[field.name] = stored[0][field.name]
        return cls(**fields) if stored else cls()

    def covers(self, other: "SearchConfig") -> bool:
        """Check that the results of a search with these settings include those of a search with `other`."""
        return set(self.methods) >= set(other.methods) and dataclasses.replace(self, methods=other.methods) == other
