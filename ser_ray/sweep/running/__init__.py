"""A running sweep: the driver, its workers, and what is made of the ends of trials."""
