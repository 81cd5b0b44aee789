import multiprocessing
import os
import signal
import zipfile

import numpy as np
import pytest
import torch
from training_cases import CPU, run

from ser_ray.corpus import CorpusWriter, open_corpus
from ser_ray.corpus.synthetic.generate import built_in
from ser_ray.errors import InputError
from ser_ray.models import ModelConfig
from ser_ray.training.checkpoint import load_checkpoint, save_checkpoint
from ser_ray.training.config import TrainingConfig
from ser_ray.training.loop import train
from ser_ray.training.loss import LOSSES, ccc_loss
from ser_ray.training.numerics import effective_precision, prepare_process
from ser_ray.training.resident import ResidentBatches, stays_resident
from ser_ray.training.segments import shuffled_batches
from ser_ray.training.supervision import TrainingDivergedError

needs_bf16 = pytest.mark.skipif(effective_precision("bf16", CPU) != "bf16", reason="this CPU's LSTM has no bfloat16")


def weights(folder, name="last.pt"):
    return load_checkpoint(folder / name)["model"]


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_training_lowers_the_loss_and_keeps_the_best_epoch(tiny_corpus, tiny_config, tmp_path):
    config = tiny_config(epochs=12, optimizer="adam", learning_rate=5e-3)
    trained = run(tiny_corpus, config, tmp_path)
    scores = [report.devel.pooled["mean"] for report in trained.epochs]
    assert trained.epochs[-1].train_loss < trained.epochs[0].train_loss
    assert trained.best_epoch == scores.index(max(scores)) + 1
    assert [report.best for report in trained.epochs] == [s > max(scores[:i], default=-9) for i, s in enumerate(scores)]
    assert_same(trained.model.state_dict(), weights(tmp_path, "best.pt"))
    assert load_checkpoint(tmp_path / "best.pt")["epoch"] == trained.best_epoch


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"loss": "mse"},
        {"optimizer": "rmsprop_tf"},
        {"optimizer": "adam", "label_shift_s": 0.02},
        {"optimizer": "adamw", "weight_decay": 0.1, "segments": "random"},
        {"limit_recordings": 1, "limit_s": 0.1},
    ],
)
def test_variants_train_and_repeat_bit_for_bit(tiny_corpus, tiny_config, tmp_path, options):
    config = tiny_config(**options)
    first, second = run(tiny_corpus, config, tmp_path / "a"), run(tiny_corpus, config, tmp_path / "b")
    assert_same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert [r.train_loss for r in first.epochs] == [r.train_loss for r in second.epochs]


def test_another_seed_gives_other_weights(tiny_corpus, tiny_config, tmp_path):
    run(tiny_corpus, tiny_config(seed=1), tmp_path / "a")
    run(tiny_corpus, tiny_config(seed=2), tmp_path / "b")
    assert not torch.equal(weights(tmp_path / "a")["head.weight"], weights(tmp_path / "b")["head.weight"])


def test_batches_from_memory_train_the_very_weights(tiny_corpus, tiny_config, tmp_path, monkeypatch):
    config = tiny_config(segments="random", label_shift_s=0.02, limit_recordings=2, limit_s=0.2)
    run(tiny_corpus, config, tmp_path / "mapped")
    made = []

    class Noted(ResidentBatches):
        def batch(self, segments):
            made.append(len(segments))
            return super().batch(segments)

    monkeypatch.setattr("ser_ray.training.loop.stays_resident", lambda size_bytes, free_bytes: True)
    monkeypatch.setattr("ser_ray.training.loop.ResidentBatches", Noted)
    run(tiny_corpus, config, tmp_path / "resident")
    assert sum(made) == 3 * (3 + 3)  # epochs x segments: 50 and 45 frames in twenties
    assert_same(weights(tmp_path / "mapped"), weights(tmp_path / "resident"))


