"""The finding on a corpus."""

import shutil

import pytest

from ser_ray.doctor.corpus import SAMPLE_BYTES, check_read_speed, finding, read_speed


def test_a_corpus_without_problems(tiny_corpus):
    found = finding(tiny_corpus.path)
    recordings = sum(len(tiny_corpus.recordings(partition)) for partition in ("train", "devel", "test"))
    assert found.text.startswith(f"tiny, {recordings} recordings, read at ")


def test_a_corpus_that_is_not_there(tmp_path):
    found = finding(tmp_path / "none")
    assert found.level == "FAIL"
    assert found.text.startswith(f"{tmp_path / 'none'} does not exist")
    assert "--corpus DIR" in found.fix


def test_a_corpus_that_is_damaged(tmp_path, tiny_corpus):
    shutil.copytree(tiny_corpus.path, tmp_path / "corpus")
    next((tmp_path / "corpus" / "shards").iterdir()).unlink()
    found = finding(tmp_path / "corpus")
    assert (found.level, "is missing" in found.text) == ("FAIL", True)


def test_a_corpus_that_cannot_be_read(tiny_corpus, monkeypatch):
    def broken(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("ser_ray.doctor.corpus.read_speed", broken)
    found = finding(tiny_corpus.path)
    assert (found.level, found.text) == ("FAIL", f"{tiny_corpus.path} cannot be read: Input/output error")


@pytest.mark.parametrize(("speed", "level"), [(49e6, "warn"), (51e6, "ok")])
def test_the_speed_of_a_corpus(speed, level):
    found = check_read_speed("c", 1200, speed)
    assert found.level == level
    assert found.text.startswith(f"c, 1,200 recordings, read at {speed / 1e6:.0f} MB/s")


@pytest.mark.parametrize("length", [1, 5_000_000, SAMPLE_BYTES + 3_000_000])
def test_no_more_than_a_sample_is_read(tmp_path, monkeypatch, length):
    with (tmp_path / "shard").open("wb") as file:
        file.truncate(length)
    monkeypatch.setattr("ser_ray.doctor.corpus.time.monotonic", iter([0.0, 2.0]).__next__)
    assert read_speed(tmp_path / "shard") == min(length, SAMPLE_BYTES) / 2
