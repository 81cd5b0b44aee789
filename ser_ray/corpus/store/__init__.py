"""A corpus on disk: its files and their schema, its reader and its writer."""
