"""Submit a job by sbatch."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Sequence

from ser_ray.errors import InputError

TIMEOUT_S = 90.0
"""A busy controller answers within a minute."""
CHECK = "look (squeue --me) before submitting it again"


def submit_job(line: Sequence[str], timeout_s: float = TIMEOUT_S) -> tuple[str, str | None]:
    """Run sbatch; return its output and the job's number, None if the output names none.

    Raises InputError if there is no sbatch here, if it refuses the job, or does not answer.
    """
    program = shutil.which(line[0])
    if program is None:
        raise InputError(
            f"{line[0]} is not installed here: run this command, or the line above, on a login node of the cluster"
        )
    try:
        # in a process group of its own, since on some clusters sbatch is a script around the real program
        process = subprocess.Popen(
            [program, *line[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise InputError(f"{program} cannot be run: {error.strerror or error}") from error
    with process:
        try:
            output = process.communicate(timeout=timeout_s)[0].strip()
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise InputError(
                f"sbatch did not answer within {timeout_s:g} s: is the controller down (scontrol ping)? The job may "
                f"have been submitted: {CHECK}"
            ) from None
        except KeyboardInterrupt:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        # the controller may have accepted a job although it did not answer in time
        unsure = f"\nThe job may have been submitted: {CHECK}" if "timed out" in output.lower() else ""
        raise InputError(
            f"sbatch refused the job (exit code {process.returncode}):\n{output or 'without a message'}{unsure}"
        )
    number = re.search(r"^Submitted batch job (\d+)", output, re.MULTILINE)
    return output, number and number[1]
