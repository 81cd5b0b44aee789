"""Corpora on disk: shards of recordings with their gold standard, importers, and a synthetic corpus.

In reading order: store/ (schema: the files on disk; reader, writer, verifying, and local_copy: copies on a node's own
disk), source/ and layouts/ (the layouts of a user's data), importing/ (converts it to a corpus, with gold/), mimics/
(made-up data in those layouts), describing/ (info and check), synthetic/ (the built-in corpus).
"""

from ser_ray.corpus.gold.consensus import gold_standard
from ser_ray.corpus.store.reader import Corpus, open_corpus
from ser_ray.corpus.store.schema import Recording
from ser_ray.corpus.store.writer import CorpusWriter

__all__ = ["Corpus", "CorpusWriter", "Recording", "gold_standard", "open_corpus"]
