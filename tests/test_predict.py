"""`ser-ray predict`: a trained model on audio files."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from scipy.signal import resample_poly

from ser_ray import cli, postprocess, predict
from ser_ray.errors import InputError
from ser_ray.postprocess import PostProcessing
from ser_ray.results import SweepFolder, make_table, write_part
from ser_ray.training.checkpoint import load_checkpoint, save_checkpoint
from ser_ray.training.evaluate import predict_recordings
from ser_ray.training.loop import train

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
        return predict_recordings(self.network, self.corpus, recordings, shift_frames=shift_frames)[0]

    def edit(self, **changes):
        """Write best.pt again with other content; None removes an entry."""
        content = {**load_checkpoint(self.model), **changes}
        save_checkpoint(self.model, {name: value for name, value in content.items() if value is not None})


@pytest.fixture
def case(tiny_corpus, tiny_config, tmp_path):
    config = tiny_config(epochs=1, label_shift_s=SHIFT_FRAMES / 250)
    sweep = SweepFolder(tmp_path / "results" / "tiny")
    device = torch.device("cpu")
    folder = sweep.checkpoints("abc")
    trained = train(config.model, config.training, tiny_corpus, folder, device=device, on_epoch=lambda reports: None)
    (tmp_path / "audio").mkdir()
    return Case(sweep, folder / "best.pt", tiny_corpus, trained.model, tmp_path / "audio")


def add_trials(sweep, *rows):
    sweep.path.mkdir(parents=True, exist_ok=True)
    sweep.sweep_file.write_text("name: tiny\n")
    for key, status, score in rows:
        row = {"key": key, "status": status, "ccc_devel_mean": score}
        write_part(sweep, "trials", key, make_table("trials", [row]))


def add_chains(sweep, key="abc", method="greedy", chains=CHAINS):
    rows = [{"target": t, "method": method, **dataclasses.asdict(chain)} for t, chain in chains.items()]
    write_part(sweep, "postprocessing", key, make_table("postprocessing", rows))


def run(*arguments):
    return predict.main([str(argument) for argument in arguments])


def read(path):
    return pd.read_csv(path)[["arousal", "valence"]].to_numpy()


# what comes out


def test_a_recording_of_the_corpus_is_predicted_as_in_evaluation(case, tmp_path, capsys):
    wav = case.wav()
    assert run(case.model, wav, "--out", tmp_path / "new" / "out") == 0
    path = tmp_path / "new" / "out" / "a.csv"
    table, expected = pd.read_csv(path), case.expected()
    assert list(table) == ["time_s", "arousal", "valence"]
    np.testing.assert_allclose(table["time_s"], np.arange(50) / 250, atol=1e-12)
    np.testing.assert_allclose(read(path), expected, atol=1e-6)
    assert path.read_text().splitlines()[2].split(",")[0] == "0.004000"
    means = expected.mean(axis=0)
    line = f"a.wav  0.20 s  50 frames  arousal {means[0]:+.4f}  valence {means[1]:+.4f}  {path}\n"
    assert capsys.readouterr() == (line, "")
    assert [p.name for p in path.parent.iterdir()] == ["a.csv"]


def test_the_label_shift_is_undone(case):
    trained = predict.load_model(case.model)
    assert trained.shift_frames == SHIFT_FRAMES
    shifted = predict.predict_audio(trained, case.corpus.audio(case.recording()))
    raw = case.expected(shift_frames=0)
    np.testing.assert_allclose(shifted[SHIFT_FRAMES:], raw[:-SHIFT_FRAMES], atol=1e-6)
    np.testing.assert_allclose(shifted[:SHIFT_FRAMES], np.repeat(raw[:1], SHIFT_FRAMES, axis=0), atol=1e-6)


def test_samples_may_come_normalised(case):
    trained = predict.load_model(case.model)
    assert trained.label_rate == 250
    assert trained.config == case.network.config
    assert not trained.model.training
    waveform, _ = case.corpus.crop(case.recording(), 0, case.recording().frames)
    given = waveform.copy()
    np.testing.assert_array_equal(
        predict.predict_audio(trained, waveform),
        predict.predict_audio(trained, case.corpus.audio(case.recording())),
    )
    np.testing.assert_array_equal(waveform, given)


def test_a_trailing_part_frame_is_dropped_before_anything_is_made_of_it(case):
    trained = predict.load_model(case.model)
    samples = case.corpus.audio(case.recording())
    longer = np.concatenate([samples, np.full(63, 32767, np.int16)])
    np.testing.assert_array_equal(predict.predict_audio(trained, longer), predict.predict_audio(trained, samples))


def test_stereo_at_another_rate(case, tmp_path):
    rng = np.random.default_rng(0)
    mono = resample_poly(rng.normal(0, 0.1, 8000), 2, 1)  # 1 s with nothing above 4 kHz
    wide = resample_poly(mono, 441, 160)
    side = rng.normal(0, 0.05, len(wide))
    soundfile.write(case.audio / "cd.flac", np.column_stack([wide + side, wide - side]), 44100, subtype="PCM_24")
    run(case.model, case.audio / "cd.flac", "--out", tmp_path)
    expected = predict.predict_audio(predict.load_model(case.model), np.rint(mono * 32768).astype(np.int16))
    found = read(tmp_path / "cd.csv")
    assert found.shape == expected.shape == (250, 2)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.ptp(expected, axis=0).min() > 5e-3


def test_recordings_longer_than_a_chunk(case, monkeypatch):
    trained = predict.load_model(case.model)
    samples = case.corpus.audio(case.recording())
    whole = predict.predict_audio(trained, samples)
    monkeypatch.setattr("ser_ray.training.evaluate.CHUNK_FRAMES", 7)
    np.testing.assert_allclose(predict.predict_audio(trained, samples), whole, atol=1e-6)


def test_a_model_of_one_target_has_one_column(tiny_corpus, tiny_config, tmp_path, case):
    config = tiny_config(epochs=1)
    model = dataclasses.replace(config.model, targets=("valence",))
    train(model, config.training, tiny_corpus, tmp_path / "one", device=torch.device("cpu"), on_epoch=lambda r: None)
    run(tmp_path / "one", case.wav(), "--out", tmp_path)
    assert list(pd.read_csv(tmp_path / "a.csv")) == ["time_s", "valence"]


# which model


def test_a_folder_stands_for_the_best_pt_in_it(case, tmp_path, capsys):
    run(case.model.parent, case.wav(), "--out", tmp_path)
    np.testing.assert_allclose(read(tmp_path / "a.csv"), case.expected(), atol=1e-6)
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_of_a_sweep_the_best_finished_trial_is_taken_and_said(case, tmp_path, capsys):
    add_trials(
        case.sweep, ("low", "finished", 0.1), ("abc", "finished", 0.2), ("odd", "finished", None), ("s", "stopped", 0.9)
    )
    run(case.sweep.path, case.wav(), "--out", tmp_path)
    np.testing.assert_allclose(read(tmp_path / "a.csv"), case.expected(), atol=1e-6)
    assert capsys.readouterr().out.splitlines()[0] == f"{case.sweep.path}: trial abc has the highest ccc_devel_mean"


def test_best_pt_describes_itself_in_plain_data(case):
    content = load_checkpoint(case.model)
    assert content.pop("model").keys() == case.network.state_dict().keys()
    assert content == {
        "epoch": 1,
        "model_config": {
            "channels": [3, 4],
            "kernels": [4, 6],
            "pools": [8, 8],
            "pooling": "max",
            "dropout": 0.5,
            "hidden": 5,
            "lstm_layers": 2,
            "targets": ["arousal", "valence"],
        },
        "label_rate": 250.0,
        "sample_rate": 16000,
        "label_shift_s": 0.02,
    }


# post-processing


def test_the_chain_of_each_target_is_applied(case, tmp_path, monkeypatch):
    add_chains(case.sweep)
    wav = case.wav()
    monkeypatch.chdir(case.model.parent)  # where the sweep's folder is not part of the path
    run("best.pt", wav, "--out", tmp_path, "--postprocess", "greedy")
    raw = case.expected()
    expected = [postprocess.apply(CHAINS[t], [raw[:, i]])[0] for i, t in enumerate(("arousal", "valence"))]
    np.testing.assert_allclose(read(tmp_path / "a.csv"), np.column_stack(expected), atol=2e-5)
    assert not np.allclose(read(tmp_path / "a.csv"), raw, atol=1e-3)


def test_post_processing_that_was_not_searched_is_refused(case, tmp_path):
    wav = case.wav()
    with pytest.raises(
        InputError,
        match=r"--postprocess greedy: .*best.pt lies in no sweep that has searched its post-processing "
        r"\(.*postprocessing/abc.parquet does not exist\); leave the option out for raw predictions",
    ):
        run(case.model, wav, "--out", tmp_path, "--postprocess", "greedy")
    add_chains(case.sweep)
    with pytest.raises(InputError, match=r"abc.parquet has no such chain of arousal; methods in it: greedy$"):
        run(case.model, wav, "--out", tmp_path, "--postprocess", "exhaustive")
    other = case.sweep.path / "elsewhere" / "abc"
    other.mkdir(parents=True)
    case.model.rename(other / "best.pt")
    with pytest.raises(InputError, match="lies in no sweep"):
        run(other, wav, "--out", tmp_path, "--postprocess", "greedy")
    assert not (tmp_path / "a.csv").exists()


# mistakes in the model


def refused(case, model, message, **options):
    with pytest.raises(InputError, match=message):
        run(model, case.wav(), "--out", case.audio, **options)
    assert [p.name for p in case.audio.iterdir()] == ["a.wav"]


def test_a_missing_model(case):
    refused(case, "nowhere.pt", r"^nowhere.pt does not exist; MODEL is a best.pt, a folder that holds one, or a sweep")


@pytest.mark.parametrize("content", [b"", b"RIFF....WAVE", b"(lp0\n.", b"PK\x03\x04 and no more"])
def test_a_file_that_is_no_checkpoint(case, content):
    case.model.write_bytes(content)
    refused(case, case.model, r"best.pt is (damaged, or )?no checkpoint of ser_ray; MODEL is")


def test_a_checkpoint_of_another_project(case):
    torch.save({"state_dict": {}}, case.model)
    refused(case, case.model, "best.pt is no checkpoint of ser_ray; MODEL is")


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def test_code_in_a_model_is_not_run(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Bomb(), "model_config": {}}, case.model)
    refused(case, case.model, "no checkpoint of ser_ray")
    assert not (tmp_path / "exploded").exists()


def test_last_pt_points_to_best_pt(case):
    refused(case, case.model.with_name("last.pt"), "last.pt is what a training goes on from; give the best.pt beside")


def test_a_best_pt_without_description(case):
    case.edit(model_config=None, label_rate=None, sample_rate=None, label_shift_s=None)
    refused(case, case.model, r"best.pt does not describe its network, as an older version .* wrote it; train again$")


@pytest.mark.parametrize(
    "changes",
    [
        {"label_rate": None},
        {"label_rate": 25.0},
        {"label_rate": "250"},
        {"sample_rate": 8000},
        {"label_shift_s": 0.001},
        {"model_config": {"channels": [3, 4]}},
        {"model_config": {"attention": 8}},
        {"model_config": [1]},
        {"model": {}},
    ],
)
def test_a_description_that_cannot_be_right(case, changes):
    case.edit(**changes)
    refused(
        case, case.model, r"(?s)best.pt describes a network that this version of ser_ray cannot build .*train again"
    )


def test_a_folder_without_a_model(case, tmp_path):
    (tmp_path / "empty").mkdir()
    refused(case, tmp_path / "empty", "empty holds neither a best.pt nor a sweep; MODEL is")
    refused(case, case.model.parents[1], r"checkpoints holds neither a best.pt nor a sweep; in it there are .*/abc;")
    add_trials(case.sweep)
    refused(case, tmp_path / "results", r"results holds neither a best.pt nor a sweep; in it there are .*/tiny; MODEL")


def test_a_sweep_without_a_model(case):
    add_trials(case.sweep, ("abc", "stopped", 0.2), ("odd", "finished", None))
    refused(case, case.sweep.path, "tiny has no finished trial with a ccc_devel_mean yet; wait for one, or give")
    add_trials(case.sweep, ("gone", "finished", 0.1))
    refused(case, case.sweep.path, r"checkpoints/gone/best.pt is gone, of the trial with the highest ccc_devel_mean")


# mistakes in the audio and the output


def test_all_mistakes_in_names_are_found_before_anything_is_done(case, tmp_path):
    wav, out = case.wav(), tmp_path / "out"
    out.mkdir()
    (out / "a.csv").write_text("mine")
    other = tmp_path / "a.flac"
    soundfile.write(other, case.corpus.audio(case.recording()), 16000)
    with pytest.raises(InputError) as caught:
        run("nowhere.pt", wav, other, "missing.wav", case.audio, "--out", out)
    assert str(caught.value).splitlines() == [
        "audio: 4 mistakes",
        "  missing.wav does not exist",
        f"  {case.audio} is a folder; name the audio files in it, such as {case.audio}/*.wav",
        f"  {wav} and {other} would both be written to {out}/a.csv; predict them with another --out DIR each",
        f"  {out}/a.csv exists; --overwrite replaces it, --out DIR writes elsewhere",
    ]
    assert (out / "a.csv").read_text() == "mine"


def test_what_exists_is_replaced_when_that_is_said(case, tmp_path):
    wav = case.wav()
    (tmp_path / "a.csv").write_text("mine")
    run(case.model, wav, "--out", tmp_path, "--overwrite")
    assert len(read(tmp_path / "a.csv")) == 50


def test_audio_that_cannot_be_predicted_is_named_and_the_rest_done(case, tmp_path, capsys):
    silent, short, text = (case.audio / name for name in ("silent.wav", "short.wav", "text.wav"))
    soundfile.write(silent, np.full(640, 7, np.int16), 16000)
    soundfile.write(short, np.arange(63, dtype=np.int16), 16000)
    text.write_text("no audio")
    with pytest.raises(InputError) as caught:
        run(case.model, silent, short, text, case.wav(), "--out", tmp_path)
    first, *lines = str(caught.value).splitlines()
    assert first == "audio: 3 mistakes"
    assert lines[:2] == [
        f"  {silent} is silent: all its samples are 7",
        f"  {short} has 63 samples at 16000 Hz: less than one frame of 64",
    ]
    assert lines[2].startswith(f"  {text} cannot be read as audio (")
    assert [p.name for p in tmp_path.glob("*.csv")] == ["a.csv"]
    assert capsys.readouterr().out.startswith("a.wav  0.20 s  50 frames")


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(640, np.float32), "^the audio is silent: all its samples are 0.0"),
        (np.ones(0, np.int16), "^the audio has 0 samples at 16000 Hz: less than one frame of 64"),
        (np.zeros((2, 640), np.int16), r"^the audio is int16 \[2, 640\], but must be int16 or float32 \[samples\]"),
        (np.zeros(640), r"^the audio is float64 \[640\], but must be"),
        (np.r_[np.nan, np.arange(639)].astype(np.float32), "^the audio holds samples that are not numbers"),
    ],
)
def test_samples_that_cannot_be_predicted(case, samples, message):
    with pytest.raises(InputError, match=message):
        predict.predict_audio(predict.load_model(case.model), samples)


def test_an_output_folder_that_cannot_be(case, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--out .*file cannot be made a folder \(File exists\); choose another"):
        run(case.model, case.wav(), "--out", tmp_path / "file")


@pytest.mark.parametrize("step", [(np, "savetxt"), (os, "replace")])
def test_a_full_disk_leaves_what_was_there(case, tmp_path, monkeypatch, step):
    (tmp_path / "a.csv").write_text("mine")

    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*step, full_disk)
    with pytest.raises(InputError, match=r"a.csv cannot be written \(No space left on device\); --out DIR writes"):
        run(case.model, case.wav(), "--out", tmp_path, "--overwrite")
    assert (tmp_path / "a.csv").read_text() == "mine"
    assert not list(tmp_path.glob(".a.csv*"))


# the doors


def test_through_ser_ray(case, tmp_path, monkeypatch, capsys):
    wav = case.wav()
    monkeypatch.chdir(tmp_path)
    assert cli.main(["predict", str(case.model), str(wav)]) == 0
    np.testing.assert_allclose(read("a.csv"), case.expected(), atol=1e-6)
    assert cli.main(["predict", str(case.model), str(wav)]) == 2
    assert capsys.readouterr().err == "error: a.csv exists; --overwrite replaces it, --out DIR writes elsewhere\n"


def test_as_a_module(tmp_path):
    command = [sys.executable, "-m", "ser_ray.predict", "nowhere.pt", "missing.wav"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: missing.wav does not exist\n")
