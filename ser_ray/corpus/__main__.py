"""Makes, describes and checks corpora: `ser-ray corpus ...`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ser_ray.corpus.gold import METHODS
from ser_ray.corpus.layouts import LAYOUTS

SHOWN_WARNINGS = 5


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command on corpora.

    Args:
        argv: the arguments behind `ser-ray corpus`; None for those of the process.

    Returns:
        0, or 1 if `check` found something wrong.

    Raises:
        InputError: for mistakes in what the user gave.
    """
    arguments = _parser().parse_args(argv)
    command = {"synthetic": _synthetic, "import": _import, "info": _info, "check": _check}[arguments.command]
    return command(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ser-ray corpus", description="Make, describe and check corpora.")
    commands = parser.add_subparsers(dest="command", required=True)

    made = commands.add_parser("synthetic", help="make a corpus of a synthetic voice")
    made.add_argument("out", metavar="OUT", help="folder to make")
    made.add_argument("--size", choices=("demo", "paper"), default="paper", help="16 x 60 s, or 46 x 300 s (default)")
    made.add_argument("--recordings", type=int, nargs=3, metavar=("TRAIN", "DEVEL", "TEST"))
    made.add_argument("--seconds", type=float, metavar="S", help="length of each recording")
    made.add_argument("--seed", type=int, default=0, metavar="N")

    brought = commands.add_parser("import", help="make a corpus of your own recordings and labels")
    brought.add_argument("layout", metavar="LAYOUT", help=f"how your data lies: {', '.join(LAYOUTS)}")
    brought.add_argument("source", metavar="SRC", help="folder of your data")
    brought.add_argument("out", metavar="OUT", help="folder to make")
    brought.add_argument("--gold", metavar="METHOD", help=f"make gold from single raters: {', '.join(METHODS)}")
    brought.add_argument("--targets", nargs="+", default=(), metavar="TARGET", help="default: arousal valence")
    brought.add_argument("--name", help="of the corpus; default: that of SRC")

    for name, what in (("info", "describe a corpus"), ("check", "compare every byte with the manifest")):
        commands.add_parser(name, help=what).add_argument("corpus", metavar="DIR")
    return parser


def _synthetic(arguments: argparse.Namespace) -> int:
    from ser_ray.corpus.synthetic import BUILT_IN, make_synthetic

    name = "synthetic" if arguments.size == "paper" else "synthetic-demo"
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
    from ser_ray.corpus.ingest import import_corpus

    made = import_corpus(
        arguments.layout,
        arguments.source,
        arguments.out,
        gold=arguments.gold,
        targets=arguments.targets,
        name=arguments.name,
    )
    for warning in made.warnings[:SHOWN_WARNINGS]:
        print(f"warning: {warning}")
    if len(made.warnings) > SHOWN_WARNINGS:
        print(f"warning: and {len(made.warnings) - SHOWN_WARNINGS} more")
    _report(made.path)
    return 0


def _report(path: Path) -> None:
    """Say what was made, and what to do with it."""
    from ser_ray.corpus.info import summary
    from ser_ray.corpus.shards import open_corpus

    corpus = open_corpus(path)
    print(f"made {path}")
    print(summary(corpus))
    hop = "" if corpus.hop == 640 else f"   (with hop: {corpus.hop} in its designs)"
    print(f"next: ser-ray sweep sweeps/overlap.yaml --corpus {path}{hop}")


def _info(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from ser_ray.corpus.info import remarks, table
    from ser_ray.corpus.shards import open_corpus

    corpus = open_corpus(arguments.corpus)
    Console().print(table(corpus))
    print("\n".join(remarks(corpus)))
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from ser_ray.corpus.info import check_corpus

    wrong = check_corpus(arguments.corpus)
    for message in wrong:
        print(f"wrong: {message}")
    if not wrong:
        print(f"{arguments.corpus}: every shard is as it was written")
    return 1 if wrong else 0


if __name__ == "__main__":
    from ser_ray.cli import run

    run(main)
