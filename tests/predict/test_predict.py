"""`ser-ray predict`: what comes out of a trained model on audio files."""

import dataclasses
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from predict_cases import CHAINS, SHIFT_FRAMES, add_chains, add_trials, read, run
from scipy.signal import resample_poly

from ser_ray import postprocess, predict
from ser_ray.errors import InputError
from ser_ray.results.added_fields import ADDED_FIELDS
from ser_ray.training.checkpoint import load_checkpoint
from ser_ray.training.loop import train


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
    assert trained.shift_frames == (SHIFT_FRAMES, SHIFT_FRAMES)
    shifted = predict.predict_audio(trained, case.corpus.audio(case.recording()))
    raw = case.expected(shift_frames=0)
    np.testing.assert_array_equal(shifted[SHIFT_FRAMES:], raw[:-SHIFT_FRAMES])
    np.testing.assert_array_equal(shifted[:SHIFT_FRAMES], np.repeat(raw[:1], SHIFT_FRAMES, axis=0))


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
    monkeypatch.setattr("ser_ray.training.evaluate.CHUNK_SAMPLES", 16 * 64)
    np.testing.assert_array_equal(predict.predict_audio(trained, samples), whole)


def test_no_array_as_long_as_the_recording_is_made_of_its_samples(case, monkeypatch):
    monkeypatch.setattr(predict, "moments", lambda samples: (0.0, 1000.0))  # it takes blocks larger than this recording
    trained = predict.load_model(case.model)
    samples = np.random.default_rng(0).integers(-2000, 2000, 4_000_000, dtype=np.int16)
    for given in (samples, samples.astype(np.float32) / 1000):
        predict.predict_audio(trained, given[:640])
        tracemalloc.start()
        predict.predict_audio(trained, given)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < samples.nbytes


def test_samples_may_be_read_only(case):
    trained = predict.load_model(case.model)
    for samples in (case.corpus.audio(case.recording()), case.corpus.crop(case.recording(), 0, 50)[0]):
        expected = predict.predict_audio(trained, samples.copy())
        samples.flags.writeable = False
        np.testing.assert_array_equal(predict.predict_audio(trained, samples), expected)


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
            **{name: list(v) if isinstance(v, tuple) else v for name, v in ADDED_FIELDS["model"].items()},
        },
        "label_rate": 250.0,
        "sample_rate": 16000,
        "label_shift_s": [0.02, 0.02],
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
        match=r"--postprocess greedy: .*best.pt belongs to no sweep with searched post-processing "
        r"\(.*postprocessing/abc.parquet does not exist\); omit the option for raw predictions",
    ):
        run(case.model, wav, "--out", tmp_path, "--postprocess", "greedy")
    add_chains(case.sweep)
    with pytest.raises(InputError, match=r"abc.parquet has no chain of this method for arousal; it has: greedy$"):
        run(case.model, wav, "--out", tmp_path, "--postprocess", "exhaustive")
    other = case.sweep.path / "elsewhere" / "abc"
    other.mkdir(parents=True)
    case.model.rename(other / "best.pt")
    with pytest.raises(InputError, match="belongs to no sweep"):
        run(other, wav, "--out", tmp_path, "--postprocess", "greedy")
    assert not (tmp_path / "a.csv").exists()


@pytest.mark.parametrize("scale", [8.0, 2.0**-16])
def test_audio_that_int16_would_cut_off_or_lose(case, tmp_path, capsys, scale):
    """A network sees recordings normalised, so that their level must not show in what it says of them."""
    samples = case.corpus.audio(case.recording())
    loud = (samples / np.abs(samples.astype(int)).max()).astype(np.float32)
    soundfile.write(case.audio / "odd.wav", loud * np.float32(scale), 16000, subtype="FLOAT")
    run(case.model, case.wav(), case.audio / "odd.wav", "--out", tmp_path)
    np.testing.assert_allclose(read(tmp_path / "odd.csv"), read(tmp_path / "a.csv"), atol=1e-4)
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert err.startswith(f"warning: {case.audio / 'odd.wav'} ")
    assert ("exceeds full scale (its peak is 8):" if scale > 1 else "too quiet for 16 bits") in err


def test_channels_that_cancel_are_named(case, tmp_path, capsys):
    samples = case.corpus.audio(case.recording()) / 32768
    soundfile.write(case.audio / "odd.wav", np.column_stack([samples, -0.95 * samples]), 16000, subtype="FLOAT")
    run(case.model, case.wav(), case.audio / "odd.wav", "--out", tmp_path)
    np.testing.assert_array_equal(read(tmp_path / "odd.csv"), read(tmp_path / "a.csv"))
    assert f"warning: {case.audio / 'odd.wav'} has channels that cancel each other" in capsys.readouterr().err


def test_a_channel_is_predicted_alone(case, tmp_path, capsys):
    devel, train = (case.corpus.audio(case.recording(p)) for p in ("devel", "train"))
    samples = min(devel.size, train.size)
    soundfile.write(case.audio / "two.wav", np.column_stack([devel[:samples], train[:samples]]), 16000)
    soundfile.write(case.audio / "b.wav", train[:samples], 16000)
    run(case.model, case.audio / "b.wav", case.audio / "two.wav", "--out", tmp_path, "--channel", "1")
    np.testing.assert_allclose(read(tmp_path / "two.csv"), case.expected(), atol=1e-6)
    run(case.model, case.audio / "two.wav", "--out", tmp_path / "right", "--channel", "right")
    np.testing.assert_array_equal(read(tmp_path / "right" / "two.csv"), read(tmp_path / "b.csv"))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("channel", "message"),
    [("both", "--channel: channel is 'both', but must be left, right"), ("2", "a.wav has 1 channel")],
)
def test_a_channel_that_is_none(case, tmp_path, channel, message):
    with pytest.raises(InputError, match=message):
        run(case.model, case.wav(), "--out", tmp_path / "out", "--channel", channel)
