"""`ser-ray reproduce DIR KEY`: train one trial of a sweep again, as it was trained, and compare the figures."""

import argparse
import difflib
import json
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import FrameType
from typing import Any

from ser_ray import provenance
from ser_ray.corpus import Corpus, open_corpus
from ser_ray.errors import InputError
from ser_ray.files import write_text
from ser_ray.models import ModelConfig
from ser_ray.postprocess.config import SearchConfig
from ser_ray.process import EXIT_INTERRUPTED, handle_signals
from ser_ray.reproduce.comparison import TOLERANCE, compare
from ser_ray.results import SweepFolder, open_sweep, read_table
from ser_ray.results.added_fields import ADDED_FIELDS
from ser_ray.sweep.planning.reuse import searched_with
from ser_ray.sweep.spec.document import read_document
from ser_ray.training.config import TrainingConfig
from ser_ray.trial import TRIAL_VERSION, TrialConfig, trial_key

Row = Mapping[str, Any]

EXIT_DIFFERENT = 1


@dataclass(frozen=True)
class Reproduction:
    """A one-trial sweep that trains a stored trial again."""

    row: Row  # the stored trial's row of `trials`
    config: TrialConfig  # as stored, but a stopped trial gets only the epochs that it had
    corpus: Corpus
    out: Path  # folder for the sweep file and the results
    resources: Mapping[str, Any]  # of the sweep file

    @property
    def name(self) -> str:
        """The name of the one-trial sweep."""
        return f"reproduce-{self.row['key']}"

    @property
    def folder(self) -> SweepFolder:
        """The folder of the sweep's results."""
        return SweepFolder(self.out / self.name)

    @property
    def key(self) -> str:
        """The trial's key in that folder."""
        return trial_key(self.config, self.corpus.fingerprint)

    @property
    def command(self) -> list[str]:
        """The command that trains it; `python` stands for the interpreter that runs ser_ray."""
        file = str(self.out / f"{self.name}.yaml")
        return ["python", "-m", "ser_ray.sweep", file, "--corpus", str(self.corpus.path), "--results", str(self.out)]

    def write(self) -> None:
        """Write the sweep file; raise InputError if it cannot be written."""
        contents: dict[str, Any] = {"name": self.name, "corpus": str(self.corpus.path)}
        lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in contents.items()]
        lines += ["trial:", *(f"  {part}: {json.dumps(values)}" for part, values in asdict(self.config).items())]
        lines += [f"resources: {json.dumps(self.resources)}"] if self.resources else []
        try:
            write_text(self.out / f"{self.name}.yaml", "\n".join(lines) + "\n")
        except OSError as error:
            raise InputError(
                f"{self.out} cannot be written: {error.strerror or error}; choose another folder with --out DIR"
            ) from error


def main(argv: Sequence[str] | None = None) -> int:
    """Print the command that trains a trial again, run it, and compare.

    Returns:
        0 if the figures are equal, or as close as expected on another device, version or commit; 1 if not, or if the
        training failed; 75 if it was interrupted.
    """
    options = _parser().parse_args(argv)
    folder = open_sweep(options.folder)
    again = prepare(folder, options.key, options.corpus, options.out or folder.path / "reproduce")
    again.write()
    print(*(f"# {line}" for line in conditions(folder, again)), sep="\n")
    print(shlex.join(again.command), flush=True)
    if options.print:
        return 0
    for row in _rows(again.folder, "trials", again.key):
        print(f"# it was already trained again at {row['ended_at']}: delete {again.folder.path} to repeat that")
    code = _run(again.command)
    rows = _rows(again.folder, "trials", again.key)
    if not rows:
        return code or EXIT_INTERRUPTED
    (row,) = rows
    if row["status"] != "finished":
        print(f"the repeated training {row['status']}: {row['error']}; log: {again.folder.log(again.key)}")
        return EXIT_DIFFERENT
    stored = again.row, _rows(folder, "epochs", again.row["key"])
    comparison = compare(stored, (row, _rows(again.folder, "epochs", again.key)), options.tolerance)
    comparison.show()
    return 0 if comparison.good else EXIT_DIFFERENT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "ser-ray reproduce",
        description="Train one trial of a sweep again with the same settings, and compare the figures.",
    )
    parser.add_argument("folder", metavar="DIR", help="results/<sweep>")
    parser.add_argument("key", metavar="KEY", help="key of the trial, or its first characters")
    parser.add_argument("--print", action="store_true", help="print the command; run nothing")
    parser.add_argument("--corpus", metavar="DIR", help="corpus of the trial; default: the path that the sweep used")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the repeated training; default: results/<sweep>/reproduce"
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=TOLERANCE,
        metavar="CCC",
        help="largest accepted difference of a CCC if device, versions or commit differ (default: %(default)g)",
    )
    return parser


