"""A corpus on disk: what it consists of, its reader and its writer."""
