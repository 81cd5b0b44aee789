"""Slices of a GPU (MIG) that are not there: Ray hands them out by their UUIDs, as many shares of each as of a GPU."""

import json
import subprocess
import sys
from collections import Counter

import pytest

pytestmark = pytest.mark.slow

CODE = """
import json
from ser_ray.sweep.nodes.ray_folder import prepare_environment

prepare_environment()

import ray
from ser_ray.gpus.usable import UsableGpus, only_visible
from ser_ray.sweep.nodes.cluster import cluster, own_gpus

slices = UsableGpus(("MIG-a0", "MIG-a1", "MIG-a2"), all_visible=False)


@ray.remote
class Trial:
    def place(self):
        meant, node = own_gpus()
        with node.place(meant[0], 0.5) as gpu:
            return gpu


with only_visible(slices), cluster(gpus=len(slices.ids)) as there:
    trials = [Trial.options(num_cpus=0.1, num_gpus=0.5).remote() for _ in range(6)]
    print(json.dumps([there.gpus, ray.get([trial.place.remote() for trial in trials])]))
"""


def test_slices_are_shared_as_gpus_are(tmp_path):
    done = subprocess.run([sys.executable, "-c", CODE], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    gpus, places = json.loads(done.stdout.splitlines()[-1])
    assert gpus == 3
    assert Counter(places) == {"MIG-a0": 2, "MIG-a1": 2, "MIG-a2": 2}
