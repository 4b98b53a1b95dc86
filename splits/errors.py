"""The one error class of this package."""


class InputError(ValueError):
    """Invalid input; the message is one sentence for the user who provided it."""
