"""The GPUs of a machine: which of them PyTorch can use, tried by a process of its own, for runs and for the doctor.

`probe` imports PyTorch and has each GPU compute; `asking` runs it; `seen` is what it saw; `listed` is what NVIDIA's
program tells; `looking` makes one of both, slices (MIG) one by one; `usable` is what of that trials may be given.
`places` is what the trials of a node tell each other of its GPUs.
"""
