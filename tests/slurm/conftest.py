"""A SLURM site that all tests of this folder share, others on demand, and what jobs run on them."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from jobs import write_project, write_sweep
from launch_stand_ins import Job
from namespaces import missing
from sandbox import Sandbox, sandbox

from ser_ray.corpus import Corpus

FAILED = pytest.StashKey[bool]()
UP = []
"""The sites that run at the moment."""

Sites = Callable[..., AbstractContextManager[Sandbox]]


@pytest.fixture(scope="session")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Sites:
    """Return what makes a context with a site of its own; fields as of slurm_conf.Site."""
    if why := missing():
        pytest.skip(why)

    @contextmanager
    def make(**fields: Any) -> Iterator[Sandbox]:
        folder = tmp_path_factory.mktemp("site") / "site"
        with sandbox(folder, shared=[tmp_path_factory.getbasetemp()], **fields) as made:
            UP.append(made)
            try:
                yield made
            finally:
                UP.remove(made)

    return make


@pytest.fixture(scope="session")
def slurm(sites: Sites) -> Iterator[Sandbox]:
    """The site that is shared: two nodes of four CPUs and two GPUs that compute nothing, with harsh settings."""
    with sites(kill_on_bad_exit=1, wait_time=5, kill_wait=10, preempt_send_user_signal=False) as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def files_leave_no_jobs() -> Iterator[None]:
    yield
    for one in UP:
        one.reset()


@pytest.fixture(autouse=True)
def failed_tests_leave_no_jobs(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if request.node.stash.get(FAILED, False):
        for one in UP:
            one.reset()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Show the ends of the sites' logs with a test that failed."""
    report = yield
    if report.failed and report.when != "teardown":
        item.stash[FAILED] = True
        report.sections.extend((f"SLURM in {one.folder}", one.logs()) for one in UP)
    return report


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder that is a checkout to a job."""
    return write_project(tmp_path / "project")


@pytest.fixture
def tiny_sweep(project: Path, tiny_corpus: Corpus) -> Callable[..., Path]:
    """Return what writes a sweep of seconds, as jobs.write_sweep does, into the project or another folder."""
    return lambda folder=project, **fields: write_sweep(folder, tiny_corpus.path, **fields)


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    """A run of slurm/launch.sh with stand-ins for all that it calls."""
    made = Job(tmp_path)
    yield made
    if made.process is not None:
        if made.process.poll() is None:
            os.killpg(made.process.pid, signal.SIGKILL)
        made.process.stdout.close()
        made.process.wait()
