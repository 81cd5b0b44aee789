"""Does the search keep up with a GPU that ends a trial every two seconds: `python benchmarks/bench_search_pool.py`.

Trials are stand-ins: predictions of both targets at the paper's shape, 15 recordings of 7,500 frames in devel and as
many in test, written as a training writes them, and handed to the pool as a sweep does. Both methods are searched, with
the estimate for unseen recordings, and each row is written. Beside the pool: the same calls one after the other in this
process. Last, a devel partition many times as large goes through as one piece and in chunks. Wall-clock time; other
work on the machine shows in it.

    python benchmarks/bench_search_pool.py                        40 trials, one actor: as beside trials on all cores
    python benchmarks/bench_search_pool.py --actors 2 --large 20
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy.ndimage import gaussian_filter1d

from ser_ray.results import PREDICTIONS, SweepFolder, write_part
from ser_ray.sweep.nodes.ray_folder import prepare_environment
from ser_ray.trial import search_trial

RECORDINGS, FRAMES, LABEL_RATE = 15, 7500, 25.0
EVERY_S = 2.0


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--actors", type=int, default=1)
    parser.add_argument("--large", type=int, default=10, help="times the paper's devel in the large one; 0 for none")
    options = parser.parse_args()
    prepare_environment()
    from ser_ray.sweep.nodes.cluster import cluster

    with tempfile.TemporaryDirectory(prefix="bench_search_pool_") as place:
        folder = SweepFolder(Path(place) / "sweep")
        keys = [f"trial{number:03}" for number in range(options.trials)]
        predictions = made_up(np.random.default_rng(0), RECORDINGS)
        for key in ("warm", *keys):
            leave_predictions(folder, key, predictions)
        alone = by_itself(folder, keys[:5])
        with cluster():
            arriving(folder, [], options.actors, 0.0)  # what Ray's first processes cost is no part of a search
            apart = arriving(folder, keys, options.actors, EVERY_S)
            at_once = arriving(folder, keys, options.actors, 0.0).max() / len(keys)
            print(f"{RECORDINGS} + {RECORDINGS} recordings x {FRAMES:,} frames, 2 targets, actors: {options.actors}")
            print(f"  in one process, a trial       {alone:6.2f} s   (median of 5)")
            print(f"  all at once, per trial        {at_once:6.2f} s   ratio to one process {at_once / alone:.2f}")
            every = f"a trial every {EVERY_S:.0f} s, {len(keys)} trials"
            print(f"  {every:30}{np.median(apart):6.2f} s   from its end to its row (median)")
            print(f"    slowest {apart.max():.2f} s, last five {np.median(apart[-5:]):.2f} s (median)")
            behind = apart[-5:].min() > apart[:5].max() + EVERY_S
            print(f"  {'FALLS BEHIND' if behind else 'keeps up with'} a trial every {EVERY_S:.0f} s")
            if options.large:
                large(Path(place), options.large, options.actors)


def made_up(rng: np.random.Generator, recordings: int) -> pa.Table:
    """Return a table of predictions that lag behind a smooth gold, attenuated and noisy."""
    tables = []
    for partition in ("devel", "test"):
        for number in range(recordings):
            columns = {
                "recording": pa.repeat(f"{partition}_{number}", FRAMES),
                "partition": pa.repeat(partition, FRAMES),
                "frame": np.arange(FRAMES, dtype=np.int32),
                "time_s": np.arange(FRAMES) / LABEL_RATE,
            }
            for target, lag in (("arousal", 60), ("valence", 90)):
                true = 3 * gaussian_filter1d(rng.standard_normal(FRAMES + lag), 60) + 0.3 * rng.standard_normal()
                columns[f"gold_{target}"] = true[:FRAMES]
                columns[f"prediction_{target}"] = 0.5 * true[lag:] + 0.2 + 0.3 * rng.standard_normal(FRAMES)
            tables.append(pa.table(columns).select(PREDICTIONS.names).cast(PREDICTIONS))
    return pa.concat_tables(tables)


def leave_predictions(folder: SweepFolder, key: str, table: pa.Table) -> None:
    """Write them as a training does."""
    metadata = {"trial": json.dumps({"key": key, "targets": ["arousal", "valence"]}), "search": "{}"}
    write_part(folder, "predictions", key, table, metadata=metadata)


def by_itself(folder: SweepFolder, keys: list[str]) -> float:
    """Return the seconds of a search in this process, the first and its imports left out."""
    search_trial(folder, "warm")
    taken = []
    for key in keys:
        begin = time.perf_counter()
        search_trial(folder, key)
        taken.append(time.perf_counter() - begin)
    return float(np.median(taken))


def arriving(
    folder: SweepFolder, keys: list[str], actors: int, every_s: float, **options: int
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return seconds from each trial's end of training to its row, trials ending so far apart."""
    from ser_ray.sweep.running.search_pool import SearchPool

    submitted: dict[str, float] = {}
    taken: list[float] = []

    def on_done(key: str, error: Exception | None) -> None:
        if error is not None:
            raise error
        taken.append(time.perf_counter() - submitted[key])

    pool = SearchPool(folder, actors, on_done, **options)
    submitted["warm"] = time.perf_counter()
    for _ in range(actors):  # which start when there is work for them
        pool.submit("warm")
    while len(taken) < actors:
        time.sleep(0.01)
    taken.clear()
    for key in keys:
        submitted[key] = time.perf_counter()
        pool.submit(key)
        time.sleep(every_s)
    pool.close()
    return np.asarray(taken)


def large(place: Path, times: int, actors: int) -> None:
    """Print what a devel partition so many times the paper's takes, whole and in chunks."""
    folder = SweepFolder(place / "large")
    table = made_up(np.random.default_rng(1), RECORDINGS * times)
    small = made_up(np.random.default_rng(0), 1)
    leave_predictions(folder, "warm", small)
    leave_predictions(folder, "large", table)
    whole = arriving(folder, ["large"], actors, 0.0, large_medians=10**15)[0]
    chunks = arriving(folder, ["large"], actors, 0.0)[0]
    print(
        f"  devel {times} times as large: whole {whole:6.2f} s, in chunks {chunks:6.2f} s, ratio {whole / chunks:.2f}"
    )


if __name__ == "__main__":
    main()
