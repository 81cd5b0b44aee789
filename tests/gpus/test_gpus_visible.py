"""What a probe prints, as it is read."""

import json

from ser_ray.gpus.run_python import PythonOutput
from ser_ray.gpus.visible import Gpu, ProbeResult, VisibleGpus, read_probe

GB = 10**9
GOOD = Gpu("H100", 80 * GB, 79 * GB, None)
IMPORTED = json.dumps({"torch": "2.11.0", "torchaudio": "2.11.0", "cuda": "13.0", "seconds": 1.0})


def test_the_answer_of_the_probe():
    gpus = [{"name": "H100", "total": 80 * GB, "free": 79 * GB, "wrong": None}]
    answer = PythonOutput((IMPORTED, json.dumps({"gpus": gpus, "reason": None})), None, 1.0)
    assert read_probe(answer) == ProbeResult("13.0", (GOOD,))
    assert read_probe(PythonOutput((), "ended by SIGSEGV", 1.0)) is None
    assert read_probe(PythonOutput((IMPORTED,), "no answer within 180 s", 180.0)) == ProbeResult(
        "13.0", crash="no answer within 180 s"
    )


def test_the_names_of_those_that_compute_rightly():
    bad = Gpu("H100", 80 * GB, 79 * GB, "ECC")
    assert VisibleGpus(ProbeResult("13.0", (GOOD, bad, GOOD)), ("0", "GPU-b", "5")).working == ("0", "5")
    assert VisibleGpus(ProbeResult("13.0")).working == VisibleGpus(None).working == ()
