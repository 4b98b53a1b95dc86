"""Why NumPy cannot read a file, in words that do not advise to run what is in it."""

from __future__ import annotations

from pathlib import Path

_STARTS = (b"\x93NUMPY", b"PK")


def reason(path: Path, error: Exception) -> str:
    """The end of a sentence on a file that `numpy.load` has refused.

    Args:
        path: the file.
        error: what NumPy raised. Its own words on pickled data, which it finds in any file that
            is no array, are replaced.

    Returns:
        Words without a full stop.
    """
    text = str(error)
    if path.is_dir():
        return "it is a folder"
    if "pickle" not in text:
        return text
    with path.open("rb") as file:
        start = file.read(6)
    if start.startswith(_STARTS):
        return (
            "it holds Python objects, which are not read because they can run code; save numbers "
            "or text (unicode)"
        )
    return "it is neither an .npy nor an .npz file"
