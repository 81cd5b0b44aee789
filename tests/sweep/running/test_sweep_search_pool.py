"""The pool of search actors, on a small Ray of its own."""

import itertools
import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import ray

from ser_ray.errors import InputError
from ser_ray.postprocess import running_median
from ser_ray.results import PREDICTIONS, SweepFolder, read_table, write_part
from ser_ray.sweep.nodes.cluster import cluster
from ser_ray.sweep.running import search_pool
from ser_ray.sweep.running.search_pool import SearchLostError, SearchPool
from ser_ray.trial import search_trial

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def machines():
    with cluster() as found:
        yield found


@pytest.fixture
def folder(tmp_path):
    return SweepFolder(tmp_path / "sweep")


def put_predictions(folder, key, seed=0, frames=60, recordings=1, bad=()):
    """Of one target; `bad` names recordings with a prediction that is no number."""
    rng = np.random.default_rng(seed)
    columns = {
        "recording": [],
        "partition": [],
        "frame": [],
        "time_s": [],
        "gold_arousal": [],
        "prediction_arousal": [],
    }
    for partition, number in itertools.product(("devel", "test"), range(recordings)):
        gold = np.cumsum(rng.normal(size=frames))
        prediction = 0.5 * gold + rng.normal(size=frames)
        name = f"{partition}_{number}"
        prediction[3] = np.nan if name in bad else prediction[3]
        columns["recording"] += [name] * frames
        columns["partition"] += [partition] * frames
        columns["frame"] += range(frames)
        columns["time_s"] += (np.arange(frames) / 25).tolist()
        columns["gold_arousal"] += gold.tolist()
        columns["prediction_arousal"] += prediction.tolist()
    nulls = dict.fromkeys(("gold_valence", "prediction_valence"), pa.nulls(len(columns["frame"])))
    table = pa.table({**columns, **nulls}).select(PREDICTIONS.names).cast(PREDICTIONS)
    metadata = {
        "trial": json.dumps({"key": key, "targets": ["arousal"]}),
        "search": json.dumps({"methods": ["greedy", "exhaustive"]}),
    }
    return write_part(folder, "predictions", key, table, metadata=metadata)


class Told:
    """What a pool reports."""

    def __init__(self):
        self.events = []
        self.rows = {}

    def pool(self, folder, actors=1, **options):
        def on_done(key, error):
            self.rows[key] = folder.part("trials", key).exists()
            self.events.append((key, error))

        return SearchPool(folder, actors, on_done, **options)

    def wait_for(self, count, seconds=120):
        wait_until(lambda: len(self.events) >= count, seconds)

    @property
    def errors(self):
        return dict(self.events)


@pytest.fixture
def told(machines):
    return Told()


def wait_until(true, seconds=120):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def pids_of(pool):
    return [ray.get(actor.__ray_call__.remote(lambda actor: os.getpid())) for actor in pool._actors]


