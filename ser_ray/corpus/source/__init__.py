"""What a recording to import is: its description, its traces, and what may be wrong with them."""
