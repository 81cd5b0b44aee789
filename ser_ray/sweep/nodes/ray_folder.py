"""What surrounds Ray in this process: its settings, its private folder on the node's disk, the threads that use it."""

import contextlib
import fcntl
import os
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ser_ray import allocation
from ser_ray.errors import InputError

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no usage statistics are sent
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": str(10**9),  # Tune's own state is never restored
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial that fails at once ends without metrics
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_gcs_server_port_wait_time_s": "120",  # its control service starts slowly on a busy machine
}

OBJECT_STORE_BYTES = 200 * 2**20
"""Memory for the keys and configurations that processes exchange through Ray; the data is in files."""


def prepare_environment() -> None:
    """Set Ray's environment variables, and have clusters of this process require a token of their own.

    Connecting to such a cluster needs the token, which is only in the environment of the cluster's processes. If a
    script has started the cluster, its token is in the environment already and is kept. If Ray was imported before, it
    uses the token in the user's home.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    if "ray" not in sys.modules and not os.environ.get("RAY_ADDRESS"):
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


PREFIX, LOCK = "ser_ray_", ".ser_ray.lock"
LONGEST = 107 - len("/ser_ray_12345678/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")
"""Maximum bytes of the parent's path: a socket's path may have 107, and process ids have up to seven digits."""


@contextlib.contextmanager
def ray_temp_dir(parent: Path | None = None) -> Iterator[Path]:
    """Yield a new folder of mode 0700, and remove the folders of processes that are gone.

    A killed process cannot remove its folder. Its lock on the folder ends with it, so that the next process can
    recognise and remove the folder. On a file system without locks such folders stay.

    Raises:
        InputError: if the parent's path is too long, or it cannot be written.
    """
    parent = allocation.temporary() if parent is None else parent
    if len(os.fsencode(parent)) > LONGEST:
        raise InputError(
            f"SER_RAY_TMP is {parent}, but Ray's sockets need a path of at most {LONGEST} bytes; set it to a shorter "
            "one"
        )
    try:
        for left in parent.glob(f"{PREFIX}*"):
            _remove_if_left(left)
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))  # mode 0700
    except OSError as error:
        raise InputError(
            f"no folder can be created in {parent} ({error.strerror or error}); set SER_RAY_TMP to a folder on another "
            "local disk"
        ) from error
    unlocked = folder / f"{LOCK}.new"
    with open(unlocked, "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in allocation.NO_LOCKS:
                raise
        else:
            unlocked.rename(folder / LOCK)  # locked before others can find it
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_if_left(folder: Path) -> None:
    try:
        if folder.stat().st_uid != os.getuid():
            return
        with open(folder / LOCK, "r+", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return  # in use, not complete yet, or gone


class RayThread(threading.Thread):
    """A thread that uses Ray; Ray is not shut down while one runs, since it would use what Ray has freed.

    Use `running` and `wait`, not `is_alive` and `join`: in Python 3.11 and 3.12 these take a thread for ended once an
    exception from a signal handler has interrupted a `join`.
    """

    def __init__(self, call: Callable[[], object], name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._call = call
        self._ended = threading.Event()
        self._raised: BaseException | None = None

    def run(self) -> None:
        """Make the call, and keep the exception that it raises."""
        try:
            self._call()
        except BaseException as raised:
            self._raised = raised
        finally:
            self._ended.set()

    @property
    def running(self) -> bool:
        """Whether the call is still running."""
        return not self._ended.is_set()

    @property
    def failed(self) -> bool:
        """Whether the call has raised."""
        return self._raised is not None

    def wait(self, timeout_s: float) -> bool:
        """Wait at most `timeout_s` seconds; return whether the call is over."""
        return self._ended.wait(timeout_s)

    def raise_if_failed(self) -> None:
        """Raise the call's exception, if it raised one."""
        if self._raised is not None:
            raise self._raised


def ray_is_used(within_s: float) -> bool:
    """Wait at most `within_s` seconds for all threads that use Ray; return whether one still does."""
    deadline = time.monotonic() + within_s
    threads = [thread for thread in threading.enumerate() if isinstance(thread, RayThread)]
    return not all(thread.wait(max(0.0, deadline - time.monotonic())) for thread in threads)
