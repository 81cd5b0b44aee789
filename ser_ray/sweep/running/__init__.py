"""A running sweep: the driver, its workers, and the handling of ended trials."""
