"""Find the GPUs of this node that PyTorch can use, for runs and for the doctor.

`probe` imports PyTorch and runs a computation on each GPU, in a separate process (`run_python`). `visible` combines its
results with the list of `nvidia_smi`, with one entry per MIG slice. `usable` selects the GPUs for trials. `node_gpus`
assigns GPUs to the trials of a node and counts the GPUs' faults.
"""
