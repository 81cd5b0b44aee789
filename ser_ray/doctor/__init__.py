"""`ser-ray doctor`: check whether this machine is fit to run sweeps, with a fix for each problem.

What measures (a timing, a subprocess, a file of the system) is apart from what judges: each `check_...` is a function
of what was measured, and returns findings. Nothing but the standard library is imported until a check needs it, so
that a broken environment can be checked, too.
"""
