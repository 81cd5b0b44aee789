"""A sweep, from its file to its results, in four packages, each of which imports only from those listed before it.

spec      the sweep file: read with the position of each key, changed by --set, validated, shrunk by --quick
planning  its trials with their keys, which of them are done here or in other sweeps, how long the rest takes
nodes     Ray's cluster, GPUs, and the files by which a sweep's processes coordinate
running   the driver, its workers, the handling of ended trials, the pool of searches, the user's view

`command` is `ser-ray sweep`. Only nodes/cluster, running/tune and running/search_pool import Ray.
"""
