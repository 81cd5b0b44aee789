"""Predictions of a trained model on any audio: `ser-ray predict MODEL AUDIO...` writes one CSV file per recording."""

import argparse
import csv
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float32, Int16
from numpy.typing import NDArray

from ser_ray.corpus.importing.audio import decode
from ser_ray.corpus.source.channels import channel_named
from ser_ray.corpus.source.problems import Problems
from ser_ray.corpus.store.reader import normalised
from ser_ray.corpus.store.schema import SAMPLE_RATE
from ser_ray.corpus.store.shards import moments
from ser_ray.errors import InputError
from ser_ray.files import whole_file
from ser_ray.plain_text import escaped, escaped_name, spreadsheet_cell
from ser_ray.results import ccc_column
from ser_ray.trained import TrainedModel, find_checkpoint, load_model, read_chains

if TYPE_CHECKING:
    from ser_ray.postprocess import PostProcessing


def predict_audio(
    trained: TrainedModel,
    samples: Int16[NDArray[np.int16], " samples"] | Float32[NDArray[np.float32], " samples"],
    *,
    name: str | Path = "the audio",
) -> Float32[NDArray[np.float32], "frames targets"]:
    """Predict one recording, without post-processing; frame i is at i / label_rate seconds.

    The samples are mono at 16 kHz. int16 is normalised here by its own mean and deviation, as in training; float32 must
    be normalised already. An incomplete last frame is dropped. Raises InputError, which calls the recording `name`, if
    it is shorter than one frame, silent, of another type, or contains values that are not finite.

    >>> from ser_ray.models import ModelConfig, build
    >>> config = ModelConfig(channels=(2, 2), kernels=(8, 8), pools=(20, 32), hidden=2)
    >>> model = TrainedModel(build(config), config, label_rate=25.0, shift_frames=(0, 0))  # or load_model("results/x")
    >>> predict_audio(model, np.arange(-16_000, 16_000, dtype=np.int16)).shape  # 2 s
    (50, 2)
    """
    from ser_ray.training.evaluate import WaveformSource, delay, predict_waveforms

    if samples.ndim != 1 or samples.dtype not in (np.int16, np.float32):
        raise InputError(f"{name} is {samples.dtype} {list(samples.shape)}, but must be int16 or float32 [samples]")
    hop = trained.config.hop
    frames = samples.size // hop
    if frames < 1:
        raise InputError(f"{name} has {samples.size} samples at {SAMPLE_RATE} Hz, fewer than one frame of {hop}")
    samples = samples[: frames * hop]
    lowest, highest = samples.min(), samples.max()
    if lowest == highest:
        raise InputError(f"{name} is silent: all its samples are {samples[0]}")
    if not np.isfinite([lowest, highest]).all():  # one NaN among the samples makes both NaN
        raise InputError(f"{name} contains samples that are NaN or infinite")
    mean, std = moments(samples.astype(np.int16, copy=False)) if samples.dtype == np.int16 else (0.0, 1.0)

    def read(start: int, stop: int) -> NDArray[np.float32]:
        return normalised(samples[start:stop], mean, std)

    return delay(predict_waveforms(trained.model, [WaveformSource(frames, read)])[0], trained.shift_frames)


def postprocessed(
    chains: Sequence["PostProcessing"], prediction: Float[NDArray[np.floating], "frames targets"]
) -> Float[NDArray[np.floating], "frames targets"]:
    """Apply each target's chain to its predictions; without chains return them unchanged."""
    from ser_ray.postprocess import apply

    if not chains:
        return prediction
    columns = zip(chains, prediction.T, strict=True)
    return np.column_stack([apply(chain, [column])[0] for chain, column in columns])


def write_predictions(path: Path, targets: Sequence[str], label_rate: float, prediction: NDArray[np.floating]) -> None:
    """Write predictions [frames, targets] to a CSV file atomically; raise InputError if it cannot be written."""
    rows = np.column_stack([np.arange(len(prediction)) / label_rate, prediction])
    try:
        with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(["time_s", *map(spreadsheet_cell, targets)])
            np.savetxt(file, rows, fmt="%.6f", delimiter=",")
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror}); choose another folder with --out DIR"
        ) from error


