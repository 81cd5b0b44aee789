"""`ser-ray postprocess DIR`: search the post-processing of a sweep's trials again, from their predictions alone."""

import argparse
import contextlib
import dataclasses
import json
import os
import re
import time
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from ser_ray import kernel_cache, provenance
from ser_ray.corpus.progress import Bar
from ser_ray.errors import InputError, results_cannot_be_written, system_reason
from ser_ray.files import write_text
from ser_ray.postprocess.config import SearchConfig
from ser_ray.results import METHODS, SweepFolder, ccc_column, compact_tables, crossfit_column, open_sweep, read_table
from ser_ray.sweep.nodes.heartbeat import Pace, beating, refuse_second_driver
from ser_ray.sweep.nodes.ray_folder import prepare_environment
from ser_ray.sweep.nodes.stop import MAKE_ROOM, RAY_LOST, StopRequest, announce_stop, on_signals
from ser_ray.sweep.running.run import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED
from ser_ray.sweep.spec.config import read_sweep
from ser_ray.sweep.spec.document import Document, read_document


def main(argv: Sequence[str] | None = None) -> int:
    """Search trials again, and print how their figures changed.

    Returns:
        0 if all were searched, 1 if some could not be, whose rows are unchanged, 75 if it was interrupted.

    Raises:
        InputError: if there is no such sweep or trial, nothing to search, a setting is wrong, or the sweep is running.
    """
    options = _parser().parse_args(argv)
    folder = open_sweep(options.folder)
    folder = SweepFolder(folder.path.resolve())  # actors have other working directories
    config = _config(folder, options)
    refuse_second_driver(folder, print)
    try:
        keys = _keys(folder, options.keys)
        _record(folder, config, options.keys)
    except OSError as error:
        raise InputError(
            f"results cannot be written to {folder.path}: {system_reason(error)}; free disk space or get write "
            "permission, and run the same command again"
        ) from error
    print(f"searching {len(keys)} trials again: {_as_text(config)}", flush=True)
    before = _figures(folder, keys)
    again = _Again(folder, config, keys)
    with contextlib.suppress(KeyboardInterrupt):
        again.run(options.actors)
    with contextlib.suppress(OSError):  # if they cannot be written, the parts are enough
        compact_tables(folder)
    for line in _changes(before, _figures(folder, again.done), config):
        print(line)
    for key, reason in again.failed.items():
        print(f"FAILED    {key}  {type(reason).__name__}: {reason}")
    left = len(keys) - len(again.done) - len(again.failed)
    if left:
        print(f"{left} of {len(keys)} trials are not yet searched again: run the same command to continue")
        return EXIT_INTERRUPTED
    return EXIT_FAILED if again.failed else EXIT_DONE


class _Again:
    """Searches of trials by a pool of actors on a cluster."""

    def __init__(self, folder: SweepFolder, config: SearchConfig, keys: Sequence[str]) -> None:
        self._folder, self._config, self._keys = folder, config, keys
        self.done: list[str] = []
        self.failed: dict[str, Exception] = {}
        self._began = time.monotonic()

    def run(self, actors: int | None) -> None:
        """Search the trials in `actors` processes, None for one per core, until all are done or the user stops it.

        Raises:
            KeyboardInterrupt: on a second signal to end.
        """
        prepare_environment()
        from ser_ray.postprocess.running_median import warm
        from ser_ray.sweep.nodes.cluster import RayNotUpError, cluster
        from ser_ray.sweep.nodes.node_watch import NodeWatch
        from ser_ray.sweep.running.search_pool import SearchPool

        stop = StopRequest(self._folder.tmp / f"again-{provenance.host_name()}-{os.getpid()}")
        with contextlib.ExitStack() as stack:
            stack.callback(self._tidy)
            stack.callback(stop.close)
            stack.enter_context(beating(self._folder, self._pace, self._outcome))
            stack.enter_context(on_signals(stop))
            stack.enter_context(announce_stop(stop, print, lambda: "completed searches are kept"))
            warm()
            note = kernel_cache.describe_private_folder()
            if note is not None:
                print(note, flush=True)
            address = os.environ.get("RAY_ADDRESS") or None
            try:
                machines = stack.enter_context(cluster(address, self._folder.path / "ray.log"))
            except RayNotUpError as error:  # no search has begun: all trials are still to be searched
                print(f"RAY       {error}", flush=True)
                return
            stack.enter_context(NodeWatch(lambda: stop.request(RAY_LOST, now=True), address))
            bar = stack.enter_context(Bar("searching", len(self._keys), rate="{:.1f} trials/s".format))

            def on_done(key: str, error: Exception | None) -> None:
                if error is None:
                    self.done.append(key)
                elif results_cannot_be_written(error, self._folder.path):
                    # no fault of the trial, which is still to be searched
                    stop.request(f"{MAKE_ROOM} ({system_reason(error)})")
                else:
                    self.failed[key] = error
                bar.advance()

            pool = SearchPool(self._folder, actors or max(1, int(machines.cpus)), on_done, config=self._config)
            for key in self._keys:
                pool.submit(key)
            pool.close(now=lambda: stop.requested)

    def _pace(self) -> Pace:
        standing = len(self.done) + len(self.failed)
        per_trial = (time.monotonic() - self._began) / standing if standing else None
        left = None if per_trial is None else per_trial * (len(self._keys) - standing)
        return Pace(len(self._keys), standing, 0, 0, left)

    def _outcome(self) -> str:
        if len(self.done) + len(self.failed) < len(self._keys):
            return "interrupted"
        return "failed" if self.failed else "done"

    def _tidy(self) -> None:
        """Remove incomplete files of ended searches, and the temporary folder if it is empty."""
        with contextlib.suppress(OSError):
            for left in self._folder.tmp.glob("*.parquet.*"):
                left.unlink(missing_ok=True)
            self._folder.tmp.rmdir()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ser-ray postprocess",
        description="Search the post-processing of a sweep's trials again, from their stored predictions, and rewrite "
        "their chains and rows. Each option defaults to the setting of the sweep.",
    )
    parser.add_argument("folder", metavar="DIR", help="results/<sweep>")
    parser.add_argument(
        "keys", metavar="KEY", nargs="*", help="keys of the trials to search; default: all with predictions"
    )
    parser.add_argument(
        "--method", choices=METHODS, action="append", dest="methods", help="a search to run (repeatable)"
    )
    parser.add_argument(
        "--choice", choices=("per_target", "joint"), help="choose the steps for each target, or jointly for all targets"
    )
    parser.add_argument(
        "--max-window-s", type=float, metavar="S", help="longest median window in seconds; 0: no filter"
    )
    parser.add_argument("--max-shift-s", type=float, metavar="S", help="largest time shift in seconds; 0: no shift")
    parser.add_argument(
        "--forward-only",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="exclude backward time shifts from the exhaustive search",
    )
    parser.add_argument("--actors", type=int, metavar="N", help="processes that search; default: one per core")
    return parser


