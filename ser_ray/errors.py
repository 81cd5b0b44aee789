"""Exception for mistakes in the user's input; the command line prints its message and exits with code 2."""


class InputError(ValueError):
    """A mistake in a file, key or value that the user gave.

    The message names the file or key, the value, the legal values and the fix, in one or a few lines. The command line
    prints it without a traceback.
    """
