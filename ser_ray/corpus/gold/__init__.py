"""Make the gold standard of a recording from the traces of several raters."""
