"""A recording to import: its description, its traces, and the problems found in them."""
