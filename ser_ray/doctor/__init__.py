"""`ser-ray doctor`: check whether this machine is fit to run sweeps, with a fix for each problem.

Measuring (timings, subprocesses, system files) is separate from judging: each `check_...` function takes measurements
and returns findings. Only the standard library is imported until a check needs more, so that a broken environment can
be checked, too.
"""
