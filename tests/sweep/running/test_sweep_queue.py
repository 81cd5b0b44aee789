"""Which trial is trained next."""

from types import SimpleNamespace

from ser_ray.sweep.running.queue import Supply


class Guided:
    """A stand-in that proposes pairs of replicates."""

    def __init__(self, configurations):
        self.remaining, self.told, self.number = configurations, [], 0

    def ask(self):
        if not self.remaining:
            return ()
        self.remaining -= 1
        self.number += 1
        return tuple(SimpleNamespace(key=f"g{self.number}{seed}", config=f"c{self.number}") for seed in "ab")

    def tell(self, key, status, score):
        self.told.append((key, status, score))


def trials_of(*keys, tiny):
    return [tiny(key) for key in keys]


def test_trials_come_in_their_order_and_then_no_more(make_trial, tiny_config):
    trials = [make_trial(tiny_config(seed=seed)) for seed in (1, 2, 3)]
    supply = Supply(trials)
    assert [supply.next() for _ in range(4)] == [*trials, None]
    assert supply.exhausted
    assert list(supply.given) == [trial.key for trial in trials]


def test_nothing_is_proposed_before_there_is_room_for_it(make_trial, tiny_config):
    known, guided, seen = make_trial(tiny_config()), Guided(3), []
    supply = Supply([known], known, guided, slots=2, on_proposed=lambda planned: seen.append(planned.key))
    assert supply.next() == known
    first = supply.next()
    assert (first.key, first.config, first.folder) == ("g1a", "c1", known.folder)
    second = supply.next()  # a replicate of what is proposed already waits for nobody
    assert second.key == "g1b"
    assert supply.next() is None
    assert not supply.exhausted
    supply.ended(known.key, "finished", 0.5)
    supply.ended("g1a", "failed", None)
    assert supply.next().key == "g2a"
    assert guided.told == [(known.key, "finished", 0.5), ("g1a", "failed", None)]
    assert seen == ["g1a", "g1b", "g2a", "g2b"]
    for key in ("g1b", "g2a"):
        supply.ended(key, "stopped", 0.1)
    assert [supply.next().key for _ in range(1)] == ["g2b"]
    assert supply.next().key == "g3a"
    assert not supply.exhausted
    supply.next()
    assert supply.exhausted


def test_a_trial_that_comes_back_is_the_next(make_trial, tiny_config):
    first, second = (make_trial(tiny_config(seed=seed)) for seed in (1, 2))
    supply = Supply([first, second])
    assert supply.waiting == 2
    assert supply.next() == first
    supply.again(first.key)
    assert [supply.next(), supply.next(), supply.next()] == [first, second, None]
    assert Supply([first], first, Guided(3)).waiting == 4
