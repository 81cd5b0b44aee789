"""What a sweep asks of a cluster and of Tune, without starting either."""

import socket
import typing
from types import SimpleNamespace

import pytest
from ray.exceptions import RayTaskError
from ray.tune.schedulers import TrialScheduler

from ser_ray.errors import InputError
from ser_ray.models import conv_pool
from ser_ray.results import SweepFolder
from ser_ray.sweep import tune
from ser_ray.sweep.cluster import Cluster, cluster
from ser_ray.sweep.config import Backend, Resources
from ser_ray.sweep.run import SweepRun


@pytest.mark.parametrize("address", ["auto", "6379", "host:", "host:abc"])
def test_an_address_of_another_form_is_refused(address):
    with pytest.raises(InputError, match=rf"RAY_ADDRESS is '{address}', but it must be host:port"), cluster(address):
        pass


def test_an_address_where_nothing_listens_is_refused_at_once():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InputError, match=r"nothing answers there .*unset RAY_ADDRESS"), cluster(address):
            pass


def share(nodes, **resources):
    config = SimpleNamespace(resources=Resources(**resources))
    run = SweepRun(config=config, resolved="", folder=None, trials=(), labels={})
    machines = Cluster(sum(c for c, _ in nodes), sum(g for _, g in nodes), tuple(nodes))
    return run._share(machines)


def test_a_trial_takes_its_share_of_a_gpu_or_one_core_without():
    assert share([(8, 0)], cpus=4, gpus=0.25) == {"cpu": 1.0, "gpu": 0.0}
    assert share([(8, 0), (8, 2)], cpus=4, gpus=0.25) == {"cpu": 4.0, "gpu": 0.25}
    assert share([(8, 2)], cpus=4, gpus=0) == {"cpu": 1.0, "gpu": 0.0}


@pytest.mark.parametrize("asked", [{"cpus": 9, "gpus": 1.0}, {"cpus": 1, "gpus": 3.0}])
def test_a_trial_larger_than_any_node_is_refused_and_does_not_wait_for_ever(asked):
    with pytest.raises(InputError, match=r"no node has as much \(nodes have 8 CPUs and 2 GPUs\)"):
        share([(8, 2), (8, 2)], **asked)


def test_what_a_sweep_asks_to_compute_the_blocks_reaches_its_trials(monkeypatch, tmp_path):
    asked = {}

    def note(trial, device, report, **options):
        asked[str(device)] = options

    monkeypatch.setattr(tune, "train_trial", note)
    trial = SimpleNamespace(key="a", config="its configuration", folder=SweepFolder(tmp_path))
    tune._train_one({"key": "a"}, trials={"a": trial}, on_gpu=False, backend="reference")
    assert asked == {"cpu": {"backend": "reference"}}


def test_a_sweep_may_ask_for_every_back_end_there_is():
    assert typing.get_args(Backend) == typing.get_args(conv_pool.Backend)


def test_workers_begin_with_what_must_be_set_before_cuda_and_glibc_are_used(monkeypatch):
    started = {}
    monkeypatch.setattr("ray.init", lambda **options: started.update(options))
    monkeypatch.setattr("ray.nodes", list)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    with cluster():
        environment = started["runtime_env"]["env_vars"]
    assert environment["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert environment["MALLOC_ARENA_MAX"] == "1"


def test_a_trial_is_not_stopped_after_its_last_epoch():
    scheduler = SimpleNamespace(on_trial_result=lambda controller, trial, result: TrialScheduler.STOP)
    stopped = set()
    decide = tune._noting(scheduler, {"a": 10, "b": 20}, stopped).on_trial_result
    trials = {key: SimpleNamespace(config={"key": key}) for key in "ab"}
    assert decide(None, trials["a"], {"epoch": 10}) == TrialScheduler.CONTINUE
    assert decide(None, trials["b"], {"epoch": 10}) == TrialScheduler.STOP
    assert stopped == {"b"}


def test_the_reason_of_a_lost_trial_is_what_was_raised_or_a_lost_process():
    raised = RayTaskError("train", "traceback", NotADirectoryError("logs is a file"))
    assert tune._reason_of_loss(raised) == "NotADirectoryError: logs is a file (3 times)"
    assert tune._reason_of_loss(None) == "its process was lost 3 times (killed, or out of memory?)"
