"""Check the GPUs: those that SLURM gave, those that PyTorch sees, their results, and the requirements of Triton."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ser_ray import allocation, provenance, triton_host
from ser_ray.doctor.file_systems import SHARED, file_system, nearest_existing
from ser_ray.doctor.finding import Finding, fail, ok, size, warn
from ser_ray.doctor.software import CUDA_12_INSTALL
from ser_ray.gpus.visible import EXCLUSIVE, Gpu, ProbeResult

OWN_BYTES = 0.8e9
"""Memory that CUDA itself takes on a large GPU for the probing process."""
TAKEN_SHARE = 0.1
LEAST_DRIVER = {"12": 525, "13": 580}
"""CUDA's major version -> oldest series of NVIDIA's driver that supports it."""


def findings(
    probed: ProbeResult, environment: Mapping[str, str] = os.environ, *, whole: int | None = None
) -> Iterator[Finding]:
    """Yield the findings on the GPUs here; `whole` is their number, with the slices of one GPU counted as one."""
    given, in_job = allocation.gpus_given(environment), "SLURM_JOB_ID" in environment
    driver = provenance.gpu_driver()
    if probed.crash:
        yield _fail(f"PyTorch ended while it tested the GPUs ({probed.crash})")
    elif not probed.gpus:
        yield check_none(probed, given, in_job=in_job, driver=driver, visible=environment.get("CUDA_VISIBLE_DEVICES"))
    else:
        yield check_results(probed, driver)
        yield from check_count(len(probed.gpus) if whole is None else whole, given, in_job=in_job)
        yield from check_memory(probed.gpus)
        yield from check_modes(probed.gpus)


def check_none(
    probed: ProbeResult, given: int | None, *, in_job: bool, driver: str | None, visible: str | None
) -> Finding:
    """Judge the case that PyTorch sees no GPU.

    Args:
        probed: result of the probe.
        given: number of GPUs that SLURM gave the job; None if unknown.
        in_job: whether this is a SLURM job.
        driver: version of NVIDIA's driver; None if there is none.
        visible: CUDA_VISIBLE_DEVICES; None if it is not set.
    """
    if not given and in_job:
        return ok("gpu", "the job has none; trials train on the CPU")
    if not given and driver is None:
        return ok("gpu", "none here (a login node needs none); without a GPU, trials train on the CPU")
    expected = f"SLURM gave {given}" if given else f"a driver ({driver}) is loaded"
    reason = f" ({probed.reason.split('. ')[0]})" if probed.reason else ""  # CUDA's message continues with advice
    then = "a sweep stops with an error here, unless resources.gpus is 0" if given else "trials would train on the CPU"
    return warn("gpu", f"{expected}, but PyTorch sees none{reason}: {then}", _fix(probed, driver, visible))


def _fix(probed: ProbeResult, driver: str | None, visible: str | None) -> str:
    """Return the fix that is likely to make the GPUs visible to PyTorch."""
    if probed.cuda is None:
        return "this PyTorch is a CPU build; install the torch and torchaudio of one CUDA version (make env)"
    if visible is not None and not visible.strip().replace("-1", "").replace("NoDevFiles", ""):
        return f"CUDA_VISIBLE_DEVICES is {visible!r}, which hides all GPUs: unset it, or use --gpus-per-node=N"
    if driver is None:
        return (
            "no driver is visible here: start the container with its GPU option (--nv, --gpus all), or exclude this "
            "node with sbatch --exclude"
        )
    least = LEAST_DRIVER.get(probed.cuda.partition(".")[0])
    needed = f", which needs {least} or newer" if least else ""
    older = (
        f"install torch and torchaudio built for CUDA 12 (driver {LEAST_DRIVER['12']} or newer): {CUDA_12_INSTALL}"
        if probed.cuda.partition(".")[0] != "12"
        else "install torch and torchaudio built for an older CUDA version"
    )
    return f"driver {driver} may be too old for CUDA {probed.cuda}{needed}: use nodes with a newer driver, or {older}"


def check_results(probed: ProbeResult, driver: str | None) -> Finding:
    """Judge the results of the GPUs, of which there is at least one."""
    gpus = probed.gpus
    wrong = [f"{number} ({gpu.name}): {gpu.wrong}" for number, gpu in enumerate(gpus) if gpu.wrong]
    if len(wrong) == len(gpus):
        return _fail(f"{len(wrong)} of {len(gpus)} do not work: {'; '.join(wrong)}")
    if wrong:
        return warn(
            "gpu",
            f"{len(wrong)} of {len(gpus)} do not work and are not used: {'; '.join(wrong)}",
            "report it to the cluster's administrators",
        )
    models = Counter(gpu.name for gpu in gpus)
    free, total = min(gpu.free for gpu in gpus), min(gpu.total for gpu in gpus)
    named = ", ".join(f"{count} x {name}" for name, count in models.items())
    return ok(
        "gpu",
        f"{named}, {size(free)} of {size(total)} free, driver {driver or 'unknown'}, CUDA {probed.cuda}; matrix "
        "products, convolutions and an LSTM step are computed correctly",
    )


def _fail(text: str) -> Finding:
    return fail("gpu", text, "exclude this node (sbatch --exclude=NODE) and report it to the cluster's administrators")


def check_count(visible: int, given: int | None, *, in_job: bool) -> Iterator[Finding]:
    """Yield a warning if PyTorch sees another number of GPUs than SLURM gave the job (None if unknown)."""
    if not in_job or visible == given:
        return
    if visible > (given or 0):
        yield warn(
            "gpu",
            f"PyTorch sees {visible}, but SLURM gave this job {given or 'none'}: the others may belong to another job",
            "request them with --gpus-per-node=N (or --gres=gpu:N)",
        )
    else:
        yield warn(
            "gpu",
            f"SLURM gave {given}, but PyTorch sees {visible}: the rest would be idle",
            "check CUDA_VISIBLE_DEVICES here, and the step's own --gpus-per-task or --gres",
        )


def check_memory(gpus: Sequence[Gpu]) -> Iterator[Finding]:
    """Yield a warning if other processes use more than a tenth of a GPU's memory."""
    taken = {n: gpu.total - gpu.free for n, gpu in enumerate(gpus)}
    used = [f"{size(b)} of GPU {n}" for n, b in taken.items() if b - OWN_BYTES > TAKEN_SHARE * gpus[n].total]
    if used:
        yield warn(
            "gpu",
            f"other processes use {', '.join(used)}",
            "nvidia-smi shows what; a trial's share is computed from the GPU's whole memory",
        )