def dead(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.fixture
def quick_actor(folder, monkeypatch):
    """Actors whose search waits for a file of the key's name, and is deadly if the key says so."""
    folder.path.mkdir()

    class QuickActor:
        def __init__(self, folder, config, large_medians):
            self.folder = folder.path

        def begin(self, key):
            folder = self.folder
            (folder / f"begun-{key}").touch()
            if key == "deadly":
                with open(folder / "tries", "a") as tries:
                    print(key, file=tries)
                os.kill(os.getpid(), signal.SIGKILL)
            while not (folder / key).exists():
                time.sleep(0.01)
            return None, None

    monkeypatch.setattr(search_pool, "SearchActor", QuickActor)


def test_every_key_is_searched_and_told_once_and_damaged_parts_fail_alone(told, folder):
    good, bad = ["k0", "k1", "k2", "k3"], ["damaged", "absent"]
    for n, key in enumerate(good):
        put_predictions(folder, key, seed=n)
    folder.part("predictions", "damaged").write_bytes(b"PAR1 and then rubbish")
    pool = told.pool(folder, actors=2)
    assert pool._actors == [], "no process is started before there is work for it"
    for key in ("k0", "damaged", "k1"):
        pool.submit(key)
    told.wait_for(3)  # while it is open already
    assert len(pool._actors) == 2
    environment = ray.get(pool._actors[0].__ray_call__.remote(lambda actor: dict(os.environ)))
    for key in ("absent", "k2", "k3"):
        pool.submit(key)
    pool.close()
    assert sorted(key for key, _ in told.events) == sorted(good + bad)
    assert {told.errors[key] for key in good} == {None}
    for key in bad:
        assert isinstance(told.errors[key], InputError)
        assert str(told.errors[key]).startswith(f"{folder.part('predictions', key)} cannot be read")
    assert told.rows == dict.fromkeys(good, True) | dict.fromkeys(bad, False), "told when the row is there"
    rows = read_table(folder, "trials").to_pylist()
    assert [row["key"] for row in rows] == good
    assert {row["status"] for row in rows} == {"finished"}
    assert len({row["ccc_devel_exhaustive_arousal"] for row in rows}) == len(good)
    assert not pool._thread.running
    assert environment["CUDA_VISIBLE_DEVICES"] == "", "a search must not wake a GPU"
    assert environment["OMP_NUM_THREADS"] == environment["OPENBLAS_NUM_THREADS"] == "1"


def test_a_killed_search_is_done_again_and_closing_waits_for_it(machines, told, folder):
    for key in ("first", "slow", "next"):
        put_predictions(folder, key)
    pool = told.pool(folder)
    pool.submit("first")
    told.wait_for(1)
    (pid,) = pids_of(pool)
    os.kill(pid, signal.SIGSTOP)
    pool.submit("slow")
    pool.submit("next")
    assert ray.available_resources()["CPU"] == machines.cpus, "no core of a trial is taken"
    closing = threading.Thread(target=pool.close)
    closing.start()
    closing.join(timeout=1)
    assert closing.is_alive()
    assert told.events == [("first", None)]
    os.kill(pid, signal.SIGKILL)
    closing.join(timeout=120)
    assert dead(pid)
    assert told.events == [("first", None), ("slow", None), ("next", None)]


def test_a_search_that_kills_its_actor_fails_alone(told, folder, quick_actor):
    pool = told.pool(folder)
    for key in ("k1", "deadly", "k2"):
        (folder.path / key).write_text("go")
        pool.submit(key)
    pool.close()
    assert [key for key, _ in told.events] == ["k1", "deadly", "k2"]
    assert told.errors["k1"] is told.errors["k2"] is None
    assert type(told.errors["deadly"]) is SearchLostError
    assert str(told.errors["deadly"]) == "its process died 4 times (killed, or out of memory?)"
    assert (folder.path / "tries").read_text() == "deadly\n" * 4, "once, and three times again"


def test_what_is_raised_when_told_ends_no_search_and_is_raised_at_the_end(machines, folder, quick_actor):
    told = []

    def on_done(key, error):
        told.append((key, error))
        if len(told) < 3:
            raise OSError(28, f"No space left for {key}")

    for key in ("a", "b", "c"):
        (folder.path / key).write_text("go")
    pool = SearchPool(folder, 1, on_done)
    for key in ("a", "b", "c"):
        pool.submit(key)
    with pytest.raises(OSError, match="No space left for a"):
        pool.close()
    assert told == [("a", None), ("b", None), ("c", None)]


def test_an_actor_has_its_kernel_before_a_search_is_timed(folder):
    running_median._kernel.cache_clear()
    search_pool.SearchActor(folder, None, 0)
    assert running_median._kernel.cache_info().currsize == 1


def test_no_trial_is_begun_before_an_actor_is_free_for_it(told, folder, quick_actor):
    pool = told.pool(folder, actors=2)
    keys = [f"k{number}" for number in range(6)]
    for key in keys:
        pool.submit(key)
    for done in range(len(keys)):
        wait_until(lambda done=done: len(list(folder.path.glob("begun-*"))) == min(done + 2, len(keys)))
        time.sleep(0.1)
        assert len(list(folder.path.glob("begun-*"))) == min(done + 2, len(keys))
        assert len(pool._running) + len(pool._calls) <= 2
        (folder.path / keys[done]).write_text("go")
        told.wait_for(done + 1)
    pool.close()
    assert sorted(told.events) == [(key, None) for key in keys]


def searched(folder):
    """All that searches wrote, less what time they took."""
    rows = {table: read_table(folder, table).to_pylist() for table in ("trials", "postprocessing")}
    times = {"search_seconds", "ended_at", "seconds"}
    return {table: [{c: v for c, v in row.items() if c not in times} for row in rows[table]] for table in rows}


@pytest.fixture
def watched_actor(folder, monkeypatch):
    """Actors that leave word of each chunk and of how its predictions came; one ends at its first chunk, if asked."""

    class WatchedActor(search_pool.SearchActor):
        def sums(self, search, target, fold):
            deadly = folder.path / "deadly"
            if deadly.exists():
                deadly.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
            devel = search.devel[target]
            shared = not devel.predictions.flags.writeable and not devel.predictions.flags.owndata
            with open(folder.path / "chunks", "a") as file:
                print(os.getpid(), target, fold, shared, file=file)
            return super().sums(search, target, fold)

    monkeypatch.setattr(search_pool, "SearchActor", WatchedActor)


@pytest.mark.parametrize("deadly", [False, True])
def test_a_large_search_is_shared_out_and_finds_the_same(told, folder, tmp_path, watched_actor, deadly):
    whole = SweepFolder(tmp_path / "whole")
    for number, key in enumerate(("k0", "k1")):
        for place in (folder, whole):
            put_predictions(place, key, seed=number, recordings=3)
        search_trial(whole, key)
    if deadly:
        (folder.path / "deadly").touch()
    pool = told.pool(folder, actors=2, large_medians=0)
    for key in ("k0", "k1"):
        pool.submit(key)
    pool.close()
    assert told.errors == {"k0": None, "k1": None}
    assert searched(folder) == searched(whole)
    chunks = [line.split() for line in (folder.path / "chunks").read_text().splitlines()]
    assert {tuple(chunk[1:3]) for chunk in chunks} == {("0", "0"), ("0", "1"), ("0", "2")}
    assert len({chunk[0] for chunk in chunks}) >= 2, "both actors had some"
    assert {chunk[3] for chunk in chunks} == {"True"}, "predictions are not copied"
    assert len(chunks) >= 6 if deadly else len(chunks) == 6


@pytest.mark.parametrize("large_medians", [0, search_pool.LARGE_MEDIANS])
def test_predictions_that_are_no_numbers_fail_their_own_trial_alone(told, folder, large_medians):
    put_predictions(folder, "good", recordings=2)
    put_predictions(folder, "bad", recordings=2, bad=["test_1"])
    pool = told.pool(folder, large_medians=large_medians)
    for key in ("bad", "good"):
        pool.submit(key)
    pool.close()
    assert told.errors["good"] is None
    assert "the arousal predictions of recording test_1 are NaN or infinite in 1 of 60 frames" in str(
        told.errors["bad"]
    )
    assert isinstance(told.errors["bad"], InputError)
    assert folder.keys("trials") == {"good"}


def test_a_pool_without_work_closes_at_once(told, folder):
    begin = time.monotonic()
    told.pool(folder).close()
    assert time.monotonic() - begin < 60
    assert told.events == []


def test_a_feeder_that_ended_since_ray_is_lost_is_left_to_who_notices_that(monkeypatch, tmp_path):
    def lost(pool):
        raise ray.exceptions.RaySystemError("the node manager is gone")

    monkeypatch.setattr(SearchPool, "_feed", lost)
    noticed_at = time.monotonic() + 0.5
    SearchPool(SweepFolder(tmp_path), 1, print).close(now=lambda: time.monotonic() > noticed_at)
    monkeypatch.setattr("ser_ray.sweep.running.search_pool.NOTICED_S", 0.1)
    with pytest.raises(ray.exceptions.RaySystemError, match="node manager is gone"):
        SearchPool(SweepFolder(tmp_path), 1, print).close()
