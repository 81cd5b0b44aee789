"""Event files: read back by TensorFlow's description of the format, and shown as TensorBoard would."""

import json
import os
import struct

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from ser_ray.results import CCC_COLUMNS
from ser_ray.sweep.running.tensorboard import TensorBoard

_POLYNOMIAL = 0x82F63B78
"""Castagnoli's, bits reversed."""


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(content):
    """The records of a file: length and its checksum, data and its checksum; little-endian."""
    while content:
        (length,), (check,) = struct.unpack("<Q", content[:8]), struct.unpack("<I", content[8:12])
        data, (check_data,) = content[12 : 12 + length], struct.unpack("<I", content[12 + length : 16 + length])
        assert (check, check_data) == (masked(content[:8]), masked(data))
        assert len(data) == length
        yield data
        content = content[16 + length :]


def events(folder):
    """The events of a trial: files in the order of their names, as TensorBoard reads them."""
    found = []
    for path in sorted(folder.iterdir()):
        assert path.name.startswith("events.out.tfevents.")
        own = [Event.FromString(data) for data in records(path.read_bytes())]
        assert own[0].file_version == "brain.Event:2"
        assert all(not event.file_version for event in own[1:])
        assert all(event.wall_time > 1.7e9 for event in own)
        found += own[1:]
    return found


def curves(folder):
    """Tag -> (step, value), as shown: a session that starts at a step discards what earlier ones wrote from it on."""
    shown = {}
    for event in events(folder):
        if event.session_log.status == SessionLog.START:
            shown = {tag: [point for point in points if point[0] < event.step] for tag, points in shown.items()}
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                shown.setdefault(value.tag, []).append((event.step, pytest.approx(value.simple_value, rel=1e-6)))
    return shown


@pytest.fixture
def board(tmp_path):
    """Make a writer as another process would be: with a later file name."""
    made = []

    def make():
        made.append(TensorBoard(tmp_path / "tensorboard", f".{len(made):02d}"))
        return made[-1]

    yield make
    for writer in made:
        writer.close()


def figures(epoch, scale=1.0):
    return {
        "epoch": epoch,
        "train_loss": scale / epoch,
        "ccc_devel_mean": 0.1 * epoch * scale,
        "ccc_devel_arousal": 0.2,
        "seconds": 3.0,
        "trial_id": "x",
    }


def test_each_figure_is_a_curve(board, tmp_path):
    writer = board()
    for epoch in (1, 2, 3):
        writer.epoch("k1", figures(epoch))
        writer.epoch("k2", figures(epoch, 0.5))
    writer.close()
    assert curves(tmp_path / "tensorboard" / "k1") == {
        "train_loss": [(1, 1.0), (2, 0.5), (3, 1 / 3)],
        "ccc_devel_mean": [(1, 0.1), (2, 0.2), (3, 0.3)],
        "ccc_devel_arousal": [(1, 0.2), (2, 0.2), (3, 0.2)],
    }
    assert curves(tmp_path / "tensorboard" / "k2")["train_loss"] == [(1, 0.5), (2, 0.25), (3, 0.5 / 3)]
    assert sorted(path.name for path in (tmp_path / "tensorboard").iterdir()) == ["k1", "k2"]


def test_a_trial_that_goes_on_after_a_restart_shows_no_step_twice(board, tmp_path):
    first = board()
    for epoch in (1, 2, 3, 4):
        first.epoch("k1", figures(epoch))
    second = board()  # the driver was killed; the checkpoint before the last one was whole
    for epoch in (3, 4, 5):
        second.epoch("k1", figures(epoch, 2.0))
    shown = curves(tmp_path / "tensorboard" / "k1")
    assert shown["train_loss"] == [(1, 1.0), (2, 0.5), (3, 2 / 3), (4, 0.5), (5, 0.4)]
    assert [step for step, _ in shown["ccc_devel_mean"]] == [1, 2, 3, 4, 5]


