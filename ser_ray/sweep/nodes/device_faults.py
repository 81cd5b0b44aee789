"""Count the GPU faults of a run: decide whether a trial goes on elsewhere, and whether the run goes on."""

from dataclasses import dataclass

FAULTS_OF_A_TRIAL = 3
"""A trial that met this many GPU faults is taken for their cause, and fails."""
FAULTS_IN_A_ROW = 10
"""After this many, with no epoch of any trial between, something is wrong with the node or the driver: the run ends."""


@dataclass(frozen=True)
class DeviceFault:
    """A GPU fault that a trial met."""

    message: str  # CUDA's, in one line
    host: str
    gpu: str  # as CUDA_VISIBLE_DEVICES names it there
    set_aside: str | None = None  # reason why the GPU is no longer used; None if it still is

    @property
    def place(self) -> str:
        """The GPU's name among those of all nodes: host/GPU."""
        return f"{self.host}/{self.gpu}"


class DeviceFaults:
    """The GPU faults of a run."""

    def __init__(self) -> None:
        self._of_trials: dict[str, list[str]] = {}
        self._in_a_row = 0

    def add(self, key: str, fault: DeviceFault) -> None:
        """Count a fault that a trial met."""
        self._of_trials.setdefault(key, []).append(fault.place)
        self._in_a_row += 1

    def worked(self) -> None:
        """Reset the count of faults in a row: some trial ended an epoch on a GPU."""
        self._in_a_row = 0

    def met_by(self, key: str) -> tuple[str, ...]:
        """Return the places of the GPUs on which a trial met faults."""
        return tuple(self._of_trials.get(key, ()))

    def is_cause(self, key: str) -> bool:
        """Check whether a trial met so many faults that it is taken for their cause."""
        return len(self.met_by(key)) >= FAULTS_OF_A_TRIAL

    @property
    def too_many(self) -> bool:
        """Whether there were so many faults in a row that the run must end."""
        return self._in_a_row >= FAULTS_IN_A_ROW
