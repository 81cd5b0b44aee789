"""GPUs: what SLURM gave, what PyTorch sees, and whether each computes what it should."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from ser_ray import allocation, provenance
from ser_ray.doctor.finding import Finding, fail, ok, size, warn
from ser_ray.doctor.software import CUDA_12_INSTALL
from ser_ray.gpus.listed import EXCLUSIVE
from ser_ray.gpus.seen import Gpu, Seen

OWN_BYTES = 0.8e9
"""What CUDA itself takes on a large GPU for the process that looks."""
TAKEN_SHARE = 0.1
LEAST_DRIVER = {"12": 525, "13": 580}
"""CUDA's major version -> the oldest series of NVIDIA's driver under which it runs."""


def findings(seen: Seen, environment: Mapping[str, str] = os.environ, *, whole: int | None = None) -> Iterator[Finding]:
    """Yield what there is to say of the GPUs here.

    Args:
        seen: by PyTorch.
        environment: of this process.
        whole: how many GPUs these are, where some are slices of one; None for as many as are seen.
    """
    given, in_job = allocation.gpus_given(environment), "SLURM_JOB_ID" in environment
    driver = provenance.gpu_driver()
    if seen.crash:
        yield _fail(f"PyTorch ended while it tried the GPUs ({seen.crash})")
    elif not seen.gpus:
        yield check_none(seen, given, in_job=in_job, driver=driver, visible=environment.get("CUDA_VISIBLE_DEVICES"))
    else:
        yield check_work(seen, driver)
        yield from check_count(len(seen.gpus) if whole is None else whole, given, in_job=in_job)
        yield from check_memory(seen.gpus)
        yield from check_modes(seen.gpus)


def check_none(seen: Seen, given: int | None, *, in_job: bool, driver: str | None, visible: str | None) -> Finding:
    """Judge that PyTorch sees no GPU.

    Args:
        seen: by PyTorch.
        given: GPUs that SLURM gave the job; None where it says nothing of them.
        in_job: whether this is a SLURM job.
        driver: version of NVIDIA's driver; None where there is none.
        visible: CUDA_VISIBLE_DEVICES; None where it is not set.
    """
    if not given and in_job:
        return ok("gpu", "the job has none: trials train on the CPU")
    if not given and driver is None:
        return ok("gpu", "none here; a login node needs none, and without one trials train on the CPU")
    there = f"SLURM gave {given}" if given else f"a driver ({driver}) is loaded"
    said = f" ({seen.reason.split('. ')[0]})" if seen.reason else ""  # it goes on with advice of its own
    then = "a sweep ends here unless its resources.gpus is 0" if given else "trials would train on the CPU"
    return warn("gpu", f"{there}, but PyTorch sees none{said}: {then}", _cure(seen, driver, visible))


def _cure(seen: Seen, driver: str | None, visible: str | None) -> str:
    """Return what is likely to let PyTorch see the GPUs."""
    if seen.cuda is None:
        return "this PyTorch was built for CPUs alone; install the torch and torchaudio of one CUDA version (make env)"
    if visible is not None and not visible.strip().replace("-1", "").replace("NoDevFiles", ""):
        return f"CUDA_VISIBLE_DEVICES is {visible!r}, which hides all: unset it, or ask SLURM with --gpus-per-node=N"
    if driver is None:
        return (
            "no driver is visible here: start a container with its GPU option (--nv, --gpus all), or leave this node "
            "out with sbatch --exclude"
        )
    least = LEAST_DRIVER.get(seen.cuda.partition(".")[0])
    needed = f", which needs {least} or newer" if least else ""
    older = (
        f"install torch and torchaudio built for CUDA 12 (driver {LEAST_DRIVER['12']} or newer): {CUDA_12_INSTALL}"
        if seen.cuda.partition(".")[0] != "12"
        else "install torch and torchaudio built for an older CUDA version"
    )
    return f"driver {driver} may be too old for CUDA {seen.cuda}{needed}: take nodes with a newer one, or {older}"


def check_work(seen: Seen, driver: str | None) -> Finding:
    """Judge what the GPUs computed.

    Args:
        seen: by PyTorch, at least one GPU.
        driver: version of NVIDIA's driver; None where it is not told.
    """
    wrong = [f"{number} ({gpu.name}): {gpu.wrong}" for number, gpu in enumerate(seen.gpus) if gpu.wrong]
    if len(wrong) == len(seen.gpus):
        return _fail(f"{len(wrong)} of {len(seen.gpus)} do not work: {'; '.join(wrong)}")
    if wrong:
        return warn(
            "gpu",
            f"{len(wrong)} of {len(seen.gpus)} do not work, and are not used: {'; '.join(wrong)}",
            "tell those who run the cluster",
        )
    models = Counter(gpu.name for gpu in seen.gpus)
    free, total = min(gpu.free for gpu in seen.gpus), min(gpu.total for gpu in seen.gpus)
    named = ", ".join(f"{count} x {name}" for name, count in models.items())
    return ok(
        "gpu",
        f"{named}, {size(free)} of {size(total)} free, driver {driver or 'unknown'}, CUDA {seen.cuda}; products, "
        "convolutions and a step of an LSTM are right",
    )


def _fail(text: str) -> Finding:
    return fail("gpu", text, "leave this node out (sbatch --exclude=NODE) and tell those who run the cluster")


def check_count(visible: int, given: int | None, *, in_job: bool) -> Iterator[Finding]:
    """Yield a warning if not as many GPUs are visible as SLURM gave.

    Args:
        visible: GPUs that PyTorch sees, at least 1.
        given: GPUs that SLURM gave the job; None where it says nothing of them.
        in_job: whether this is a SLURM job.
    """
    if not in_job or visible == given:
        return
    if visible > (given or 0):
        yield warn(
            "gpu",
            f"PyTorch sees {visible}, but SLURM gave this job {given or 'none'}: others may be another job's",
            "ask for them with --gpus-per-node=N (or --gres=gpu:N)",
        )
    else:
        yield warn(
            "gpu",
            f"SLURM gave {given}, but PyTorch sees {visible}: the rest would lie idle",
            "look at CUDA_VISIBLE_DEVICES here, and at the step's own --gpus-per-task or --gres",
        )


def check_memory(gpus: Sequence[Gpu]) -> Iterator[Finding]:
    """Yield a warning if something else uses more than a tenth of a GPU's memory.

    Args:
        gpus: those that are visible.
    """
    taken = {n: gpu.total - gpu.free for n, gpu in enumerate(gpus)}
    used = [f"{size(b)} of GPU {n}" for n, b in taken.items() if b - OWN_BYTES > TAKEN_SHARE * gpus[n].total]
    if used:
        yield warn(
            "gpu", f"something else uses {', '.join(used)}", "nvidia-smi names it; a trial's share is counted from all"
        )


def check_modes(gpus: Sequence[Gpu]) -> Iterator[Finding]:
    """Yield a warning if GPUs let in one process at a time; those that let in none do not work.

    Args:
        gpus: those that are visible.
    """
    alone = [str(number) for number, gpu in enumerate(gpus) if gpu.mode == EXCLUSIVE]
    if alone:
        yield warn(
            "gpu",
            f"GPU {', '.join(alone)} of {len(gpus)} in exclusive process mode: one process at a time, so that each "
            "trial is given a whole GPU, whatever resources.gpus is",
            "resources.mps: true lets trials share, or those who run the cluster set it to default (nvidia-smi -c 0)",
        )
