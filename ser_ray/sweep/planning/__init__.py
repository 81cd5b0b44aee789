"""The plan of a sweep: its trials with their keys, what of them stands, and how long the rest takes."""
