"""Files and folders that are whole or not there."""

import errno

import pytest

from ser_ray.files import replace_folder, sync, whole_file, write_text


def test_a_file_is_written_in_a_folder_that_is_made(tmp_path):
    path = tmp_path / "new" / "file.txt"
    write_text(path, "ä")
    assert path.read_bytes() == "ä".encode()
    assert list(path.parent.iterdir()) == [path]


def test_a_file_takes_the_place_of_another(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    write_text(path, "new", temporary_dir=tmp_path / "tmp")
    assert path.read_text() == "new"
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_what_fails_leaves_everything_as_it_was(tmp_path, error):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail():
        with whole_file(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_without_a_name_gets_that_of_the_file(tmp_path):
    with pytest.raises(OSError, match="No space") as raised, whole_file(tmp_path / "file.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert raised.value.filename == str(tmp_path / "file.txt")


def test_a_folder_takes_the_place_of_another_or_of_none(tmp_path):
    for content in ("first", "second"):
        new = tmp_path / "new"
        new.mkdir()
        (new / content).touch()
        replace_folder(new, tmp_path / "deep" / "folder")
        assert [path.name for path in (tmp_path / "deep" / "folder").iterdir()] == [content]
        assert [path.name for path in tmp_path.iterdir()] == ["deep"]


def test_files_and_folders_can_be_synced(tmp_path):
    write_text(tmp_path / "file", "x")
    sync(tmp_path / "file")
    sync(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "none")
