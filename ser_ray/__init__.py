"""End-to-end speech emotion recognition as a batch experiment runner."""

__version__ = "0.1.0"
