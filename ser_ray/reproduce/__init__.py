"""`ser-ray reproduce`: `command` trains one trial again from its row; `comparison` compares the two trainings."""
