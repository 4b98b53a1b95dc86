"""The one error class of this package."""

_LONGEST = 1200  # characters of a message


class InputError(ValueError):
    """Invalid input; the message is one sentence for the user who provided it.

    The middle of a very long message, which quotes a damaged file, is left out.
    """

    def __init__(self, message: str) -> None:
        half = _LONGEST // 2
        if len(message) > _LONGEST:
            message = f"{message[:half]} ... {message[-half:]}"
        super().__init__(message)
