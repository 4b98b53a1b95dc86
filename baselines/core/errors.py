"""The exception of methods."""


class MethodError(ValueError):
    """A method is unknown, ill-formed, or used against its declaration."""
