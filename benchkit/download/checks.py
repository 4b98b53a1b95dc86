"""Checks of a downloaded file: not an HTML page, and the published size and checksum."""

from __future__ import annotations

import re
from pathlib import Path

import pooch

from benchkit.download.catalogue import File

HEAD = 1024  # bytes that are enough to recognise a type
_HTML = re.compile(rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?<(!doctype\s+html|html)\b", re.I)
# The first bytes of every file with this suffix.
_MAGIC = {".zip": b"PK", ".tgz": b"\x1f\x8b", ".gz": b"\x1f\x8b", ".npy": b"\x93NUMPY"}


def is_html(head: bytes) -> bool:
    """Whether the first bytes of a file are those of an HTML page."""
    return _HTML.match(head) is not None


def problem(file: File, path: Path) -> str | None:
    """Check a complete file.

    Returns:
        What is wrong with it, as the end of a sentence that begins with its name, or None.
    """
    with path.open("rb") as handle:
        head = handle.read(HEAD)
    if is_html(head):
        return "is an HTML page, not the file"
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        return f"has {size:,} bytes, expected {file.size:,}"
    if file.checksum is not None:
        algorithm, expected = file.checksum
        digest = pooch.file_hash(str(path), alg=algorithm)
        if digest != expected:
            return f"has {algorithm.upper()} {digest}, expected {expected}"
    suffix = Path(file.name).suffix
    if not head.startswith(_MAGIC.get(suffix, b"")):
        return f"does not begin like a {suffix} file"
    return None


def remark(file: File) -> str:
    """The end of a message about a checked file: a remark if it has no published checksum."""
    if file.checksum is not None:
        return ""
    return "; no checksum is published: only size and type were checked"
