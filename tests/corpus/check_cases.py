"""Corpora with something wrong in them, and what a check says of them."""

import hashlib
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from corpus_cases import noise

from ser_ray.corpus import CorpusWriter, open_corpus
from ser_ray.corpus.describing.check import check_corpus
from ser_ray.corpus.store.manifest import manifest_text, read_manifest
from ser_ray.corpus.store.schema import Shard, fingerprint, index_table

FRAMES = 25


def gold_of(seed, frames=FRAMES):
    return np.random.default_rng(seed).uniform(-1, 1, (frames, 2)).astype(np.float32)


def row(name, partition, seed, **changes):
    sound = {
        "name": name,
        "partition": partition,
        "speaker": f"S{seed}",
        "audio": noise(FRAMES * 640, seed),
        "gold": gold_of(seed),
        "ratings": {"arousal": {"R1": gold_of(seed + 50)[:, 0], "R2": gold_of(seed + 60)[:, 1]}},
    }
    return {**sound, **changes}


def seal(folder, recordings, targets=None):
    """Write index and manifest anew, so that they belong to shards as they are."""
    manifest = read_manifest(folder / "corpus.json")
    targets = targets or manifest.targets
    shards = []
    for shard in manifest.shards:
        content = (folder / "shards" / shard.name).read_bytes()
        shards.append(Shard(shard.name, hashlib.sha256(content).hexdigest(), len(content)))
    pq.write_table(index_table(recordings), folder / "index.parquet")
    print_ = fingerprint(shards, recordings, targets=targets, label_rate=25.0)
    index_sha256 = hashlib.sha256((folder / "index.parquet").read_bytes()).hexdigest()
    sealed = replace(manifest, shards=tuple(shards), targets=targets, fingerprint=print_, index_sha256=index_sha256)
    (folder / "corpus.json").write_text(manifest_text(sealed))


def index_recordings(folder):
    corpus = open_corpus(folder)
    return [r for p in ("train", "devel", "test") for r in corpus.recordings(p)]


def change_index(folder, **changes):
    """Change rows of the index: name = the fields that differ."""
    seal(folder, [replace(r, **changes.get(r.name, {})) for r in index_recordings(folder)])


def change_shard(folder, change):
    """Write the only shard anew, with other batches."""
    path = folder / "shards" / "00000.arrow"
    recordings = index_recordings(folder)
    with pa.ipc.open_file(path) as reader:
        batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
    batches = change(batches)
    with pa.ipc.new_file(str(path), batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    seal(folder, recordings)


def with_column(batch, name, values):
    """Return a batch whose column holds one list of values, or null."""
    place = batch.schema.get_field_index(name)
    field = batch.schema.field(place)
    return batch.set_column(place, field, pa.array([values], field.type))


def said(folder, **options):
    """Return what a check says, without the folder and its last line."""
    *lines, last = check_corpus(folder, **options).lines()
    assert last.startswith(f"{folder}: checked ")
    return [line.replace(f"{folder}/", "") for line in lines]


def only(folder):
    (line,) = said(folder)
    return line


def write_sound(out, *rows, **options):
    """Write a corpus of three sound recordings and of rows; return its folder."""
    sound = [row("a", "train", 1), row("b", "devel", 2), row("c", "test", 3, gold=None, ratings=None)]
    with CorpusWriter(out, name="c", label_rate=25.0, targets=("arousal", "valence"), **options) as writer:
        for each in [*sound, *rows]:
            writer.add(**each)
    return out
