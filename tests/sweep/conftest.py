"""A stand-in for a corpus, and sweeps read from texts."""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from ser_ray.sweep.spec.config import SweepConfig, read_sweep
from ser_ray.sweep.spec.document import parse_document


@dataclass(frozen=True)
class StandIn:
    """What planning asks of a corpus; by default the paper's."""

    fingerprint: str = "0123456789ab"
    hop: int = 640
    label_rate: float = 25.0
    sample_rate: int = 16000
    targets: tuple[str, ...] = ("arousal", "valence")

    def recordings(self, partition: str) -> tuple[Any, ...]:
        """One recording of 300 s."""
        return (SimpleNamespace(frames=round(300 * self.label_rate), labelled=True),)


@pytest.fixture(scope="session")
def corpus() -> StandIn:
    return StandIn()


@pytest.fixture(scope="session")
def stand_in() -> type[StandIn]:
    return StandIn


@pytest.fixture(scope="session")
def read() -> Callable[[str], SweepConfig]:
    """Read the text of a sweep file called s.yaml."""
    return lambda text: read_sweep(parse_document(text, "s.yaml"))
