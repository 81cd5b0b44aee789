"""What Ray reads from the environment of its processes: set before Ray is imported, since it reads some of it then."""

import os
import secrets
import sys

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent home
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": str(10**9),  # Tune's own state is never gone back to
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial that fails at once ends without a figure
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_gcs_server_port_wait_time_s": "120",  # its control service starts slowly where there is much to do
}

OBJECT_STORE_BYTES = 200 * 2**20
"""Memory for what processes exchange by way of Ray: keys and configurations; the data lies in files."""


def prepare_environment() -> None:
    """Say how Ray is to behave, and have clusters of this process ask for a token of their own.

    Whoever would connect to such a cluster needs the token, which is in the environment of its processes alone. Where
    a script has started the cluster, its token is in the environment already and stays. Where Ray was imported before,
    it takes the token that it keeps in the user's home.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    if "ray" not in sys.modules and not os.environ.get("RAY_ADDRESS"):
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