def check_modes(gpus: Sequence[Gpu]) -> Iterator[Finding]:
    """Yield a warning if GPUs are in exclusive process mode; those in prohibited mode already count as not working."""
    alone = [str(number) for number, gpu in enumerate(gpus) if gpu.mode == EXCLUSIVE]
    if alone:
        yield warn(
            "gpu",
            f"GPU {', '.join(alone)} of {len(gpus)} in exclusive process mode (one process at a time): each trial gets "
            "a whole GPU, whatever resources.gpus is",
            "set resources.mps: true so that trials can share, or have the administrators set the default mode "
            "(nvidia-smi -c 0)",
        )


def triton_findings(working: int, environment: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Yield the findings on the fused operation's requirements (Triton), if any GPU works."""
    if not working:
        return
    yield check_compiler(triton_host.missing_for_launchers())
    folder = triton_host.cache_folder(environment)
    yield check_triton_cache(folder, file_system(nearest_existing(folder)))


def check_compiler(missing: str | None) -> Finding:
    """Judge whether Triton can compile its launchers; `missing` names what it lacks, or is None."""
    if missing is None:
        return ok("triton", "a C compiler and Python.h were found: resources.backend may be fused")
    without = "resources.backend: fused is refused here; auto uses plain PyTorch"
    return warn("triton", f"{missing}: {without}", triton_host.FIX)


def check_triton_cache(folder: Path, kind: str | None) -> Finding:
    """Judge the folder of Triton's compiled code, which need not exist, and its kind of file system."""
    text = f"compiled kernels are cached in {folder}" + (f", {kind}" if kind else "")
    if kind in SHARED:
        return warn(
            "triton",
            f"{text}: not on this node's own disk, and many small files are slow on a shared one",
            "unset TRITON_CACHE_DIR and TRITON_HOME, or set SER_RAY_TMP=DIR in slurm/site.env to a folder on the "
            "node's own disk",
        )
    return ok("triton", text)