def main(argv: Sequence[str] | None = None) -> int:
    """Predict audio files and print a summary of each; return 0.

    Raises InputError for a mistake in the model, the options or the names of files, before anything is written. For a
    mistake in the content of an audio file it is raised after all other files are predicted.
    """
    arguments = _parser().parse_args(argv)
    channel = channel_named(arguments.channel, "--channel")
    outputs = _outputs(arguments.audio, arguments.out, overwrite=arguments.overwrite)
    checkpoint = find_checkpoint(arguments.model)
    trained = load_model(checkpoint)
    targets = trained.config.targets
    chains = [] if arguments.postprocess == "none" else read_chains(checkpoint, arguments.postprocess, targets)
    if arguments.model not in (checkpoint, checkpoint.parent):
        print(f"{arguments.model}: trial {checkpoint.parent.name} has the highest {ccc_column('devel', 'mean')}")
    _prepare(trained, arguments.out, arguments.device)
    problems = Problems("audio")
    for audio, path in _tracked(outputs):
        try:
            decoded = decode(audio, channel=channel)
            samples = decoded.samples
            prediction = postprocessed(chains, predict_audio(trained, samples, name=audio))
        except InputError as error:
            problems.add(str(error))
            continue
        for warning in decoded.warnings:
            print(f"warning: {escaped(warning)}", file=sys.stderr)
        write_predictions(path, targets, trained.label_rate, prediction)
        means = "  ".join(f"{t} {mean:+.4f}" for t, mean in zip(targets, prediction.mean(axis=0), strict=True))
        summary = f"{samples.size / SAMPLE_RATE:.2f} s  {len(prediction)} frames  {means}"
        print(f"{escaped_name(audio.name)}  {summary}  {escaped_name(str(path))}")
    problems.refuse()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "ser-ray predict", description="Predict the targets of a trained model for audio files."
    )
    parser.add_argument(
        "model", metavar="MODEL", type=Path, help="a best.pt, a folder with one, or results/<sweep> (its best trial)"
    )
    parser.add_argument(
        "audio", metavar="AUDIO", type=Path, nargs="+", help="audio file of any format, rate and number of channels"
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path(),
        help="folder of the output files NAME.csv; default: the working folder",
    )
    parser.add_argument(
        "--device",
        metavar="DEVICE",
        default="auto",
        help="auto, cpu, cuda or cuda:N; default: auto, a GPU if PyTorch can use one",
    )
    parser.add_argument(
        "--channel",
        default="",
        metavar="CHANNEL",
        help="of the audio: left, right, a number from 1, or mean; default: chosen for each file",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing output files")
    parser.add_argument(
        "--postprocess",
        choices=("none", "greedy", "exhaustive"),
        default="none",
        help="apply the chain that this search of the model's sweep found; default: raw predictions",
    )
    return parser


def _outputs(audio: Sequence[Path], out: Path, *, overwrite: bool) -> Mapping[Path, Path]:
    """Map each audio file to its output file; raise InputError for names that cannot be used."""
    problems = Problems("audio")
    named = defaultdict(list)
    for path in audio:
        named[out / f"{path.stem}.csv"].append(path)
        if path.is_dir():
            problems.add(f"{path} is a folder; name the audio files in it, such as {path / '*.wav'}")
        elif not path.exists():
            problems.add(f"{path} does not exist")
    for output, inputs in named.items():
        if len(inputs) > 1:
            same = " and ".join(map(str, inputs[:2]))
            problems.add(
                f"{same} would both be written to {output}; predict them separately, each with its own --out DIR"
            )
        if output.exists() and not overwrite:
            problems.add(f"{output} exists; replace it with --overwrite, or choose another folder with --out DIR")
    problems.refuse()
    return {inputs[0]: output for output, inputs in named.items()}


def _prepare(trained: TrainedModel, out: Path, device: str) -> None:
    """Create the output folder and move the model to its device; "auto" is a GPU if PyTorch can use one."""
    import torch

    from ser_ray.training.numerics import prepare_process

    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", device):
        raise InputError(f"--device is {device!r}, but must be auto, cpu, cuda or cuda:N")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out} cannot be created ({error.strerror}); choose another folder") from error
    prepare_process()
    available = torch.cuda.is_available()
    if device == "auto":
        device = "cuda" if available else "cpu"
    count = torch.cuda.device_count() if available else 0
    if device != "cpu" and int(device.partition(":")[2] or 0) >= count:
        visible = f"{count} GPU{'s' if count > 1 else ''}, cuda:0 to cuda:{count - 1}" if count else "no GPU"
        raise InputError(f"--device is {device}, but PyTorch sees {visible}; use --device cpu, or run ser-ray doctor")
    try:
        trained.model.to(device)
    except RuntimeError as error:  # raised for any device that is taken, full or broken
        reason = str(error).strip().splitlines()[0][:200]
        raise InputError(f"{device} cannot be used ({reason}); use another device, or --device cpu") from error


def _tracked(outputs: Mapping[Path, Path]) -> Iterator[tuple[Path, Path]]:
    """Yield audio files and their outputs, with a progress bar on stderr where that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    # the bar also redirects stdout, to print above itself; it must not do so where stdout is a pipe or file
    redirect = sys.stdout.isatty()
    console = Console(stderr=True)
    with Progress(
        console=console, transient=True, disable=not console.is_terminal, redirect_stdout=redirect
    ) as progress:
        yield from progress.track(outputs.items(), description="predicting")


if __name__ == "__main__":
    from ser_ray.process import run

    run(main)
