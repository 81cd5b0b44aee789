"""What a corpus holds, for people: figures, a table, a picture, and whether all of it is as it should be."""
