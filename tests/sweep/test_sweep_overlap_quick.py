"""The shipped overlap sweep by its --quick, on the built-in corpus and on one imported from audio files."""

import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest
import soundfile

from ser_ray.cli import main
from ser_ray.corpus import open_corpus
from ser_ray.corpus.synthetic.generate import make_synthetic

SWEEPS = Path(__file__).parents[2] / "sweeps"

pytestmark = pytest.mark.slow


def run_quick(results, *options):
    sweep = str(SWEEPS / "overlap.yaml")
    command = [sys.executable, "-m", "ser_ray.sweep", sweep, "--quick", "--results", str(results), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check(trials):
    """Read the parquet in one line with each of three libraries."""
    by_pandas = pd.read_parquet(trials)
    by_polars = pl.read_parquet(f"{trials}/*.parquet")
    by_duckdb = duckdb.sql(f"from '{trials}/*.parquet'").fetchall()
    assert len(by_pandas) == len(by_polars) == len(by_duckdb) == 4
    assert set(by_pandas.status) == {"finished"}
    assert by_pandas.ccc_devel_exhaustive_mean.ge(by_pandas.ccc_devel_greedy_mean - 1e-9).all()
    assert by_pandas.ccc_test_mean.notna().all()
    assert by_pandas.parameters.gt(1_000_000).all(), "the paper's network in full width"
    assert by_polars["overlap_ratios"].list.mean().n_unique() > 1


def test_on_the_built_in_corpus(tmp_path):
    out = run_quick(tmp_path)
    assert "quick: " in out
    assert "corpus: synthetic -> synthetic-demo" in out
    check(tmp_path / "overlap" / "trials")


def test_on_a_corpus_imported_from_audio_files(tmp_path, capsys):
    made = open_corpus(make_synthetic(tmp_path / "made", recordings=(2, 2, 1), seconds=20.0))
    source = tmp_path / "source"
    for folder in ("audio", "labels"):
        (source / folder).mkdir(parents=True)
    rows = ["name,partition,speaker"]
    for partition, called in (("train", "train"), ("devel", "validation"), ("test", "test")):
        for recording in made.recordings(partition):
            rows.append(f"{recording.name},{called},{recording.speaker}")
            soundfile.write(source / "audio" / f"{recording.name}.flac", made.audio(recording), made.sample_rate)
            _, gold = made.crop(recording, 0, recording.frames)
            table = pd.DataFrame(gold, columns=["arousal", "valence"])
            table.insert(0, "time", np.round(np.arange(len(table)) / made.label_rate, 2))
            table.to_csv(source / "labels" / f"{recording.name}.csv", index=False)
    (source / "recordings.csv").write_text("\n".join(rows) + "\n")
    assert main(["corpus", "import", "table", str(source), str(tmp_path / "shards")]) == 0
    capsys.readouterr()
    run_quick(tmp_path / "results", "--corpus", str(tmp_path / "shards"))
    check(tmp_path / "results" / "overlap" / "trials")
