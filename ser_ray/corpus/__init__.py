"""Corpora on disk: recordings with their gold in shards, importers, and a made-up corpus.

In reading order: schema (what lies on disk), shards (reads it; maps, files), writer (writes it; batches, partial,
raters, destination); ingest (a user's data becomes a corpus; layouts/, importing/, gold, gold_values), mimics/ (made-up
data in those layouts); describing/ (info and check); staging (copies on a node's own disk; room); synthetic and speech.
"""

from ser_ray.corpus.gold.consensus import gold_standard
from ser_ray.corpus.store.reader import Corpus, open_corpus
from ser_ray.corpus.store.schema import Recording
from ser_ray.corpus.store.writer import CorpusWriter

__all__ = ["Corpus", "CorpusWriter", "Recording", "gold_standard", "open_corpus"]
