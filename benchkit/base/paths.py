"""Checks of paths before they are opened.

Opening a named pipe waits for a writer, and reading a device may never end, so a path is checked
before it is opened.
"""

from __future__ import annotations

import stat
from pathlib import Path

from benchkit.base.errors import BenchkitError

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def regular_file(path: Path, noun: str) -> Path:
    """Check that a path is a regular file, or a link to one.

    Args:
        path: the path.
        noun: the contents of the file, for the message, such as `image` or `split file`.

    Returns:
        The path.

    Raises:
        BenchkitError: the path does not exist, may not be looked up, or is a folder, a named pipe,
            a socket or a device.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise BenchkitError(f"the {noun} {path} does not exist") from None
    except OSError as error:
        raise BenchkitError(f"the {noun} {path} cannot be read: {error.strerror}") from None
    except ValueError:  # a name with a NUL character
        raise BenchkitError(f"the {noun} {str(path)!r} has an invalid name") from None
    for test, kind in _KINDS:
        if test(mode):
            raise BenchkitError(f"the {noun} {path} is {kind}; it must be a regular file")
    return path