def test_a_trial_whose_worker_was_lost_shows_no_step_twice(board, tmp_path):
    writer = board()
    for epoch in (1, 2, 3, 3, 2, 3, 4):
        writer.epoch("k1", figures(epoch))
    steps = [event.step for event in events(tmp_path / "tensorboard" / "k1") if event.summary.value]
    assert steps == [1, 2, 3, 4], "not even in the file"


def test_figures_that_do_not_exist_are_no_points(board, tmp_path):
    writer = board()
    writer.epoch("k1", {**figures(1), "ccc_devel_mean": float("nan"), "ccc_devel_arousal": None})
    assert curves(tmp_path / "tensorboard" / "k1") == {"train_loss": [(1, 1.0)]}


CONFIG = {
    "trial_version": 2,
    "corpus_fingerprint": "f0",
    "model": {"kernels": [8, 6, 6], "dropout": 0.5, "pooling": "max"},
    "training": {"epochs": 6, "deterministic": True, "patience": None},
}


def test_in_the_end_the_configuration_and_what_it_came_to(board, tmp_path):
    writer = board()
    for epoch in (1, 2):
        writer.epoch("k1", figures(epoch))
    scores = {name: n / 100 for n, name in enumerate(CCC_COLUMNS)} | {"ccc_test_valence": None}
    row = {"status": "finished", "epochs": 2, "config": json.dumps(CONFIG), "device": "cpu", **scores}
    writer.finished("k1", row)
    folder = tmp_path / "tensorboard" / "k1"
    final = {tag: points for tag, points in curves(folder).items() if tag.startswith("final/")}
    assert final == {f"final/{name}": [(2, value)] for name, value in scores.items() if value is not None}
    plugin = {
        value.tag: HParamsPluginData.FromString(value.metadata.plugin_data.content)
        for event in events(folder)
        for value in event.summary.value
        if value.metadata.plugin_data.plugin_name == "hparams"
    }
    settings = plugin["_hparams_/session_start_info"].session_start_info.hparams
    assert {name: getattr(value, value.WhichOneof("kind")) for name, value in settings.items()} == {
        "model.kernels": "[8, 6, 6]",
        "model.dropout": 0.5,
        "model.pooling": "max",
        "training.epochs": 6.0,
        "training.deterministic": True,
        "training.patience": "null",
        "status": "finished",
    }
    metrics = plugin["_hparams_/experiment"].experiment.metric_infos
    assert {metric.name.tag for metric in metrics} == set(final)
    assert "_hparams_/session_end_info" in plugin


def test_a_trial_that_failed_before_its_first_epoch_has_its_end(board, tmp_path):
    writer = board()
    writer.finished("k1", {"status": "failed", "epochs": None, "config": json.dumps(CONFIG)})
    assert len(events(tmp_path / "tensorboard" / "k1")) == 4


def test_what_is_written_is_on_the_disk_at_once(board, tmp_path):
    writer = board()
    writer.epoch("k1", figures(1))
    (path,) = (tmp_path / "tensorboard" / "k1").iterdir()
    before = path.read_bytes()
    assert len(list(records(before))) == 3, "written at once"
    writer.epoch("k1", figures(2))
    assert path.read_bytes().startswith(before)


def test_a_trial_that_has_ended_holds_no_file_open(board, tmp_path):
    writer, before = board(), set(os.listdir("/proc/self/fd"))
    for key, end in (("k1", writer.ended), ("k2", lambda key: writer.finished(key, {"status": "stopped"}))):
        writer.epoch(key, figures(1))
        assert len(set(os.listdir("/proc/self/fd")) - before) == 1
        end(key)
        assert not set(os.listdir("/proc/self/fd")) - before
    writer.epoch("k3", figures(1))
    writer.close()
    assert not set(os.listdir("/proc/self/fd")) - before


def test_the_checksum_of_this_test_is_the_known_one():
    assert crc32c(b"123456789") == 0xE3069283
