"""The error of methods."""


class MethodError(ValueError):
    """A method that is unknown, ill-formed or used against its declaration: one clear sentence."""
