"""The built-in corpus: synthetic voices with known arousal and valence."""
