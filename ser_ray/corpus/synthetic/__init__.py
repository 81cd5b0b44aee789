"""The built-in corpus: made-up voices with known arousal and valence."""
