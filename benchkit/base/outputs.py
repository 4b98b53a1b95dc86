"""Checks before a long computation that its output can be written."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from pathlib import Path

from benchkit.base.errors import BenchkitError
from benchkit.base.files import check_name, disk_error, refuse_special
from benchkit.base.messages import Log, no_log

_PROBE = re.compile(r"\.[0-9a-f]{16}\.probe")
_PROBE_BYTES = 4096
_NO_UNNAMED_FILES = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)
"""The errors of kernels and file systems without unnamed files."""


def writable(out: Path, log: Log = no_log) -> None:
    """Check before a long computation that its output file can be written; nothing is created.

    Args:
        out: the file. If its folder is missing, the nearest existing parent is checked.
        log: called with a message for each leftover of an interrupted check that is removed.

    Raises:
        BenchkitError: `out` is a folder or has an impossible name, its parent is not a folder, or
            the disk is full or read-only.
    """
    check_name(out)
    if out.is_dir():
        raise BenchkitError(f"{out} is a folder; --out takes the path of a file")
    refuse_special(out)
    parent = next((path for path in out.parents if os.path.lexists(path)), out.parent)
    if not parent.is_dir():
        raise BenchkitError(f"{out} cannot be written: {parent} is not a folder")
    _probe(parent, log)


def writable_folder(folder: Path, log: Log = no_log) -> None:
    """Create a folder, and check that files can be written to it.

    Args:
        folder: the folder.
        log: called with a message for each leftover of an interrupted check that is removed.

    Raises:
        BenchkitError: the folder cannot be created, is read-only, or is on a full disk.
    """
    make_folder(folder)
    _probe(folder, log)


def _probe(folder: Path, log: Log) -> None:
    """Write a block to a folder, in a file without a name if the file system has such files.

    Raises:
        BenchkitError: the folder cannot be written to.
    """
    _remove_probes(folder, log)
    try:
        with open(_unnamed_file(folder), "wb") as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise disk_error(error, folder) from error


def _remove_probes(folder: Path, log: Log) -> None:
    """Remove the empty files of checks that were killed before they removed their own."""
    for path in folder.glob(".*.probe"):
        with contextlib.suppress(OSError):
            if _PROBE.fullmatch(path.name) and path.is_file() and not path.stat().st_size:
                path.unlink()
                log(f"removing {path}: the check that made it was interrupted")


def _unnamed_file(folder: Path) -> int:
    """A new file that has no name, or whose name is removed at once."""
    try:
        return os.open(folder, os.O_WRONLY | getattr(os, "O_TMPFILE", 0), 0o600)
    except OSError as error:
        if error.errno not in _NO_UNNAMED_FILES:
            raise
    path = folder / f".{secrets.token_hex(8)}.probe"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    path.unlink(missing_ok=True)
    return descriptor


def make_folder(folder: Path) -> None:
    """Create a folder and its parents.

    Raises:
        BenchkitError: the folder cannot be created.
    """
    check_name(folder)
    if os.path.lexists(folder) and not folder.is_dir():
        raise BenchkitError(f"{folder} is not a folder, and a folder is needed here")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise BenchkitError(f"the folder {folder} cannot be created: {reason}") from None
