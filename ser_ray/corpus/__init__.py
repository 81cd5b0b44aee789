"""Corpora on disk: recordings with their gold in shards, importers, and a made-up corpus.

In reading order: store/ (schema: what lies on disk; reader, writer, verifying, and local_copy: copies on a node's own
disk), source/ and layouts/ (how a user's data lies), importing/ (it becomes a corpus, with gold/), mimics/ (made-up
data in those layouts), describing/ (info and check), synthetic/ (the built-in corpus).
"""

from ser_ray.corpus.gold.consensus import gold_standard
from ser_ray.corpus.store.reader import Corpus, open_corpus
from ser_ray.corpus.store.schema import Recording
from ser_ray.corpus.store.writer import CorpusWriter

__all__ = ["Corpus", "CorpusWriter", "Recording", "gold_standard", "open_corpus"]
