"""The error of this package."""


class ReportError(ValueError):
    """Records that cannot be read or compared; the message is one sentence."""
