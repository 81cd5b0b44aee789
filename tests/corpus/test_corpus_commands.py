import numpy as np
import pytest
from rich.console import Console

from ser_ray.corpus import CorpusWriter, gold_standard, open_corpus
from ser_ray.corpus.__main__ import main
from ser_ray.corpus.describing.check import check_corpus
from ser_ray.corpus.describing.figures import corpus_figures
from ser_ray.corpus.describing.info import remarks, table
from ser_ray.corpus.importing import ingest
from ser_ray.corpus.importing.ingest import ImportConfig
from ser_ray.corpus.store.raters import rater_lines
from ser_ray.errors import InputError
from ser_ray.metrics import ccc


def test_import_says_what_to_do_next(table_source, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["import", "table", str(table_source.folder), str(out), "--name", "mine"]) == 0
    lines = capsys.readouterr().out.splitlines()
    fingerprint = open_corpus(out).fingerprint
    assert lines == [
        f"made {out}",
        "corpus mine: 0.00 h, arousal, valence at 25 Hz (one frame is 640 samples), fingerprint " + fingerprint,
        "  train 2 recordings 0.00 h; devel 1 recordings 0.00 h; test 1 recordings 0.00 h",
        f"next: ser-ray sweep sweeps/overlap.yaml --corpus {out}",
    ]


