"""The plan of a sweep: its trials with their keys, which of them are done, and how long the rest takes."""
