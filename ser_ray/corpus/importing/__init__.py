"""Import a user's files: check all recordings, then convert labels (traces -> frames -> gold standard) and audio."""
