"""A sweep, from its file to its results, in four rooms; imports between them run one way, from the last to the first.

spec      the sweep file: read with the places of its keys, changed by --set, validated, shrunk by --quick
planning  its trials with their keys, what of them stands, what other sweeps have done, how long the rest takes
nodes     Ray's cluster, GPUs, and the files by which a sweep's processes know of each other
running   the driver, its workers, what is done at the ends of trials, the pool of searches, what the user sees

`command` is `ser-ray sweep`. Ray is imported in nodes/cluster, running/tune and running/search_pool alone.
"""