def _config(folder: SweepFolder, options: argparse.Namespace) -> SearchConfig:
    """Build the search's configuration from options, else from the sweep's file; raise InputError for a wrong one."""
    if options.actors is not None and options.actors < 1:
        raise InputError(f"--actors is {options.actors}, but must be at least 1")
    names = [field.name for field in dataclasses.fields(SearchConfig)]
    trial = read_document(folder.sweep_file).data.get("trial")
    swept = trial.get("search") if isinstance(trial, dict) else None
    given = {name: value for name, value in (swept or {}).items() if name in names}
    overridden = {name: value for name in names if (value := getattr(options, name)) is not None}
    # read like a sweep file, so that mistakes are reported in the same way
    origins: dict[tuple[str | int, ...], str] = {
        ("trial", "search", name): f"--{name.replace('_', '-')} {value}" for name, value in overridden.items()
    }
    document = Document(str(folder.sweep_file), {"name": "again", "trial": {"search": given | overridden}}, origins)
    return SearchConfig(**read_sweep(document).trial["search"])


def _keys(folder: SweepFolder, asked: Sequence[str]) -> list[str]:
    """List the trials with predictions, or the requested ones; raise InputError if there are none or one has none."""
    stored = folder.keys("predictions")
    for key in asked:
        if key not in stored:
            known = "it has no stored predictions" if key in folder.keys("trials") else "no such trial exists"
            raise InputError(f"trial {key} of {folder.path} cannot be searched: {known}")
    if not stored:
        raise InputError(f"{folder.path} has no trial with predictions: run the sweep first")
    lost = len(folder.keys("trials") - stored)
    if lost and not asked:
        print(f"{lost} trials have no predictions (failed, stopped, or predictions deleted): they are unchanged")
    return sorted(dict.fromkeys(asked)) if asked else sorted(stored)


def _record(folder: SweepFolder, config: SearchConfig, keys: Sequence[str]) -> None:
    """Record in the sweep's file the settings of this search, of all its trials or of `keys` alone."""
    text = folder.sweep_file.read_text(encoding="utf-8")
    if not keys:
        values = [f"    {name}: {json.dumps(value)}\n" for name, value in dataclasses.asdict(config).items()]
        text = re.sub(r"(?m)^  search:\n(?:    .*\n)*", lambda _: "".join(["  search:\n", *values]), text, count=1)
    which = f" ({' '.join(keys)} alone)" if keys else ""
    line = f"# searched again{which} {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {_as_text(config)}\n"
    head = re.match(r"(?:#.*\n)*", text)
    place = head.end() if head else 0
    whole = text[:place] + line + text[place:]
    write_text(folder.sweep_file, whole, temporary_dir=folder.tmp)


def _as_text(config: SearchConfig) -> str:
    return ", ".join(
        f"{name} {' and '.join(value) if isinstance(value, tuple) else json.dumps(value)}"
        for name, value in dataclasses.asdict(config).items()
    ).replace('"', "")


def _figures(folder: SweepFolder, keys: Collection[str]) -> dict[str, dict[str, Any]]:
    columns = [ccc_column(partition, "mean", stage=method) for method in METHODS for partition in ("devel", "test")]
    columns += [crossfit_column(method, "mean") for method in METHODS]
    rows = read_table(folder, "trials", keys=list(keys), columns=["key", *columns]).to_pylist()
    return {row["key"]: row for row in rows}


def _changes(
    before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]], config: SearchConfig
) -> Iterator[str]:
    """Yield a line per method with the trials' mean CCC before and after."""
    for method in config.methods:
        columns = {
            "devel": ccc_column("devel", "mean", stage=method),
            "unseen (cross-fit)": crossfit_column(method, "mean"),
            "test": ccc_column("test", "mean", stage=method),
        }
        parts = [
            f"{name} {old} -> {new}"
            for name, column in columns.items()
            for old, new in [(_mean(before, after, column), _mean(after, after, column))]
            if (old, new) != ("-", "-")
        ]
        if parts:
            yield f"{method:<10} mean CCC of {len(after)} trials: {', '.join(parts)}"


def _mean(rows: dict[str, dict[str, Any]], keys: Collection[str], column: str) -> str:
    values = [rows[key][column] for key in keys if key in rows and rows[key][column] is not None]
    return f"{sum(values) / len(values):.3f}" if values else "-"
