"""Failed requests for memory, recognised among the exceptions of Python, NumPy and PyTorch."""

from __future__ import annotations

import errno
import re

from benchkit.base.files import format_size

_SIZE = re.compile(r"allocate (\d+(?:\.\d+)?) ?(bytes|[KMGT]iB)", re.IGNORECASE)
_TORCH = re.compile(
    r"can't allocate memory|not enough memory|CUDA out of memory|out of memory on device"
)
_UNMAPPED = ("failed to map segment", "annot allocate memory")
_UNITS = {"bytes": 0, "kib": 1, "mib": 2, "gib": 3, "tib": 4}


def shortage(error: BaseException) -> str | None:
    """A sentence about a failed request for memory.

    Args:
        error: any exception.

    Returns:
        The sentence, with the requested size if it is known; None for an exception with another
        cause.
    """
    try:
        text = str(error)
    except Exception:  # the class is a user's own
        text = ""
    purpose = _purpose(error, text)
    if purpose is None:
        return None
    return f"there is not enough memory{purpose}; free some, or raise the limit of the process"


def _purpose(error: BaseException, text: str) -> str | None:
    """What the memory was requested for, as far as it is known; None for another exception."""
    if isinstance(error, ImportError):
        return " to load the libraries" if any(map(text.__contains__, _UNMAPPED)) else None
    if isinstance(error, RuntimeError) and "can't start new thread" in text:
        return " for another thread"
    if not (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError) and _TORCH.search(text))
    ):
        return None
    device = " on the GPU" if "CUDA" in text else ""
    match = _SIZE.search(text)
    if match is None:
        return device
    size = round(float(match[1]) * 1024 ** _UNITS[match[2].lower()])
    return f"{device} for another {format_size(size)}"
