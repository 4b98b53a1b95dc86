"""The one error of this room."""


class ReportError(ValueError):
    """Records that cannot be read or compared; the message is one sentence for a person."""
