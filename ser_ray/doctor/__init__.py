"""Is this machine fit to run sweeps: `ser-ray doctor` looks, and says for each trouble what to do about it.

What looks (a measurement, a subprocess, a file of the system) is apart from what judges: each judgement is a function
of what was seen, and returns findings. Nothing but the standard library is imported until a check needs it, so that an
environment that is broken can be looked at, too.
"""
