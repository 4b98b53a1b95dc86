"""The error that the command line prints as one sentence."""


class BenchkitError(Exception):
    """A problem that the user can fix; the command line prints it without a traceback.

    Its message names the problem, its location (file, key, row) and the valid values.
    """


class UsageError(BenchkitError):
    """A wrong call: an argument that does not exist, has a wrong value, or has no effect here.

    The command line ends with exit code 2 and points to the command's help.
    """
