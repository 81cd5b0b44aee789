"""`ser-ray corpus mimic`: the same for the same seed, said to be made up, and refused with a message."""

import resource

import pytest
import soundfile

from ser_ray.cli import main as ser_ray
from ser_ray.corpus.__main__ import main
from ser_ray.corpus.mimics import MIMICS
from ser_ray.errors import InputError


def content(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("layout", MIMICS)
def test_a_seed_is_a_mimic(tmp_path, layout):
    if layout == "audformat":
        pytest.importorskip("audformat", reason="audformat is an extra")
    for name, seed in (("one", 3), ("same", 3), ("other", 4)):
        MIMICS[layout](tmp_path / name, 5.0, seed)
    one, same, other = (content(tmp_path / name) for name in ("one", "same", "other"))
    assert one == same
    assert list(one) == list(other)
    audio = [name for name in one if name.endswith((".wav", ".flac"))]
    assert audio
    assert all(one[name] != other[name] for name in audio)
    assert "NOTICE" in one


def test_what_was_written_is_told(tmp_path, capsys):
    out = tmp_path / "new" / "mimic"
    assert main(["mimic", "table", str(out), "--seconds", "5", "--seed", "9"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"made {out}: 14 files in the layout table; no person was recorded or rated",
        f"next: ser-ray corpus import table {out} CORPUS",
    ]
    assert len(content(out)) == 14
    assert soundfile.info(out / "audio" / "anna_2.wav").duration == 5.0
    MIMICS["table"](tmp_path / "same", 5.0, 9)
    assert content(out) == content(tmp_path / "same")


def test_the_defaults(tmp_path):
    assert main(["mimic", "table", str(tmp_path / "out")]) == 0
    assert soundfile.info(tmp_path / "out" / "audio" / "anna_2.wav").duration == 20.0
    MIMICS["table"](tmp_path / "same", 20.0, 0)
    assert content(tmp_path / "out") == content(tmp_path / "same")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seconds", "4.9"], "error: seconds is 4.9, but a mimic's recording must last 5 to 3600 seconds\n"),
        (["--seconds", "3601"], "error: seconds is 3601, but a mimic's recording must last 5 to 3600 seconds\n"),
        (["--seconds", "nan"], "error: seconds is nan, but a mimic's recording must last 5 to 3600 seconds\n"),
        (["--seed", "-1"], "error: seed is -1, but must be at least 0\n"),
    ],
)
def test_options_that_no_mimic_has(tmp_path, capsys, options, message):
    assert ser_ray(["corpus", "mimic", "table", str(tmp_path / "out"), *options]) == 2
    assert capsys.readouterr().err == message
    assert not (tmp_path / "out").exists()


def test_a_place_that_is_taken(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("precious")
    assert ser_ray(["corpus", "mimic", "table", str(tmp_path)]) == 2
    assert f"{tmp_path} exists and is not empty" in capsys.readouterr().err
    assert list(content(tmp_path)) == ["mine.txt"]


def test_a_layout_that_is_not_there(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["mimic", "avec", "out"])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert "'avec'" in said
    assert all(layout in said for layout in MIMICS)


@pytest.mark.parametrize(
    ("largest", "said"), [(10, r"\[Errno 27\] .+"), (10_000, "System error.")], ids=["text", "audio"]
)
def test_files_that_find_no_room(tmp_path, largest, said):
    """As on a disk that is full: a notice does not fit, or the audio does not."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, limits[1]))
    try:
        with pytest.raises(
            InputError, match=rf"out cannot be written \({said}\): free disk space, or choose another folder"
        ):
            main(["mimic", "table", str(tmp_path / "out")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/out cannot be written \(.*Not a directory.*\)"):
        main(["mimic", "table", str(tmp_path / "file" / "out")])