def prepare(folder: SweepFolder, key: str, corpus: str | None, out: Path) -> Reproduction:
    """Set up the reproduction of a trial.

    `key` may be the beginning of the trial's key; `corpus` defaults to the sweep's. Raises InputError if there is no
    such trial, if it failed, or if this version or corpus cannot train it.
    """
    row = _find(folder, key)
    config = _config(folder, row)
    opened = _corpus(folder, row, corpus, out)
    if row["status"] == "stopped":
        config = replace(config, training=replace(config.training, epochs=row["epochs"]))
    return Reproduction(row, config, opened, out.absolute(), _resources(folder, row))


def conditions(folder: SweepFolder, again: Reproduction) -> list[str]:
    """Describe a trial's commit, versions, corpus and device in lines that also name what differs here."""
    row = again.row
    ended = f"{row['status']} at {row['ended_at']:%Y-%m-%d %H:%M} UTC" if row["ended_at"] else row["status"]
    lines = [f"trial {row['key']} of sweep {row['sweep']}, {ended}"]
    lines += _code_lines(folder, row)
    before, now = json.loads(row["versions"] or "{}"), json.loads(provenance.versions())
    other = [f"{name} {before.get(name)} (here {now.get(name)})" for name in before if before[name] != now.get(name)]
    lines.append(f"versions: {', '.join(other) if other else 'as here'}")
    lines.append(f"corpus: {row['corpus']}, fingerprint {row['corpus_fingerprint']}, as in {again.corpus.path}")
    device = row["device"] or "not known"
    processor = f"; here: cpu: {provenance.cpu_name()}" if device.startswith("cpu") else ""
    lines.append(f"device: {device}{', as here' if processor.endswith(f'here: {device}') else processor}")
    return lines


def _code_lines(folder: SweepFolder, row: Row) -> list[str]:
    """Describe the trial's commit and uncommitted changes, and how to check them out."""
    stored, here = ((commit or "not known") for commit in (row["git_commit"], provenance.git_commit()))
    clean = stored.rstrip("+")
    lines = [
        f"commit: {clean}" + (", as here" if clean == here.rstrip("+") else f"; here: {here}; git checkout {clean}")
    ]
    patch = provenance.changes_name(provenance.git_changes())
    kept = folder.changes(row["git_diff"] or "")
    if row["git_diff"] and row["git_diff"] == patch:
        lines.append("uncommitted changes: as here")
    elif row["git_diff"]:
        known = shlex.quote(str(kept)) if kept.exists() else f"{kept}, which no longer exists"
        lines.append(f"uncommitted changes: git apply {known}")
    elif stored.endswith("+"):
        lines.append("uncommitted changes: some, which were not recorded")
    elif patch:
        lines.append("uncommitted changes: none, but here there are some; git stash")
    return lines


def _find(folder: SweepFolder, key: str) -> Row:
    known = sorted(folder.keys("trials"))
    matching = [key] if key in known else [other for other in known if key and other.startswith(key)]
    if not matching:
        near = difflib.get_close_matches(key, known, n=3, cutoff=0.3) or known[:3]
        said = f"; trials there are: {', '.join(near)}" if near else "; it has no trials yet"
        raise InputError(f"{folder.path} has no row of a trial {key!r}{said}")
    if len(matching) > 1:
        raise InputError(
            f"{key!r} begins the keys of {len(matching)} trials: {', '.join(matching[:5])}; give more "
            "characters of the key"
        )
    (row,) = _rows(folder, "trials", matching[0])
    if row["status"] == "failed":
        raise InputError(
            f"trial {row['key']} failed ({row['error']}), so there are no figures to compare; to try it again, run its "
            "sweep with --retry-failed"
        )
    if row["status"] == "stopped" and not row["epochs"]:
        raise InputError(
            f"trial {row['key']} was stopped before its first epoch ended: there are no figures to compare"
        )
    return row


