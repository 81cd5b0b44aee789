"""The one exception for mistakes in what the user gave: the command line prints it and exits 2."""


class InputError(ValueError):
    """A mistake in a file, key or value that the user gave.

    The message names the file or key, the value, what is legal, and the fix, in one or a few lines: the command
    line shows it without a traceback.
    """