def test_import_with_options(table_source, tmp_path, capsys):
    times = np.arange(21) / 10
    rng = np.random.default_rng(0)
    raters = {f"arousal_{rater}": rng.uniform(-1, 1, 21).round(3) for rater in ("FM1", "FF2")}
    for name in table_source.partitions:
        table_source.labels(name, times, np.zeros((21, 2)))
        table_source.raters(name, times, **raters)
    table_source.table(["a,train,S", "b,train,S", "c,devel,S"])
    out = tmp_path / "out"
    assert main(["import", "table", str(table_source.folder), str(out), "--gold", "mean", "--targets", "arousal"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "warning: there are no test recordings: scores will be only for devel"
    assert lines[-1].startswith("next: ser-ray sweep sweeps/overlap.yaml --corpus ")  # designs take their hop from it
    corpus = open_corpus(out)
    expected = gold_standard(list(raters.values()), "mean")[:20].astype(np.float32)
    np.testing.assert_array_equal(corpus.gold(corpus.recordings("devel")[0])[:, 0], expected)


def test_import_tells_of_raters(table_source, tmp_path, capsys):
    times, values = table_source.traces()
    for name in table_source.partitions:
        table_source.raters(name, times, arousal_R1=values[:, 0], arousal_R2=values[:, 1], valence_R1=values[:, 1])
    assert main(["import", "table", str(table_source.folder), str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[3:5] == [f"  {line}" for line in rater_lines(tmp_path / "out")]
    assert lines[3].startswith("  arousal: 2 raters agree with CCC ")
    assert lines[4] == "  valence: 1 rater; mean weights R1 1.00"
    assert lines[5].startswith("next: ")


@pytest.mark.parametrize("written", [0, 2])
def test_an_interrupted_import_is_told_and_gone_on_with(table_source, tmp_path, capsys, monkeypatch, written):
    command = ["import", "table", str(table_source.folder), str(tmp_path / "out")]
    add = CorpusWriter.add

    def interrupting(self, *arguments, **options):
        if self.written == written:
            raise KeyboardInterrupt
        return add(self, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(CorpusWriter, "add", interrupting)
        assert main(command) == 75
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "interrupted: written recordings are kept; run the same command again to resume\n"
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    kept = "resumed an interrupted import: 2 recordings were already written"
    assert lines[: len(lines) - 4] == ([kept] if written else [])


@pytest.mark.parametrize(
    ("options", "config", "further"),
    [
        ([], ImportConfig(), {"name": None, "jobs": None}),
        (
            [
                "--gold",
                "ewe",
                "--targets",
                "valence",
                "liking",
                "--alignment",
                "start",
                "--label-rate",
                "10",
                "--rater-lag",
                "0.8",
            ],
            ImportConfig(
                gold="ewe", targets=("valence", "liking"), alignment="start", label_rate_hz=10.0, rater_lag_s=0.8
            ),
            {"name": None, "jobs": None},
        ),
        (["--channel", "Right"], ImportConfig(channel=2), {"name": None, "jobs": None}),
        (["--channel", "mean"], ImportConfig(channel="mean"), {"name": None, "jobs": None}),
        (["--name", "mine", "--jobs", "3"], ImportConfig(), {"name": "mine", "jobs": 3}),
    ],
)
def test_options_reach_the_import(monkeypatch, options, config, further):
    given = []

    def import_corpus(layout, source, out, config, **further):
        given.append((layout, source, out, config, further))
        raise InputError("far enough")

    monkeypatch.setattr(ingest, "import_corpus", import_corpus)
    with pytest.raises(InputError, match="far enough"):
        main(["import", "auto", "src", "out", *options])
    assert given == [("auto", "src", "out", config, further)]


def test_many_warnings_are_counted(table_source, tmp_path, capsys):
    names = [f"n{i}" for i in range(8)]
    table_source.table([f"{name},{'devel' if name == 'n7' else 'train'},S" for name in names])
    for name in names:
        table_source.audio(name, np.arange(12800, dtype=np.int16))
        table_source.labels(name, *table_source.traces())
    assert main(["import", "table", str(table_source.folder), str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.startswith("warning: labels of n") for line in lines[:5]] == [True] * 5
    assert lines[5] == "warning: and 4 more"


def test_synthetic_info_and_check(tmp_path, capsys):
    out = tmp_path / "made"
    command = ["synthetic", str(out), "--recordings", "2", "1", "1", "--seconds", "3", "--seed", "5"]
    assert main(command) == 0
    assert f"next: ser-ray sweep sweeps/overlap.yaml --corpus {out}" in capsys.readouterr().out
    corpus = open_corpus(out)
    assert [r.frames for r in corpus.recordings("train")] == [75, 75]
    assert main(["info", str(out)]) == 0
    said = capsys.readouterr().out
    assert f"fingerprint {corpus.fingerprint}" in said
    assert "No person was recorded" in said
    assert main(["check", str(out)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{out}: checked 4 recordings (0.00 h, 4 with gold) in 1 shard (")
    assert said.endswith("): 0 wrong, 0 warnings\n")


def test_synthetic_demo_size(tmp_path):
    assert main(["synthetic", str(tmp_path / "made"), "--size", "demo", "--seconds", "1"]) == 0
    corpus = open_corpus(tmp_path / "made")
    assert corpus.name == "synthetic-demo"
    assert [len(corpus.recordings(p)) for p in ("train", "devel", "test")] == [8, 4, 4]


def test_check_finds_a_changed_byte(small_corpus, capsys):
    shard = small_corpus / "shards" / "00000.arrow"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    open_corpus(small_corpus)  # opening does not read the audio
    assert main(["check", str(small_corpus)]) == 1
    assert "00000.arrow was altered: its SHA-256 is" in capsys.readouterr().out
    shard.write_bytes(content[:-1])
    assert main(["check", str(small_corpus)]) == 1
    assert "it is truncated or was altered" in capsys.readouterr().out
    (small_corpus / "corpus.json").unlink()
    with pytest.raises(InputError, match="incomplete"):
        check_corpus(small_corpus)


def test_info_table(small_corpus):
    console = Console(width=80, record=True)
    corpus = open_corpus(small_corpus)
    with console.capture() as capture:
        console.print(table(corpus_figures(corpus)))
    rows = {line[:16].strip(): line.split() for line in capture.get().splitlines()}
    assert rows["recordings"][1:] == ["1", "1", "1", "3"]
    assert rows["labelled"][1:] == ["1", "1", "0", "2"]
    assert rows["speakers"][1:] == ["1", "1", "1", "3"]
    assert rows["frames"][1:] == ["50", "50", "50", "150"]
    train = corpus.gold(corpus.recordings("train")[0])[:, 0].astype(np.float64)
    devel = corpus.gold(corpus.recordings("devel")[0])[:, 0].astype(np.float64)
    both = np.concatenate([train, devel])
    assert rows["arousal mean"][2:] == [f"{x:+.3f}" for x in (train.mean(), devel.mean())] + [
        "-",
        f"{both.mean():+.3f}",
    ]
    assert rows["arousal std"][2:] == [f"{x:.3f}" for x in (train.std(), devel.std())] + ["-", f"{both.std():.3f}"]


def test_remarks(small_corpus):
    corpus = open_corpus(small_corpus)
    recording = corpus.recordings("train")[0]
    agreed = ccc(*corpus.ratings(recording)["arousal"])
    figures = corpus_figures(corpus)
    lines = remarks(corpus, figures)
    assert f"arousal: up to 2 raters; mean pairwise CCC {agreed:.3f}" in lines
    assert lines[-1] == "mine"
    assert figures["all"].targets["valence"].raters == 0


def test_speakers_in_two_partitions_are_told(table_source, tmp_path):
    table_source.table(["a,train,S", "b,train,T", "c,devel,S", "d,test,U"])
    main(["import", "table", str(table_source.folder), str(tmp_path / "out")])
    corpus = open_corpus(tmp_path / "out")
    assert "warning: speakers in more than one partition: S" in remarks(corpus, corpus_figures(corpus))


def test_mistakes_are_raised(tmp_path):
    with pytest.raises(InputError, match="layout is 'nix', but must be one of auto, table, recola_avec"):
        main(["import", "nix", "a", str(tmp_path / "b")])
    with pytest.raises(InputError, match=r"seconds is 0\.0"):
        main(["synthetic", str(tmp_path / "b"), "--seconds", "0"])
    with pytest.raises(InputError, match="does not exist, so it is not a corpus"):
        main(["info", str(tmp_path / "b")])
