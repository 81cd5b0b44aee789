"""The configuration of the post-processing search."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

Method = Literal["greedy", "exhaustive"]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SearchConfig:
    """Which searches a trial's devel predictions go through.

    Args:
        methods: "greedy" is the paper's chain, "exhaustive" the exact optimum of the grid.
    """

    methods: Annotated[tuple[Method, ...], Field(min_length=1)] = ("greedy", "exhaustive")
