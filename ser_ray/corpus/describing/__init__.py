"""Describe a corpus to people with figures, a table and a picture, and check its integrity."""
