"""The nodes of a run: Ray's cluster, GPUs, and the files by which the processes of a sweep coordinate."""
