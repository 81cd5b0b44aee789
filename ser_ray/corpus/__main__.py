"""Make, describe and check corpora: `ser-ray corpus ...`."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from ser_ray.corpus.gold.consensus import METHODS
from ser_ray.corpus.layouts import AUTO, LAYOUTS
from ser_ray.corpus.mimics import MIMICS
from ser_ray.corpus.source.description import ALIGNMENTS, TIME_UNITS
from ser_ray.errors import InputError
from ser_ray.plain_text import escaped, escaped_name

SHOWN_WARNINGS = 5
EXIT_GO_ON = 75
"""Exit code of an interrupted import, which resumes when it is run again; the same as a sweep's."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command on corpora; return 0, or 1 if `check` found something wrong."""
    arguments = _parser().parse_args(argv)
    command = {"synthetic": _synthetic, "import": _import, "mimic": _mimic, "info": _info, "check": _check}[
        arguments.command
    ]
    return command(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ser-ray corpus", description="Make, describe and check corpora.")
    commands = parser.add_subparsers(dest="command", required=True)

    made = commands.add_parser("synthetic", help="make a corpus of synthetic voices")
    made.add_argument("out", metavar="OUT", help="folder to create")
    sizes = "16 recordings of 60 s, 16 of 120 s, or 46 of 300 s (default)"
    made.add_argument("--size", choices=("demo", "small", "paper"), default="paper", help=sizes)
    made.add_argument("--recordings", type=int, nargs=3, metavar=("TRAIN", "DEVEL", "TEST"))
    made.add_argument("--seconds", type=float, metavar="S", help="length of each recording")
    made.add_argument("--seed", type=int, default=0, metavar="N")

    brought = commands.add_parser("import", help="make a corpus of your own recordings and labels")
    brought.add_argument("layout", metavar="LAYOUT", help=f"layout of your data: {AUTO}, or {', '.join(LAYOUTS)}")
    brought.add_argument("source", metavar="SRC", help="folder of your data")
    brought.add_argument("out", metavar="OUT", help="folder to create")
    brought.add_argument(
        "--gold", metavar="METHOD", help=f"how to compute gold from single raters: {', '.join(METHODS)}"
    )
    brought.add_argument("--targets", nargs="+", default=(), metavar="TARGET", help="default: arousal valence")
    brought.add_argument("--name", help="name of the corpus; default: that of SRC")
    brought.add_argument(
        "--alignment", choices=ALIGNMENTS, help="whether a frame carries the label at its start or its end"
    )
    brought.add_argument(
        "--label-rate", type=float, metavar="HZ", help="resample labels to this rate, without using later labels"
    )
    brought.add_argument(
        "--rater-lag", type=float, default=0.0, metavar="S", help="move labels earlier by this many seconds; default: 0"
    )
    brought.add_argument(
        "--time-unit",
        choices=TIME_UNITS,
        default="s",
        help="unit of time stamps (layout table); frames: frame numbers at --label-rate",
    )
    brought.add_argument(
        "--channel",
        default="",
        metavar="CHANNEL",
        help="audio channel: left, right, a number from 1, or mean; default: chosen for each file",
    )
    brought.add_argument("--jobs", type=int, metavar="N", help="processes; default: one per core")

    mimic = commands.add_parser("mimic", help="write a small synthetic example of a layout, to try its import")
    mimic.add_argument("layout", metavar="LAYOUT", choices=tuple(MIMICS), help=", ".join(MIMICS))
    mimic.add_argument("out", metavar="OUT", help="folder to create")
    mimic.add_argument("--seconds", type=float, default=20.0, metavar="S", help="length of each recording; default: 20")
    mimic.add_argument("--seed", type=int, default=0, metavar="N")

    described = commands.add_parser("info", help="describe a corpus")
    described.add_argument("corpus", metavar="DIR")
    described.add_argument("--json", action="store_true", help="print the figures as JSON")
    described.add_argument("--picture", metavar="FILE", help="draw the figures on one page: a png, svg or pdf file")

    checked = commands.add_parser("check", help="check every byte of a corpus; report errors and warnings")
    checked.add_argument("corpus", metavar="DIR")
    checked.add_argument("--jobs", type=int, metavar="N", help="processes; default: one per core for large corpora")
    return parser


def _synthetic(arguments: argparse.Namespace) -> int:
    from ser_ray.corpus.synthetic.generate import BUILT_IN, make_synthetic

    name = "synthetic" if arguments.size == "paper" else f"synthetic-{arguments.size}"
    size = BUILT_IN[name]
    out = make_synthetic(
        arguments.out,
        recordings=tuple(arguments.recordings or size.recordings),
        seconds=size.seconds if arguments.seconds is None else arguments.seconds,
        seed=arguments.seed,
        name=name,
    )
    _report(out)
    return 0


def _import(arguments: argparse.Namespace) -> int:
    from ser_ray.corpus.importing.config import ImportConfig
    from ser_ray.corpus.importing.ingest import import_corpus
    from ser_ray.corpus.source.channels import channel_named

    config = ImportConfig(
        gold=arguments.gold,
        targets=tuple(arguments.targets),
        alignment=arguments.alignment,
        label_rate_hz=arguments.label_rate,
        rater_lag_s=arguments.rater_lag,
        channel=channel_named(arguments.channel, "--channel"),
        time_unit=arguments.time_unit,
    )
    try:
        made = import_corpus(
            arguments.layout, arguments.source, arguments.out, config, name=arguments.name, jobs=arguments.jobs
        )
    except KeyboardInterrupt:
        print("interrupted: written recordings are kept; run the same command again to resume", file=sys.stderr)
        return EXIT_GO_ON
    for warning in made.warnings[:SHOWN_WARNINGS]:
        print(f"warning: {escaped(warning)}")
    if len(made.warnings) > SHOWN_WARNINGS:
        print(f"warning: and {len(made.warnings) - SHOWN_WARNINGS} more")
    if made.kept:
        print(f"resumed an interrupted import: {made.kept} recordings were already written")
    _report(made.path)
    return 0


def _mimic(arguments: argparse.Namespace) -> int:
    import soundfile

    from ser_ray.corpus.store.writer import check_free

    if not 5 <= arguments.seconds <= 3600:
        raise InputError(f"seconds is {arguments.seconds:g}, but a mimic's recording must last 5 to 3600 seconds")
    if arguments.seed < 0:
        raise InputError(f"seed is {arguments.seed}, but must be at least 0")
    out = Path(arguments.out)
    check_free(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        MIMICS[arguments.layout](out, arguments.seconds, arguments.seed)
    except (OSError, soundfile.SoundFileError) as error:
        shutil.rmtree(out, ignore_errors=True)
        raise InputError(f"{out} cannot be written ({error}): free disk space, or choose another folder") from error
    files = [path for path in out.rglob("*") if path.is_file()]
    print(f"made {out}: {len(files)} files in the layout {arguments.layout}; no person was recorded or rated")
    print(f"next: ser-ray corpus import {arguments.layout} {out} CORPUS")
    return 0


def _report(path: Path) -> None:
    """Print a summary of the new corpus and the next command."""
    from ser_ray.corpus.describing.info import summary
    from ser_ray.corpus.store.raters import rater_lines
    from ser_ray.corpus.store.reader import open_corpus

    corpus = open_corpus(path)
    print(f"made {escaped_name(str(path))}")
    print("\n  ".join([summary(corpus), *rater_lines(path)]))
    print(f"next: ser-ray sweep sweeps/overlap.yaml --corpus {path}")


def _info(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from ser_ray.corpus.describing.figures import corpus_figures
    from ser_ray.corpus.describing.info import as_json, remarks, table
    from ser_ray.corpus.describing.picture import draw_corpus, picture_format, write_picture
    from ser_ray.corpus.store.reader import open_corpus

    if arguments.picture is not None:
        picture_format(arguments.picture)
    corpus = open_corpus(arguments.corpus)
    figures = corpus_figures(corpus)
    if arguments.json:
        print(as_json(corpus, figures))
    else:
        Console().print(table(figures))
        print(escaped("\n".join(remarks(corpus, figures))))
    if arguments.picture is not None:
        write_picture(draw_corpus(corpus, figures), arguments.picture)
        print(f"drew {arguments.picture}", file=sys.stderr if arguments.json else sys.stdout)
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from ser_ray.corpus.describing.check import check_corpus

    checked = check_corpus(arguments.corpus, arguments.jobs)
    print(escaped("\n".join(checked.lines())))
    return 1 if checked.count("wrong") else 0


if __name__ == "__main__":
    from ser_ray.process import run

    run(main)
