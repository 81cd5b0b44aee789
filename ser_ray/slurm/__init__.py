"""Sweeps as SLURM jobs.

`submit` is a user's command: it estimates a sweep's time and prints the sbatch line for it. slurm/launch.sh is the job;
where it has several nodes, it runs `node` on each, which checks the node and runs Ray there, at an `address` that the
others reach, until the rendezvous of the nodes (`ser_ray.sweep.nodes.rendezvous`) is over.
"""
