"""A trained trial, audio of its corpus, and what the tests of `ser-ray predict` do with them."""

import dataclasses
from pathlib import Path

import pandas as pd
import soundfile
import torch

from ser_ray import predict
from ser_ray.postprocess import PostProcessing
from ser_ray.results import SweepFolder, make_table, write_part
from ser_ray.training.checkpoint import load_checkpoint, save_checkpoint
from ser_ray.training.evaluate import predict_recordings

SHIFT_FRAMES = 5  # of 4 ms
CHAINS = {
    "arousal": PostProcessing(
        median_window=5, centre=True, scale=True, shift=3, prediction_mean=0.1, prediction_std=0.02, gold_std=0.3
    ),
    "valence": PostProcessing(median_window=9, shift=-2),
}


@dataclasses.dataclass(frozen=True)
class Case:
    """A sweep with one trained trial, its best.pt, and a folder of audio."""

    sweep: SweepFolder
    model: Path
    corpus: object
    network: torch.nn.Module
    audio: Path

    def recording(self, partition="devel"):
        return self.corpus.recordings(partition)[0]

    def wav(self, name="a.wav", partition="devel"):
        path = self.audio / name
        soundfile.write(path, self.corpus.audio(self.recording(partition)), 16000)
        return path

    def expected(self, partition="devel", shift_frames=SHIFT_FRAMES):
        recordings = self.corpus.recordings(partition)[:1]
        return predict_recordings(self.network, self.corpus, recordings, shift_frames=(shift_frames, shift_frames))[0]

    def edit(self, **changes):
        """Write best.pt again with other content; None removes an entry."""
        content = {**load_checkpoint(self.model), **changes}
        save_checkpoint(self.model, {name: value for name, value in content.items() if value is not None})


def add_trials(sweep, *rows):
    sweep.path.mkdir(parents=True, exist_ok=True)
    sweep.sweep_file.write_text("name: tiny\n")
    for key, status, score in rows:
        row = {"key": key, "status": status, "ccc_devel_mean": score}
        write_part(sweep, "trials", key, make_table("trials", [row]))


def add_chains(sweep, key="abc", method="greedy", chains=CHAINS):
    rows = [{"key": key, "target": t, "method": method, **dataclasses.asdict(chain)} for t, chain in chains.items()]
    write_part(sweep, "postprocessing", key, make_table("postprocessing", rows))


def run(*arguments):
    return predict.main([str(argument) for argument in arguments])


def read(path):
    return pd.read_csv(path)[["arousal", "valence"]].to_numpy()