def test_a_cpu_reads_the_memory_map(tiny_corpus, tiny_config, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "ser_ray.training.loop.stays_resident", lambda *sizes: seen.append((*sizes, stays_resident(*sizes)))
    )
    run(tiny_corpus, tiny_config(epochs=1), tmp_path)
    assert seen == [((60 + 45 + 37) * (64 * 2 + 2 * 4), 0, False)]


@needs_bf16
def test_bfloat16_trains_and_repeats_bit_for_bit_after_an_interruption(tiny_corpus, tiny_config, tmp_path):
    config = tiny_config(precision="bf16", epochs=4, optimizer="adam")
    whole = run(tiny_corpus, config, tmp_path / "whole")
    run(tiny_corpus, tiny_config(precision="bf16", epochs=2, optimizer="adam"), tmp_path / "cut")
    run(tiny_corpus, config, tmp_path / "cut")
    full = run(tiny_corpus, tiny_config(epochs=4, optimizer="adam"), tmp_path / "full")
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert {tensor.dtype for tensor in weights(tmp_path / "whole").values()} == {torch.float32}
    for one, other in zip(whole.epochs, full.epochs, strict=True):
        assert one.train_loss != other.train_loss
        assert one.train_loss == pytest.approx(other.train_loss, abs=0.05)  # 8 bits of mantissa
        assert one.devel != other.devel
    assert (whole.backend, full.backend) == ("reference", "fused")


