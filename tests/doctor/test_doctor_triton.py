"""What is said of Triton's needs, with what is there or missing told by stand-ins."""

from pathlib import Path

import pytest

from ser_ray import triton_host
from ser_ray.doctor import triton
from ser_ray.doctor.file_systems import Mount


def test_where_no_gpu_is_used_nothing_is_asked(monkeypatch):
    monkeypatch.setattr(triton_host, "missing_for_launchers", lambda: pytest.fail("not needed"))
    assert list(triton.findings(0)) == []


def test_a_node_with_gpus_is_asked_for_both(monkeypatch, tmp_path):
    monkeypatch.setattr(triton_host, "missing_for_launchers", lambda: None)
    launchers, cache = triton.findings(2, {"TRITON_CACHE_DIR": str(tmp_path / "none")})
    assert (launchers.level, launchers.name) == ("ok", "triton")
    assert f"what it compiles is kept in {tmp_path}/none" in cache.text
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_what_is_missing_is_a_warning_with_the_fix():
    found = triton.check_launchers("there is no C compiler")
    assert found.level == "warn"
    assert found.text == ("there is no C compiler: resources.backend fused is refused here, auto takes plain PyTorch")
    assert "module load gcc" in found.fix


@pytest.mark.parametrize(("kind", "level"), [("ext4", "ok"), ("tmpfs", "ok"), ("nfs4", "warn"), ("lustre", "warn")])
def test_a_cache_on_a_shared_file_system_is_a_warning(kind, level):
    found = triton.check_cache(Path("/home/me/.triton"), Mount("/home", kind))
    assert found.level == level
    assert f"/home/me/.triton, {kind}" in found.text


def test_a_file_system_that_is_not_known_is_no_trouble():
    assert triton.check_cache(Path("/x"), None).level == "ok"
