"""Sweeps as SLURM jobs.

`submit` is the user's command: it estimates a sweep's time and prints the sbatch line for it. slurm/launch.sh is the
job's script. In a job with several nodes it runs `node` on each, which checks the node and runs Ray there, at an
`address` that the other nodes can reach, until the rendezvous of the nodes (`ser_ray.sweep.nodes.rendezvous`) is over.
"""