def test_bfloat16_is_float32_on_a_cpu_whose_lstm_has_none(tiny_corpus, tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    trained = run(tiny_corpus, tiny_config(precision="bf16"), tmp_path / "asked")
    run(tiny_corpus, tiny_config(), tmp_path / "float32")
    assert trained.backend == "fused"
    assert_same(weights(tmp_path / "asked"), weights(tmp_path / "float32"))


def test_float64_trains_as_float32_does_but_for_rounding_and_alike_with_either_back_end(
    tiny_corpus, tiny_config, tmp_path
):
    config = tiny_config(precision="float64", epochs=4, optimizer="adam")
    whole = run(tiny_corpus, config, tmp_path / "whole")
    run(tiny_corpus, tiny_config(precision="float64", epochs=2, optimizer="adam"), tmp_path / "cut")
    run(tiny_corpus, config, tmp_path / "cut")
    plain = run(tiny_corpus, config, tmp_path / "plain", backend="reference")
    single = run(tiny_corpus, tiny_config(epochs=4, optimizer="adam"), tmp_path / "single")
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert {tensor.dtype for tensor in weights(tmp_path / "whole").values()} == {torch.float64}
    assert (whole.backend, plain.backend) == ("fused", "reference")
    for one, other, float32 in zip(whole.epochs, plain.epochs, single.epochs, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, abs=1e-12)
        assert one.train_loss != float32.train_loss
        assert one.train_loss == pytest.approx(float32.train_loss, abs=1e-4)


def test_the_loss_is_float32_unless_float64_is_asked_for(tiny_corpus, tiny_config, tmp_path, monkeypatch):
    seen = set()

    def loss(prediction, gold, mask):
        seen.add((prediction.dtype, gold.dtype, torch.is_autocast_enabled("cpu")))
        return ccc_loss(prediction, gold, mask)

    monkeypatch.setitem(LOSSES, "ccc", loss)
    run(tiny_corpus, tiny_config(precision="bf16", epochs=1), tmp_path / "bf16")
    assert seen == {(torch.float32, torch.float32, False)}
    seen.clear()
    run(tiny_corpus, tiny_config(precision="float64", epochs=1), tmp_path / "float64")
    assert seen == {(torch.float64, torch.float32, False)}


def test_tf32_is_float32_on_a_cpu(tiny_corpus, tiny_config, tmp_path):
    run(tiny_corpus, tiny_config(), tmp_path / "a")
    assert torch.are_deterministic_algorithms_enabled()
    run(tiny_corpus, tiny_config(precision="tf32", deterministic=False), tmp_path / "b")
    assert torch.backends.cuda.matmul.allow_tf32, "asked of a GPU, had it been there"
    assert not torch.are_deterministic_algorithms_enabled()
    prepare_process()
    assert_same(weights(tmp_path / "a"), weights(tmp_path / "b"))


@pytest.mark.parametrize(("backend", "used"), [("auto", "fused"), ("fused", "fused"), ("reference", "reference")])
def test_the_blocks_are_computed_as_asked(tiny_corpus, tiny_config, tmp_path, monkeypatch, backend, used):
    config = tiny_config(epochs=1)

    def reference_alone(*arguments, **options):
        raise AssertionError("the reference computed")

    if used == "fused":
        monkeypatch.setattr("ser_ray.models.conv_pool.reference.conv_pool", reference_alone)
    else:
        monkeypatch.setattr("ser_ray.models.conv_pool.cpu.conv_pool", reference_alone)
    trained = train(
        config.model, config.training, tiny_corpus, tmp_path, device=CPU, on_epoch=lambda r: None, backend=backend
    )
    assert trained.backend == used


@pytest.mark.parametrize(
    ("optimizer", "learning_rate", "precision", "tolerance"),
    [("rmsprop", 1e-4, "float32", 1e-6), ("adam", 2e-3, "float64", 1e-11)],
)
def test_the_fused_blocks_train_as_the_reference_does(
    tmp_path, monkeypatch, optimizer, learning_rate, precision, tolerance
):
    """From the same weights, segments and masks: each of 31 steps has the same loss, but for rounding.

    At these rates Adam makes 1e-5 of float32's rounding within 30 steps, on some kinds of CPU.
    """
    corpus = open_corpus(built_in("synthetic-demo", tmp_path / "corpora"))
    model = ModelConfig(channels=(16, 32, 64), hidden=64)
    config = TrainingConfig(
        epochs=1, sequence_s=3.2, optimizer=optimizer, learning_rate=learning_rate, precision=precision
    )
    losses = {"reference": [], "fused": []}
    for backend, own in losses.items():

        def noted(*tensors, own=own):
            loss = ccc_loss(*tensors)
            own.append(loss.item())
            return loss

        monkeypatch.setitem(LOSSES, "ccc", noted)
        train(model, config, corpus, tmp_path / backend, device=CPU, on_epoch=lambda reports: None, backend=backend)
    assert len(losses["fused"]) == 31
    assert losses["fused"] == pytest.approx(losses["reference"], rel=0, abs=tolerance)
    assert losses["fused"][-1] < losses["fused"][0]


def test_other_pools_than_the_largest_have_the_reference_alone(tiny_corpus, tiny_config, tmp_path):
    config = tiny_config(epochs=1)
    model = type(config.model)(**{**vars(config.model), "pooling": "average"})
    trained = train(model, config.training, tiny_corpus, tmp_path, device=CPU, on_epoch=lambda r: None, backend="fused")
    assert trained.backend == "reference"


@pytest.mark.parametrize("options", [{"segments": "random"}, {"weight_decay": 0.1}, {"optimizer": "adamw"}], ids=str)
def test_each_setting_trains_other_weights(tiny_corpus, tiny_config, tmp_path, options):
    common = {"optimizer": "adam", "weight_decay": 0.01}
    run(tiny_corpus, tiny_config(**common), tmp_path / "a")
    run(tiny_corpus, tiny_config(**{**common, **options}), tmp_path / "b")
    assert not torch.equal(weights(tmp_path / "a")["head.weight"], weights(tmp_path / "b")["head.weight"])


def test_random_segments_are_drawn_anew_in_every_epoch(tiny_corpus, tiny_config, tmp_path, monkeypatch):
    seen = []

    def noting(segments, *arguments):
        seen.append({(s.recording.name, s.start_frame, s.frames) for s in segments})
        return shuffled_batches(segments, *arguments)

    monkeypatch.setattr("ser_ray.training.loop.shuffled_batches", noting)
    run(tiny_corpus, tiny_config(segments="random", epochs=2), tmp_path / "a")
    run(tiny_corpus, tiny_config(segments="grid", epochs=2), tmp_path / "b")
    assert seen[0] != seen[1]
    assert seen[2] == seen[3] != seen[0]


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "rmsprop"},
        {"optimizer": "rmsprop_tf"},
        {"optimizer": "adam"},
        {"optimizer": "adamw", "weight_decay": 0.1, "segments": "random"},
        {"optimizer": "rmsprop_tf", "weight_decay": 0.1, "segments": "random"},
    ],
    ids=str,
)
@pytest.mark.parametrize("stop_after", [1, 3])
def test_an_interrupted_run_ends_with_the_weights_of_an_undisturbed_one(
    tiny_corpus, tiny_config, tmp_path, options, stop_after
):
    config = tiny_config(epochs=5, patience=4, **options)
    whole = run(tiny_corpus, config, tmp_path / "whole")

    def interrupt(reports):
        if len(reports) == stop_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tiny_corpus, config, tmp_path / "cut", on_epoch=interrupt)
    torch.manual_seed(12345)  # whatever happened in between
    torch.randn(7)
    resumed = run(tiny_corpus, config, tmp_path / "cut")
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert_same(whole.model.state_dict(), resumed.model.state_dict())
    assert [r.devel for r in whole.epochs] == [r.devel for r in resumed.epochs]


