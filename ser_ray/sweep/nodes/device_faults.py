"""Faults of GPUs, as a run counts them: whether a trial goes on elsewhere, and whether the run does."""

from dataclasses import dataclass

FAULTS_OF_A_TRIAL = 3
"""A trial whose GPU was at fault so often is taken for the cause, and fails."""
FAULTS_IN_A_ROW = 10
"""After so many, with no epoch of any trial between, something is wrong with the node or the driver: the run ends."""


@dataclass(frozen=True)
class DeviceFault:
    """A fault of a GPU that a trial met."""

    message: str  # of CUDA, in one line
    host: str
    gpu: str  # as CUDA_VISIBLE_DEVICES names it there
    set_aside: str | None = None  # why the GPU is not used any more; None if it is

    @property
    def place(self) -> str:
        """The GPU's name among those of all nodes."""
        return f"{self.host}/{self.gpu}"


class DeviceFaults:
    """The faults of a run."""

    def __init__(self) -> None:
        self._of_trials: dict[str, list[str]] = {}
        self._in_a_row = 0

    def add(self, key: str, fault: DeviceFault) -> None:
        """Count a fault that a trial met."""
        self._of_trials.setdefault(key, []).append(fault.place)
        self._in_a_row += 1

    def worked(self) -> None:
        """Count that some trial ended an epoch on a GPU."""
        self._in_a_row = 0

    def met_by(self, key: str) -> tuple[str, ...]:
        """Return the places of the GPUs on which a trial met faults."""
        return tuple(self._of_trials.get(key, ()))

    def is_cause(self, key: str) -> bool:
        """Return whether a trial met so many that it is taken for their cause."""
        return len(self.met_by(key)) >= FAULTS_OF_A_TRIAL

    @property
    def too_many(self) -> bool:
        """Whether there were so many in a row that the run is to end."""
        return self._in_a_row >= FAULTS_IN_A_ROW
