"""The GPUs of a machine: which of them PyTorch can use, tried by a process of its own, for runs and for the doctor.

`probe` imports PyTorch and has each GPU compute; `asking` runs it; `seen` is what it saw.
"""
