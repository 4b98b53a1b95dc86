"""The error that a person reads: one sentence that says what, where, and what would be right."""


class BenchkitError(Exception):
    """A problem that the user can mend. The command line prints it without a traceback."""
