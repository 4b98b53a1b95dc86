"""Atomic files and folders: write beside the target, sync, rename.

A target is either complete or absent. A writer that is killed leaves a temporary file whose name
ends in `.partial` and contains the writer's host and process id. Readers ignore such names; the
next writer of the same target removes those of dead processes and logs it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from benchkit.base.errors import BenchkitError
from benchkit.base.messages import Log, no_log


def _owner() -> str:
    return f"{socket.gethostname().replace('.', '-')}-{os.getpid()}"


def _alive(partial: Path) -> bool:
    """Whether the writer of a partial file may still be running (always true for other hosts)."""
    owner = partial.name.removesuffix(".partial").rpartition(".")[2]
    host, _, pid = owner.rpartition("-")
    if host != socket.gethostname().replace(".", "-") or not pid.isdigit():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return int(pid) != os.getpid()


def remove_unfinished(target: Path, log: Log) -> None:
    """Remove the partial files that interrupted writers of `target` left, and log each one."""
    for partial in sorted(target.parent.glob(f".{glob.escape(target.name)}.*.partial")):
        if not _alive(partial):
            log(f"ignoring and removing {partial}: its writer was interrupted")
            if partial.is_dir():
                shutil.rmtree(partial)
            else:
                partial.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file or a folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lock(handle: IO[Any], message: str) -> None:
    """Lock an open file for this process until it is closed.

    Raises:
        BenchkitError: with `message`, if another process holds the lock.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BenchkitError(message) from None


def format_size(size: int) -> str:
    """A number of bytes with a binary unit, as in `293.0 KiB`."""
    for unit, power in (("GiB", 3), ("MiB", 2), ("KiB", 1)):
        if size >= 1024**power:
            return f"{size / 1024**power:.1f} {unit}"
    return f"{size} bytes"


def require_space(folder: Path, needed: int, task: str) -> None:
    """Check the free space of a disk before writing to it.

    Args:
        folder: an existing folder on the disk.
        needed: bytes about to be written.
        task: for the message, such as `write split.h5`.

    Raises:
        BenchkitError: the disk has less free space than needed.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise BenchkitError(
            f"no disk space to {task}: it needs {format_size(needed)} and {format_size(free)} are "
            f"free in {folder}"
        )


def disk_error(error: OSError, target: Path) -> BenchkitError:
    """A failed write as an error that names the target.

    HDF5 reports the errno only in its message, so the message is searched as well.
    """
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or any(
        phrase in str(error) for phrase in ("No space left", "quota exceeded", "File too large")
    )
    if full:
        return BenchkitError(f"no disk space to write {target}; free some space and try again")
    reason = error.strerror or str(error)
    return BenchkitError(f"{target} cannot be written: {reason}")


@contextlib.contextmanager
def atomic(target: Path, log: Log = no_log, needed: int = 0) -> Iterator[Path]:
    """Yield a temporary path for a file or a folder, and rename it to `target` on success.

    Args:
        target: the final path. Its parent folder is created.
        log: receives a message for each leftover of an interrupted writer that is removed.
        needed: bytes about to be written, compared with the free space first.

    Raises:
        BenchkitError: the disk is full or the folder is not writable. The temporary path is
            removed, and an older target is kept.
    """
    partial = target.parent / f".{target.name}.{_owner()}.partial"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_unfinished(target, log)
        require_space(target.parent, needed, f"write {target}")
        yield partial
        for path in [*partial.rglob("*"), partial] if partial.is_dir() else [partial]:
            sync(path)
        if partial.is_dir() and target.is_dir():
            shutil.rmtree(target)
        partial.replace(target)
        sync(target.parent)
    except OSError as error:
        raise disk_error(error, target) from error
    finally:
        # The cause of a failed write, such as a file in place of the folder, fails here again.
        with contextlib.suppress(OSError):
            if partial.is_dir():
                shutil.rmtree(partial, ignore_errors=True)
            else:
                partial.unlink(missing_ok=True)


def writable(out: Path) -> None:
    """Check before a long computation that its output file can be created; make its folder.

    Raises:
        BenchkitError: `out` is a folder, or its parent folder cannot be created.
    """
    if out.is_dir():
        raise BenchkitError(f"{out} is a folder; --out takes the path of a file")
    make_folder(out.parent)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents.

    Raises:
        BenchkitError: the folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise BenchkitError(f"the folder {folder} cannot be created: {reason}") from None
