"""The GPUs of this node: which of them PyTorch can use, for runs and for the doctor.

`probe` imports PyTorch and has each GPU compute, as a process of its own (`run_python`); `visible` joins what it found
with what `nvidia_smi` lists, slices (MIG) one by one; `usable` is what trials may be given; `node_gpus` assigns GPUs to
the trials of a node and counts the GPUs' faults.
"""