def _train_and_report(path, config, folder, epochs):
    def report(reports):
        epochs.put(len(reports))

    run(open_corpus(path), config, folder, on_epoch=report)


@pytest.mark.parametrize(
    ("when", "options"),
    [(1, {}), (2, {"optimizer": "adamw", "weight_decay": 0.1, "segments": "random"})],
    ids=str,
)
def test_a_killed_process_started_again_ends_with_the_same_weights(tiny_corpus, tiny_config, tmp_path, when, options):
    config = tiny_config(epochs=40, **options)
    run(tiny_corpus, config, tmp_path / "whole")
    context = multiprocessing.get_context("spawn")
    epochs = context.Queue()
    process = context.Process(
        target=_train_and_report, args=(tiny_corpus.path, config, tmp_path / "cut", epochs), daemon=True
    )
    process.start()
    while epochs.get(timeout=120) < when:
        pass
    os.kill(process.pid, signal.SIGKILL)  # anywhere in the epochs that follow, in a step or in a checkpoint
    process.join()
    assert len(load_checkpoint(tmp_path / "cut" / "last.pt")["epochs"]) < 40
    run(tiny_corpus, config, tmp_path / "cut")
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert_same(weights(tmp_path / "whole", "best.pt"), weights(tmp_path / "cut", "best.pt"))


def test_threads_of_the_host_do_not_change_the_weights(tiny_corpus, tiny_config, tmp_path):
    run(tiny_corpus, tiny_config(), tmp_path / "one")
    torch.set_num_threads(2)
    run(tiny_corpus, tiny_config(), tmp_path / "two")
    assert torch.get_num_threads() == 1
    assert_same(weights(tmp_path / "one"), weights(tmp_path / "two"))


