"""Files that are either complete or not there: write beside the target, sync, rename.

A writer that is killed leaves a name ending in `.partial` that says whose it was. The next writer
of the same target removes what dead writers left and says so; readers never look at such names.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from benchkit.base.errors import BenchkitError

Log = Callable[[str], None]


def _owner() -> str:
    return f"{socket.gethostname().replace('.', '-')}-{os.getpid()}"


def _alive(partial: Path) -> bool:
    """Whether a partial file's writer may still be at work (another host's always may)."""
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
    """Remove what interrupted writers of `target` left beside it, and say so."""
    for partial in sorted(target.parent.glob(f".{glob.escape(target.name)}.*.partial")):
        if not _alive(partial):
            log(f"ignoring and removing {partial}: its writer was interrupted")
            if partial.is_dir():
                shutil.rmtree(partial)
            else:
                partial.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def disk_error(error: OSError, target: Path) -> BenchkitError:
    """A write error as a sentence; HDF5 hides the errno in its text, so the text is read too."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or any(
        words in str(error) for words in ("No space left", "quota exceeded", "File too large")
    )
    if full:
        return BenchkitError(f"no disk space to write {target}; free some and start again")
    reason = error.strerror or str(error)
    return BenchkitError(f"{target} cannot be written: {reason}; nothing was left behind")


@contextlib.contextmanager
def atomic(target: Path, log: Log = lambda _: None, needed: int = 0) -> Iterator[Path]:
    """A path to write a file (or make a folder) at, renamed to `target` when the block succeeds.

    Args:
        target: the final path; its folder is made.
        log: called with a message about unfinished leftovers that are removed.
        needed: bytes about to be written; checked against the free space first.

    Raises:
        BenchkitError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    partial = target.parent / f".{target.name}.{_owner()}.partial"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_unfinished(target, log)
        free = shutil.disk_usage(target.parent).free
        if needed > free:
            raise BenchkitError(
                f"no disk space to write {target}: it needs {needed / 2**20:.0f} MiB and "
                f"{free / 2**20:.0f} MiB are free"
            )
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
        # What stops the writing (a file where a folder should be) stops the cleaning up as well.
        with contextlib.suppress(OSError):
            if partial.is_dir():
                shutil.rmtree(partial, ignore_errors=True)
            else:
                partial.unlink(missing_ok=True)
