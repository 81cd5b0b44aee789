"""`ser-ray predict`: mistakes in the model, the audio and the options, and the two ways in."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from predict_cases import add_trials, read, run

from ser_ray import cli, predict
from ser_ray.errors import InputError
from ser_ray.models import ModelConfig


def refusal(case, model):
    """Have a model predict a file beside its audio; return the message of the InputError, and what was written."""
    with pytest.raises(InputError) as caught:
        run(model, case.wav(), "--out", case.audio)
    return str(caught.value), {path.name for path in case.audio.iterdir()} - {"a.wav"}


def test_a_missing_model(case):
    message, written = refusal(case, "nowhere.pt")
    wanted = r"^nowhere.pt does not exist; MODEL must be a best.pt, a folder that contains one, or a sweep"
    assert re.search(wanted, message)
    assert not written


@pytest.mark.parametrize("content", [b"", b"RIFF....WAVE", b"(lp0\n.", b"PK\x03\x04 and no more"])
def test_a_file_that_is_no_checkpoint(case, content):
    case.model.write_bytes(content)
    message, written = refusal(case, case.model)
    assert re.search(r"best.pt is (damaged, or is )?not a checkpoint of ser_ray; MODEL must be", message)
    assert not written


def test_a_checkpoint_of_another_project(case):
    torch.save({"state_dict": {}}, case.model)
    message, written = refusal(case, case.model)
    assert re.search("best.pt is not a checkpoint of ser_ray; MODEL must be", message)
    assert not written


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def test_code_in_a_model_is_not_run(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Bomb(), "model_config": {}}, case.model)
    message, written = refusal(case, case.model)
    assert re.search("not a checkpoint of ser_ray", message)
    assert not written
    assert not (tmp_path / "exploded").exists()


def test_last_pt_points_to_best_pt(case):
    message, written = refusal(case, case.model.with_name("last.pt"))
    assert re.search("last.pt is a checkpoint to resume training from; use the best.pt in", message)
    assert not written


def test_a_best_pt_without_description(case):
    case.edit(model_config=None, label_rate=None, sample_rate=None, label_shift_s=None)
    message, written = refusal(case, case.model)
    wanted = r"best.pt does not describe its network, since an older version .* wrote it; train it again$"
    assert re.search(wanted, message)
    assert not written


@pytest.mark.parametrize(
    "changes",
    [
        {"label_rate": None},
        {"label_rate": 25.0},
        {"label_rate": "250"},
        {"sample_rate": 8000},
        {"label_shift_s": 0.001},
        {"label_shift_s": [0.02]},
        {"label_shift_s": [0.02, -0.02]},
        {"label_shift_s": [0.02, float("inf")]},
        {"label_shift_s": [0.02, "0.02"]},
        {"model_config": {"channels": [3, 4]}},
        {"model_config": {"attention": 8}},
        {"model_config": [1]},
        {"model": {}},
    ],
)
def test_a_description_that_cannot_be_right(case, changes):
    case.edit(**changes)
    message, written = refusal(case, case.model)
    assert re.search(
        r"(?s)best.pt describes a network that this version of ser_ray cannot build .*train it again", message
    )
    assert not written


@pytest.mark.parametrize(
    "absurd", [{"lstm_layers": 100}, {"hidden": 10**9}, {"channels": [10**9, 1]}, {"lstm_layers": 10**9}]
)
def test_a_description_that_no_memory_holds_is_refused_before_it_is_built(case, absurd):
    described = torch.load(case.model, weights_only=True)["model_config"]
    case.edit(model_config=described | absurd)
    message, written = refusal(case, case.model)
    assert re.search(
        r"(?s)best.pt describes a network that this version of ser_ray cannot build .*train it again", message
    )
    assert not written


def test_a_value_that_is_stretched_to_a_network_is_refused_before_it_is_built(case):
    """As many weights as it says, in one value of the file; in memory they would take terabytes."""
    described = torch.load(case.model, weights_only=True)["model_config"] | {"hidden": 10**6}
    parameters = ModelConfig(**described).parameters
    assert parameters > 10**12
    case.edit(model_config=described, model={"weights": torch.zeros(1).expand(parameters)})
    message, written = refusal(case, case.model)
    assert re.search(r"best.pt describes a network .* cannot build \(its weights share memory\)", message)
    assert not written


def test_weights_that_lie_in_one_memory_side_by_side_are_read(case):
    weights = torch.load(case.model, weights_only=True)["model"]
    flat, begin = torch.cat([weight.flatten() for weight in weights.values()]), 0
    for name, weight in weights.items():
        weights[name] = flat[begin : begin + weight.numel()].view(weight.shape)
        begin += weight.numel()
    written = []
    for _ in range(2):
        assert run(case.model, case.wav(), "--out", case.audio, "--overwrite") == 0
        written.append(read(case.audio / "a.csv"))
        case.edit(model=weights)
    np.testing.assert_array_equal(*written)


def test_what_is_wrong_with_a_description_is_said_in_a_line(case):
    described = torch.load(case.model, weights_only=True)["model_config"]
    case.edit(model_config=described | {"hidden": 0})
    with pytest.raises(InputError, match="hidden") as raised:
        run(case.model, case.wav(), "--out", case.audio)
    assert "http" not in str(raised.value)
    assert "validation error" not in str(raised.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(case, value):
    weights = torch.load(case.model, weights_only=True)["model"]
    weights["head.weight"][0, 0] = value
    case.edit(model=weights)
    message, written = refusal(case, case.model)
    assert re.search(r"best.pt has weights that are NaN or infinite \(head.weight\); train it again", message)
    assert not written


@pytest.mark.parametrize(
    ("make", "says"),
    [(os.mkfifo, "it is a named pipe"), (lambda path: path.symlink_to("/dev/zero"), "it is a device")],
)
def test_what_is_no_file_is_not_waited_for(case, make, says):
    case.model.unlink()
    make(case.model)
    message, written = refusal(case, case.model)
    assert re.search(rf"best.pt cannot be read \({says}\)", message)
    assert not written


def test_a_folder_without_a_model(case, tmp_path):
    (tmp_path / "empty").mkdir()
    message, written = refusal(case, tmp_path / "empty")
    assert re.search("empty contains neither a best.pt nor a sweep; MODEL must", message)
    assert not written
    message, written = refusal(case, case.model.parents[1])
    assert re.search(r"checkpoints contains neither a best.pt nor a sweep; it contains .*/abc;", message)
    assert not written
    add_trials(case.sweep)
    message, written = refusal(case, tmp_path / "results")
    assert re.search(r"results contains neither a best.pt nor a sweep; it contains .*/tiny; MODEL", message)
    assert not written


def test_a_sweep_without_a_model(case):
    add_trials(case.sweep, ("abc", "stopped", 0.2), ("odd", "finished", None))
    message, written = refusal(case, case.sweep.path)
    assert re.search("tiny has no finished trial with a ccc_devel_mean yet; wait for one, or name", message)
    assert not written
    add_trials(case.sweep, ("gone", "finished", 0.1))
    message, written = refusal(case, case.sweep.path)
    wanted = r"checkpoints/gone/best.pt does not exist; it belongs to the trial with the highest ccc_devel_mean"
    assert re.search(wanted, message)
    assert not written


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
        f"  {wav} and {other} would both be written to {out}/a.csv; predict them separately, each with its own "
        "--out DIR",
        f"  {out}/a.csv exists; replace it with --overwrite, or choose another folder with --out DIR",
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
        f"  {short} has 63 samples at 16000 Hz, fewer than one frame of 64",
    ]
    assert lines[2].startswith(f"  {text} cannot be read as audio (")
    assert [p.name for p in tmp_path.glob("*.csv")] == ["a.csv"]
    assert capsys.readouterr().out.startswith("a.wav  0.20 s  50 frames")


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(640, np.float32), "^the audio is silent: all its samples are 0.0"),
        (np.ones(0, np.int16), "^the audio has 0 samples at 16000 Hz, fewer than one frame of 64"),
        (np.zeros((2, 640), np.int16), r"^the audio is int16 \[2, 640\], but must be int16 or float32 \[samples\]"),
        (np.zeros(640), r"^the audio is float64 \[640\], but must be"),
        (np.r_[np.nan, np.arange(639)].astype(np.float32), "^the audio contains samples that are NaN or infinite"),
        (np.r_[np.arange(639), -np.inf].astype(np.float32), "^the audio contains samples that are NaN or infinite"),
    ],
)
def test_samples_that_cannot_be_predicted(case, samples, message):
    with pytest.raises(InputError, match=message):
        predict.predict_audio(predict.load_model(case.model), samples)


def test_an_output_folder_that_cannot_be(case, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--out .*file cannot be created \(File exists\); choose another folder"):
        run(case.model, case.wav(), "--out", tmp_path / "file")


@pytest.mark.parametrize("step", [(np, "savetxt"), (os, "replace")])
def test_a_full_disk_leaves_what_was_there(case, tmp_path, monkeypatch, step):
    (tmp_path / "a.csv").write_text("mine")

    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*step, full_disk)
    with pytest.raises(InputError, match=r"a.csv cannot be written \(No space left on device\); choose .* --out DIR"):
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
    assert (
        capsys.readouterr().err
        == "error: a.csv exists; replace it with --overwrite, or choose another folder with --out DIR\n"
    )


def test_as_a_module(tmp_path):
    command = [sys.executable, "-m", "ser_ray.predict", "nowhere.pt", "missing.wav"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: missing.wav does not exist\n")


@pytest.mark.parametrize(
    ("device", "gpus", "message"),
    [
        ("gpu", 2, r"^--device is 'gpu', but must be auto, cpu, cuda or cuda:N$"),
        ("cuda:-1", 2, r"^--device is 'cuda:-1', but must be"),
        ("cuda", 0, r"^--device is cuda, but PyTorch sees no GPU; use --device cpu, or run ser-ray doctor$"),
        ("cuda:2", 2, r"^--device is cuda:2, but PyTorch sees 2 GPUs, cuda:0 to cuda:1; use --device cpu"),
        (
            "cuda:1",
            2,
            r"^cuda:1 cannot be used \(CUDA error: busy or unavailable\); use another device, or --device cpu$",
        ),
        ("auto", 1, r"^cuda cannot be used \(CUDA error: busy or unavailable\)"),
    ],
)
def test_a_device_that_is_not_there_or_cannot_be_used(case, monkeypatch, device, gpus, message):
    def to(self, where):
        raise torch.AcceleratorError("CUDA error: busy or unavailable\nCUDA kernel errors might be ...")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.nn.Module, "to", to)
    with pytest.raises(InputError, match=message):
        run(case.model, case.wav(), "--out", case.audio, "--device", device)


def test_the_device_is_the_one_that_is_named(case, monkeypatch):
    taken = []
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, where: taken.append(where))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for device in ("auto", "cuda:1", "cpu"):
        run(case.model, case.wav(), "--out", case.audio, "--device", device, "--overwrite")
    assert taken == ["cuda", "cuda:1", "cpu"]