def test_more_epochs_go_on_from_fewer(tiny_corpus, tiny_config, tmp_path):
    run(tiny_corpus, tiny_config(epochs=2), tmp_path / "a")
    run(tiny_corpus, tiny_config(epochs=5), tmp_path / "a")
    run(tiny_corpus, tiny_config(epochs=5), tmp_path / "b")
    assert_same(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_patience_ends_a_training_without_progress(tiny_corpus, tiny_config, tmp_path):
    trained = run(tiny_corpus, tiny_config(epochs=60, patience=3, learning_rate=0.05), tmp_path)
    assert len(trained.epochs) == trained.best_epoch + 3 < 60


def test_a_diverging_loss_ends_the_training_with_its_reason(tiny_corpus, tiny_config, tmp_path):
    config = tiny_config(loss="mse", learning_rate=1e6, epochs=50)
    with pytest.raises(
        TrainingDivergedError, match=r"the mse loss is .* in epoch \d+, batch \d+: the training diverged"
    ):
        run(tiny_corpus, config, tmp_path)


@pytest.fixture
def corpus_of_hundred(tmp_path):
    """Noise with labels from 0 to 100, as sliders give them."""
    rng = np.random.default_rng(0)
    with CorpusWriter(tmp_path / "hundred", name="h", label_rate=250.0, targets=("arousal", "valence")) as writer:
        for name in ("train", "devel"):
            audio = rng.normal(0, 3000, 100 * 64).astype(np.int16)
            writer.add(name, name, name, audio, rng.uniform(0, 100, (100, 2)).astype(np.float32))
    return open_corpus(tmp_path / "hundred")


def test_labels_on_another_scale_are_no_divergence(corpus_of_hundred, tiny_config, tmp_path):
    trained = run(corpus_of_hundred, tiny_config(loss="mse"), tmp_path / "a")
    assert len(trained.epochs) == 3
    assert 1e3 < trained.epochs[0].train_loss < 1e4  # the mean square of labels that are uniform is 3,333
    with pytest.raises(TrainingDivergedError, match="the mse loss is"):
        run(corpus_of_hundred, tiny_config(loss="mse", learning_rate=1e6, epochs=50), tmp_path / "b")


def test_a_nan_loss_ends_the_training(tiny_corpus, tiny_config, tmp_path):
    """One step this large makes weights of which no prediction is a number."""
    with pytest.raises(TrainingDivergedError, match="the ccc loss is nan in epoch 1, batch 2"):
        run(tiny_corpus, tiny_config(learning_rate=1e38), tmp_path)


def test_a_single_target_trains_on_its_own_column(tiny_corpus, tiny_config, tmp_path):
    config = tiny_config()
    model = type(config.model)(**{**vars(config.model), "targets": ("valence",)})
    trained = train(model, config.training, tiny_corpus, tmp_path, device=CPU, on_epoch=lambda r: None)
    assert set(trained.epochs[0].devel.pooled) == {"valence", "mean"}


def test_a_checkpoint_is_whole_or_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"epoch": 1})

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(path, {"epoch": 2})
    assert load_checkpoint(path) == {"epoch": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_damaged_checkpoints_are_named(tmp_path):
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"epoch": 1})
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"last.pt is not a readable checkpoint \(File is not a zip file\)"):
        load_checkpoint(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="not a readable checkpoint"):
        load_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:  # whole, but its pickle asks for an object that it never made
        archive.writestr("last/data.pkl", b"\x80\x02h\x05.")
        archive.writestr("last/version", b"3\n")
    with pytest.raises(InputError, match="not a readable checkpoint"):
        load_checkpoint(path)


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def test_code_in_a_checkpoint_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Bomb()}, tmp_path / "last.pt")
    with pytest.raises(InputError, match="not a readable checkpoint"):
        load_checkpoint(tmp_path / "last.pt")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_trains_as_the_cpu_does_and_resumes_there(tiny_corpus, tiny_config, tmp_path):
    config = tiny_config(epochs=3)
    model = type(config.model)(**{**vars(config.model), "dropout": 0.0})  # the devices draw other masks

    def on(device, folder):
        return train(model, config.training, tiny_corpus, folder, device=device, on_epoch=lambda reports: None)

    gpu = on(torch.device("cuda:0"), tmp_path / "gpu")
    cpu = on(CPU, tmp_path / "cpu")
    assert next(gpu.model.parameters()).is_cuda
    for one, other in zip(gpu.epochs, cpu.epochs, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, abs=1e-3)
    again = on(torch.device("cuda:0"), tmp_path / "gpu")
    assert again.epochs == gpu.epochs
