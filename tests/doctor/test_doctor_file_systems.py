"""Where a path lies."""

import subprocess
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ser_ray.doctor.file_systems import IN_MEMORY, LOCAL, SHARED, file_system, kind_of_mount, nearest_existing, space

MOUNTS = """\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
31 27 0:40 / /scratch rw shared:5 master:1 - lustre mds@tcp:/scratch rw
32 31 0:41 / /scratch/local rw - xfs /dev/nvme0n1 rw
33 27 0:42 / /home rw - ext4 /dev/vdb rw
34 27 0:43 / /home rw - nfs4 server:/home rw
35 27 0:44 / /with\\040blank rw - tmpfs tmpfs rw
"""


def test_the_innermost_and_latest_mount_counts():
    kinds = {
        "/etc/x": "ext4",
        "/scratch/me/results": "lustre",
        "/scratch/local/me": "xfs",
        "/scratches": "ext4",
        "/home/me": "nfs4",
        "/with blank/x": "tmpfs",
    }
    assert {path: kind_of_mount(Path(path), MOUNTS) for path in kinds} == kinds
    assert kind_of_mount(Path("/x"), "") is None


def test_this_machine_agrees_with_findmnt(tmp_path):
    for path in (tmp_path, Path("/proc"), Path("/dev/shm")):
        found = subprocess.run(["findmnt", "-nfo", "FSTYPE", "-T", path], capture_output=True, text=True, check=True)
        assert file_system(path) == found.stdout.strip()


def test_a_path_that_is_not_there_lies_where_it_would_be_made(tmp_path):
    assert file_system(tmp_path / "a" / "b") == file_system(tmp_path)
    (tmp_path / "link").symlink_to("/proc/none")
    assert file_system(tmp_path / "link") == "proc"


def test_no_kind_is_both_local_and_shared():
    assert not LOCAL & SHARED
    assert IN_MEMORY < LOCAL


def test_space_agrees_with_df(tmp_path):
    free = space(tmp_path)
    done = subprocess.run(["df", "-B1", "--output=used,avail", tmp_path], capture_output=True, text=True, check=True)
    used, available = map(int, done.stdout.splitlines()[1].split())
    assert abs(free.free - available) < 1e9  # others write meanwhile
    assert abs(free.total - used - available) < 1e9


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=4), st.integers(0, 4))
def test_nearest_existing_is_the_longest_part_that_exists(tmp_path_factory, names, made):
    root = tmp_path_factory.mktemp("nearest")
    root.joinpath(*names[:made]).mkdir(parents=True, exist_ok=True)
    assert nearest_existing(root.joinpath(*names)) == root.joinpath(*names[:made])


def test_a_dangling_link_exists(tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(tmp_path / "none")
    assert nearest_existing(tmp_path / "link" / "x") == tmp_path / "link"
    monkeypatch.chdir(tmp_path)
    assert nearest_existing(Path("link/x")) == tmp_path / "link"
