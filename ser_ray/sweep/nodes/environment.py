"""Ray's settings by environment variables, set before Ray is imported since it reads some of them then."""

import os
import secrets
import sys

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
