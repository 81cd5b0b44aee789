"""Sweeps as SLURM jobs.

`submit` is a user's command: it looks at a sweep and prints the sbatch line for it. slurm/launch.sh is the job; where
it has several nodes, `node` is what runs on each: it looks whether the node is fit, and runs Ray there at an `address`
that the others reach, until the meeting of the nodes (`ser_ray.sweep.nodes.rendezvous`) is over.
"""
