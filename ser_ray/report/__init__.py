"""Leaderboard, figures and page of a sweep, made from its parquet tables alone."""