def _rows(folder: SweepFolder, table: str, key: str) -> list[dict[str, Any]]:
    return list(read_table(folder, table, keys=[key]).to_pylist())


def _config(folder: SweepFolder, row: Row) -> TrialConfig:
    """Read a trial's configuration; refuse one that has another meaning or key in this version of ser_ray."""
    config = json.loads(row["config"])
    checkout = f"check out the commit that trained it ({row['git_commit'] or 'not known'}) and run this there"
    if config["trial_version"] != TRIAL_VERSION:
        raise InputError(
            f"trial {row['key']} was trained with TRIAL_VERSION {config['trial_version']}, but here it is "
            f"{TRIAL_VERSION}: the same configuration gives different numbers; {checkout}"
        )
    for section, kind in (("model", ModelConfig), ("training", TrainingConfig)):
        own = {field.name for field in fields(kind)}
        other = (set(config[section]) - own) | (own - set(config[section]) - set(ADDED_FIELDS[section]))
        if other:
            raise InputError(
                f"trial {row['key']} was trained by a version of ser_ray with other settings ({section}: "
                f"{', '.join(sorted(other))}); {checkout}"
            )
    search = searched_with(folder, [row["key"]]).get(row["key"], SearchConfig())
    found = TrialConfig(
        model=ModelConfig(**config["model"]), training=TrainingConfig(**config["training"]), search=search
    )
    if trial_key(found, row["corpus_fingerprint"]) != row["key"]:
        raise InputError(f"the row of trial {row['key']} has a configuration whose key is another; {checkout}")
    return found


def _corpus(folder: SweepFolder, row: Row, given: str | None, out: Path) -> Corpus:
    """Open the corpus that a trial was trained on; refuse another."""
    from ser_ray.corpus.synthetic.generate import BUILT_IN, built_in

    if given is None:
        given = _corpus_of_sweep(folder)
    corpus = open_corpus(built_in(given, out / ".corpora") if given in BUILT_IN else given)
    if corpus.fingerprint != row["corpus_fingerprint"]:
        raise InputError(
            f"the corpus in {corpus.path} has fingerprint {corpus.fingerprint}, but trial {row['key']} was trained "
            f"on {row['corpus']} with fingerprint {row['corpus_fingerprint']}; name its corpus with --corpus DIR"
        )
    return corpus


def _corpus_of_sweep(folder: SweepFolder) -> str:
    from ser_ray.corpus.synthetic.generate import BUILT_IN

    found = re.search(r"^# corpus: .+? in (/.*)$", folder.sweep_file.read_text(encoding="utf-8"), re.MULTILINE)
    if found and Path(found[1]).is_dir():
        return found[1]
    name = read_document(folder.sweep_file).data.get("corpus")
    if name in BUILT_IN:
        return str(name)
    where = f"the sweep had its corpus in {found[1]}, which does not exist" if found else "no corpus is named"
    raise InputError(f"{folder.sweep_file}: {where}; name the corpus with --corpus DIR")


def _resources(folder: SweepFolder, row: Row) -> dict[str, Any]:
    """Read the trial's cores, GPUs and back end from its row, or from the sweep file where the row lacks them."""
    given = read_document(folder.sweep_file).data.get("resources")
    swept = given if isinstance(given, dict) else {}
    gpus = row["gpus"] if row["gpus"] is not None else 0.0 if str(row["device"]).startswith("cpu") else None
    had = {"cpus": row["cpus"] and max(1, int(row["cpus"])), "gpus": gpus, "backend": row["backend"]}
    known = {name: swept.get(name) if value is None else value for name, value in had.items()}
    return {name: value for name, value in known.items() if value is not None}


def _run(command: Sequence[str]) -> int:
    """Run the sweep and return its exit code; forward a scheduler's signals, so that the sweep saves its trial."""
    process: subprocess.Popen[bytes] | None = None
    received: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:  # the terminal has sent it to the sweep as well
            return
        received.append(number)
        if process is not None:
            process.send_signal(number)

    with handle_signals(forward):
        process = subprocess.Popen([sys.executable, *command[1:]])
        for number in received:
            process.send_signal(number)
        with process:
            code = process.wait()
    return EXIT_INTERRUPTED if received and code < 0 else code  # a signal came before the sweep could handle it
