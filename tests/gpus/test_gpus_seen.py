"""What the probe's answer is read as."""

import json

from ser_ray.gpus.asking import Answer
from ser_ray.gpus.seen import Gpu, Seen, seen_by

GB = 10**9
GOOD = Gpu("H100", 80 * GB, 79 * GB, None)
IMPORTED = json.dumps({"torch": "2.11.0", "torchaudio": "2.11.0", "cuda": "13.0", "seconds": 1.0})


def test_the_answer_of_the_probe():
    gpus = [{"name": "H100", "total": 80 * GB, "free": 79 * GB, "wrong": None}]
    answer = Answer((IMPORTED, json.dumps({"gpus": gpus, "reason": None})), None, 1.0)
    assert seen_by(answer) == Seen("13.0", (GOOD,))
    assert seen_by(Answer((), "ended by SIGSEGV", 1.0)) is None
    assert seen_by(Answer((IMPORTED,), "no answer within 180 s", 180.0)) == Seen("13.0", crash="no answer within 180 s")
