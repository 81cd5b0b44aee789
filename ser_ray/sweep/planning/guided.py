"""A guided search: Optuna's TPE proposes configurations while the sweep runs, based on the results so far.

Proposals are in a file of the sweep's folder, one JSON object per line, and their results are in the trials' rows; the
study is rebuilt from both for every proposal. So an interrupted search goes on as if it had not been interrupted, and
only plain text and parquet are ever read back. A proposal depends on the seed, its number, and the results at the time
of its request.
"""

import hashlib
import importlib.util
import json
import math
import os
import statistics
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_ray.errors import InputError
from ser_ray.files import errors_naming, sync
from ser_ray.results import read_table
from ser_ray.sweep.planning.explore import Setting, TrialFactory, resolver
from ser_ray.sweep.planning.fit import CorpusFit
from ser_ray.sweep.spec.config import SweepConfig
from ser_ray.sweep.spec.items import GuidedSearch
from ser_ray.sweep.spec.space import Axis, Choices, Space, Span, size_of
from ser_ray.trial import Trial

if TYPE_CHECKING:
    import optuna

_ATTEMPTS = 20
"""Maximum number of attempts to get a configuration that was not proposed before."""


@dataclass(frozen=True)
class Proposal:
    """A proposed configuration: its number in the sweep, from 0, and its values by dotted field."""

    number: int
    values: dict[str, Any]


