"""`ser-ray reproduce`: train one trial again by the `command` that its row gives; `comparison` of both trainings."""
