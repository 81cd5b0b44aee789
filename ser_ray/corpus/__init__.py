"""Corpora on disk: recordings with their gold in shards, importers, and a made-up corpus."""

from ser_ray.corpus.gold import gold_standard
from ser_ray.corpus.schema import Recording
from ser_ray.corpus.shards import Corpus, open_corpus
from ser_ray.corpus.writer import CorpusWriter

__all__ = ["Corpus", "CorpusWriter", "Recording", "gold_standard", "open_corpus"]
