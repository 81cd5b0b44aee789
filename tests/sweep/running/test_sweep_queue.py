"""Which trial is trained next."""

from types import SimpleNamespace

from ser_ray.sweep.running.queue import TrialQueue


class Guided:
    """A stand-in that proposes pairs of replicates."""

    def __init__(self, configurations):
        self.remaining, self.told, self.number = configurations, [], 0

    def ask(self):
        if not self.remaining:
            return ()
        self.remaining -= 1
        self.number += 1
        return tuple(SimpleNamespace(key=f"g{self.number}{seed}") for seed in "ab")

    def tell(self, key, status, score):
        self.told.append((key, status, score))


def test_trials_come_in_their_order_and_then_no_more(make_trial, tiny_config):
    trials = [make_trial(tiny_config(seed=seed)) for seed in (1, 2, 3)]
    queue = TrialQueue(trials)
    assert [queue.next() for _ in range(4)] == [*trials, None]
    assert not queue.waiting
    assert list(queue.given) == [trial.key for trial in trials]


def test_nothing_is_proposed_before_there_is_room_for_it(make_trial, tiny_config):
    known, guided, seen = make_trial(tiny_config()), Guided(3), []
    queue = TrialQueue([known], guided, slots=2, on_proposed=lambda trial: seen.append(trial.key))
    assert queue.next() == known
    first = queue.next()
    assert first.key == "g1a"
    second = queue.next()  # a replicate of what is proposed already waits for nobody
    assert second.key == "g1b"
    assert queue.next() is None
    assert queue.waiting
    queue.ended(known.key, "finished", 0.5)
    queue.ended("g1a", "failed", None)
    assert queue.next().key == "g2a"
    assert guided.told == [(known.key, "finished", 0.5), ("g1a", "failed", None)]
    assert seen == ["g1a", "g1b", "g2a", "g2b"]
    for key in ("g1b", "g2a"):
        queue.ended(key, "stopped", 0.1)
    assert [queue.next().key for _ in range(1)] == ["g2b"]
    assert queue.next().key == "g3a"
    assert queue.waiting
    queue.next()
    assert not queue.waiting


def test_a_trial_that_comes_back_is_the_next(make_trial, tiny_config):
    first, second = (make_trial(tiny_config(seed=seed)) for seed in (1, 2))
    queue = TrialQueue([first, second])
    assert queue.waiting == 2
    assert queue.next() == first
    queue.again(first.key)
    assert [queue.next(), queue.next(), queue.next()] == [first, second, None]
    assert TrialQueue([first], Guided(3)).waiting == 4
