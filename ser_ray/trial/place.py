"""The place of a trial: where it runs and its resources, reported by its process and stored in its row."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from ser_ray import provenance

if TYPE_CHECKING:
    import torch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """The columns of a trial's row on where it ran; all None for a trial that never started."""

    host: str | None = None
    device: str | None = None  # the GPU's name, or "cpu: " and the processor's
    cpus: float | None = None  # cores of the trial
    gpus: float | None = None  # its share of a GPU, or whole GPUs; 0 on a CPU
    gpu_driver: str | None = None  # version of NVIDIA's driver; None on a CPU, like the next two
    cuda_version: str | None = None  # that PyTorch was built with
    cudnn_version: str | None = None
    corpus_verified: bool | None = None  # compared with its hashes here; None while that is open

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Self:
        """Read the place from a trial's row."""
        return cls(**{field.name: row.get(field.name) for field in dataclasses.fields(cls)})


NOWHERE = Place()


def place_here(
    device: "torch.device", cpus: float = 1.0, gpus: float = 0.0, *, corpus_verified: bool | None = None
) -> Place:
    """Describe the place of a trial that this process trains on a device, with its cores and share of a GPU."""
    import torch

    place = Place(host=provenance.host_name(), cpus=cpus, gpus=gpus, corpus_verified=corpus_verified)
    if device.type != "cuda":
        return dataclasses.replace(place, device=f"cpu: {provenance.cpu_name()}")
    try:
        name = torch.cuda.get_device_name(device)
    except RuntimeError:  # it cannot be used, which the training will report
        name = str(device)
    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return dataclasses.replace(
        place,
        device=name,
        gpu_driver=provenance.gpu_driver(),
        cuda_version=torch.version.cuda,
        cudnn_version=None if cudnn is None else str(cudnn),
    )
