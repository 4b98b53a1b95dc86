"""The one error of this room."""


class InputError(ValueError):
    """Something that a person gave is wrong; the message is one sentence meant for that person."""