class ProposalLog:
    """The file of proposals: whole lines are appended, and a line left incomplete by a crash is cut off."""

    def __init__(self, file: Path) -> None:
        self.file, self.length = file, 0

    def read(self) -> list[Proposal]:
        """Read the recorded proposals; an incomplete last line is ignored."""
        try:
            data = self.file.read_bytes()
        except FileNotFoundError:
            return []
        proposals = []
        lines = data.splitlines(keepends=True)
        for number, line in enumerate(lines, start=1):
            try:
                entry = json.loads(line)
                proposal = Proposal(entry["number"], entry["values"])
                if not isinstance(proposal.number, int) or not isinstance(proposal.values, dict):
                    raise TypeError("no number or no values")
            except (ValueError, KeyError, TypeError):
                if number == len(lines):
                    break  # left incomplete by a crash
                raise InputError(
                    f"{self.file}:{number}: not a proposal: {line[:60]!r}; delete the line and run the sweep again"
                ) from None
            proposals.append(proposal)
            self.length += len(line)
        return proposals

    def append(self, entry: dict[str, Any]) -> None:
        """Append an entry after the complete lines, and sync it to the disk."""
        new = not self.file.exists()
        self.file.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(entry).encode() + b"\n"
        with errors_naming(self.file), open(os.open(self.file, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
            file.truncate(self.length)
            file.seek(max(0, self.length - 1))
            if file.read(1) not in (b"", b"\n"):
                line = b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self.length += len(line)
        if new:
            sync(self.file.parent)


class Guided:
    """The guided search of a sweep: the trials that it has proposed, and the next ones.

    Proposals are recorded in results/<sweep>/suggested.jsonl; the trials' rows are beside it and read once. Nothing is
    written before the first `ask`, and only one process at a time may ask.

    Attributes:
        notes: remarks on the recorded proposals, such as how many are outside the space; a text each.

    Raises:
        InputError: if the space has values that do not go together or do not fit the corpus, the file has a broken
            line, or Optuna is not installed.
    """

    def __init__(self, config: SweepConfig, factory: TrialFactory) -> None:
        if config.guided is None:
            raise ValueError(f"sweep {config.name} has no guided search")
        if importlib.util.find_spec("optuna") is None:
            place = config.source.where(("explore", 0, "guided"))
            raise InputError(f"{place}: guided needs Optuna, which is not installed; pip install 'ser-ray[optuna]'")
        self._config, self._factory, self._search = config, factory, config.guided
        self._most = _most_proposals(config, self._search)
        _check_space(config, self._search, CorpusFit(config, factory.corpus))
        self._build = resolver(config)
        self._log = ProposalLog(factory.folder.path / "suggested.jsonl")
        self._outcomes: dict[str, float | None] = {}
        self._proposals: list[Proposal] = []
        self._keys: dict[tuple[Any, ...], tuple[str, ...]] = {}
        self._trials: dict[str, Trial] = {}
        self._next = 0
        self.notes = self._take_recorded()
        # a damaged row counts as missing: the run sets it aside before it asks for anything, and a listing names it
        columns = ["key", "status", "ccc_devel_mean"]
        rows = read_table(factory.folder, "trials", keys=self._trials, columns=columns, skip_damaged=True)
        for row in rows.to_pylist():
            self.tell(row["key"], row["status"], row["ccc_devel_mean"])

    @property
    def recorded(self) -> tuple[Trial, ...]:
        """The trials of the proposals inside the space, the replicates of each together."""
        return tuple(self._trials.values())

    @property
    def remaining(self) -> int:
        """Maximum number of configurations that are still to be proposed."""
        left = self._most - len(self._proposals)
        size = size_of(self._search.space)
        return max(0, left if size is None else min(left, size - len(self._keys)))

    def ask(self) -> tuple[Trial, ...]:
        """Propose a new configuration and return its replicates; none if no configuration remains.

        Raises:
            OSError: if the proposal cannot be recorded; it then counts as not made.
        """
        while self.remaining:
            values = self._proposed(self._next)
            proposal = Proposal(self._next, values)
            self._log.append({"number": proposal.number, "values": values, "space": space_hash(self._search.space)})
            new = self._take(proposal)
            if new:
                return new
        return ()

    def tell(self, key: str, status: str, score: float | None) -> None:
        """Record the outcome of a trial.

        Args:
            key: of a trial that was recorded or returned by `ask`.
            status: "finished", "stopped" or "failed".
            score: its best devel CCC, the mean of the targets; None if there is none. A stopped trial counts with what
                it had reached.
        """
        if key not in self._trials:
            raise ValueError(f"{key} is no trial of this search")
        if status not in ("finished", "stopped", "failed"):
            raise ValueError(f"a trial ends finished, stopped or failed, not {status}")
        self._outcomes[key] = score if score is not None and math.isfinite(score) else None

    def _take_recorded(self) -> tuple[str, ...]:
        """Load the recorded proposals and return remarks on them."""
        recorded, space = self._log.read(), self._search.space
        self._next = max((proposal.number for proposal in recorded), default=-1) + 1
        inside = [Proposal(one.number, values) for one in recorded if (values := _inside(space, one.values))]
        for proposal in inside[: self._most]:
            self._take(proposal)
        above = len(inside[self._most :])
        counts = {
            "they are outside the present space": len(recorded) - len(inside),
            "there are more than the present count": above,
        }
        return tuple(
            f"{count} of {len(recorded)} earlier proposals are not used: {why}"
            for why, count in counts.items()
            if count
        )

    def _take(self, proposal: Proposal) -> tuple[Trial, ...]:
        """Register a proposal and return its trials, none if there was an equal one."""
        self._next = max(self._next, proposal.number + 1)
        self._proposals.append(proposal)
        values = tuple(proposal.values.values())
        if values in self._keys:
            return ()
        configuration = self._build(_settings(self._config, self._search, proposal.values))
        trials = tuple(self._factory.trial(configuration, one) for one in range(self._config.replicates))
        self._keys[values] = tuple(trial.key for trial in trials)
        self._trials |= {trial.key: trial for trial in trials}
        return trials

    def _proposed(self, number: int) -> dict[str, Any]:
        """Ask Optuna for values, repeatedly if they are not new, up to _ATTEMPTS times."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would log every study
        space = {path: _distribution(axis) for path, axis in self._search.space.items()}
        study = optuna.create_study(direction="maximize")
        for proposal in self._proposals:
            state, value = self._outcome(tuple(proposal.values.values()))
            params = {path: self._search.space[path].position(one) for path, one in proposal.values.items()}
            study.add_trial(optuna.create_trial(state=state, value=value, params=params, distributions=space))
        for attempt in range(_ATTEMPTS):
            study.sampler = self._sampler(number, attempt)
            trial = study.ask(space)
            values = {path: axis.at(trial.params[path]) for path, axis in self._search.space.items()}
            if tuple(values.values()) not in self._keys:
                break
            state, value = self._outcome(tuple(values.values()))
            if state.is_finished():
                study.tell(trial, value, state)
        return values

    def _outcome(self, values: tuple[Any, ...]) -> "tuple[optuna.trial.TrialState, float | None]":
        """Return the state of a proposal and, when all its replicates have ended, their mean score."""
        from optuna.trial import TrialState

        keys = self._keys[values]
        if not all(key in self._outcomes for key in keys):
            return TrialState.RUNNING, None
        scores = [score for key in keys if (score := self._outcomes[key]) is not None]
        return (TrialState.COMPLETE, statistics.fmean(scores)) if scores else (TrialState.FAIL, None)

    def _sampler(self, number: int, attempt: int) -> "optuna.samplers.BaseSampler":
        import optuna

        digest = hashlib.sha256(f"{self._search.seed}/{number}/{attempt}".encode()).digest()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # in Optuna 4; stable in 5
            return optuna.samplers.TPESampler(
                multivariate=True,
                constant_liar=True,
                n_startup_trials=self._search.startup,
                seed=int.from_bytes(digest[:4], "big"),
            )


def space_hash(space: Space) -> str:
    """Hash a space's fields and their values, whatever the fields' order, to 12 hexadecimal digits."""
    written = {path: axis.written() for path, axis in space.items()}
    return hashlib.sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()[:12]


def _inside(space: Space, values: dict[str, Any]) -> dict[str, Any] | None:
    """Convert recorded values to the space's own, in its order; None if they are outside."""
    if values.keys() != space.keys():
        return None
    positions = {path: axis.position(values[path]) for path, axis in space.items()}
    if None in positions.values():
        return None
    return {path: axis.at(position) for path, axis in space.items() if (position := positions[path]) is not None}


def _distribution(axis: Axis) -> "optuna.distributions.BaseDistribution":
    """Convert an axis to Optuna's form: by position, so that lists of lists and steps are exact."""
    from optuna import distributions

    if axis.size is None:
        return distributions.FloatDistribution(axis.low, axis.high, log=axis.log)
    if isinstance(axis, Span) and axis.log:
        return distributions.IntDistribution(int(axis.low), int(axis.high), log=True)
    if isinstance(axis, Choices) and not axis.ascending:
        return distributions.CategoricalDistribution(tuple(range(axis.size)))
    return distributions.IntDistribution(0, axis.size - 1)


def _most_proposals(config: SweepConfig, search: GuidedSearch) -> int:
    """Compute the maximum number of proposals from the search's count and the schedule."""
    schedule = config.schedule
    if schedule.max_trials is not None and schedule.max_trials < config.replicates:
        raise InputError(
            f"{config.source.where(('schedule', 'max_trials'))}: schedule.max_trials is {schedule.max_trials}, but "
            f"each configuration has {config.replicates} replicates; set it to at least that number"
        )
    trials = None if schedule.max_trials is None else schedule.max_trials // config.replicates
    return min(bound for bound in (search.count, schedule.max_configurations, trials) if bound is not None)


def _check_space(config: SweepConfig, search: GuidedSearch, fit: CorpusFit) -> None:
    """Refuse a space with configurations that do not go together or do not fit a corpus."""
    # Each field's values are tried beside the first values of the other fields. That finds every misfit: lists that
    # must be equally long are compared with the first lists, and every other rule concerns one field alone.
    build = resolver(config)
    first = {path: axis.probes[0] for path, axis in search.space.items()}
    for path, axis in search.space.items():
        for value in axis.probes:
            fit.check(build(_settings(config, search, first | {path: value})))


def _settings(config: SweepConfig, search: GuidedSearch, values: dict[str, Any]) -> tuple[Setting, ...]:
    """Convert a value for each field of the space to settings, in the order of the space."""
    where = config.source.where  # the search is the only item
    return tuple(Setting(path, values[path], where(("explore", 0, *search.place(path)))) for path in search.space)
