"""Claims: processes that share a folder of runs do not train the same run twice.

    RUNS/.claims/lock              held while a process reads the claims and adds its own
    RUNS/.claims/<token>.claim     the ids of the runs that a process is training, one per line

A process keeps its claim file locked until it has recorded the runs. The system releases the lock
of a process that ends in any way, so a claim that nobody holds is void; the next process removes
it. Without file locks, as on some network disks, nothing is claimed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchkit.base.errors import BenchkitError
from benchkit.base.files import create_locked, disk_error, try_lock
from benchkit.base.messages import Log

FOLDER = ".claims"

_LOCK = "lock"
_PATIENCE = 30.0  # seconds; the lock is held for milliseconds
_PAUSE = 0.02  # seconds


@contextlib.contextmanager
def claim(runs: Path, run_ids: Sequence[str]) -> Iterator[frozenset[str]]:
    """Claim the runs that no other process is training, for the duration of the block.

    Args:
        runs: the folder of records.
        run_ids: the ids of the runs to train.

    Yields:
        The ids that are claimed; another process is training the others.

    Raises:
        BenchkitError: the claim cannot be written, or another process holds the lock for too long.
    """
    folder = runs / FOLDER
    path = folder / f"{secrets.token_hex(8)}.claim"
    with _locked(folder, _PATIENCE):
        busy, _ = _read_claims(folder)
        free = [run_id for run_id in run_ids if run_id not in busy]
        descriptor = _create_claim(path, free) if free else None
    try:
        yield frozenset(free)
    finally:
        if descriptor is not None:
            path.unlink(missing_ok=True)
            os.close(descriptor)
        with contextlib.suppress(OSError, BenchkitError), _locked(folder, _PATIENCE):
            _remove_unused(folder)


def remove_void(runs: Path, log: Log) -> None:
    """Remove what killed processes left in the folder of claims, and log it.

    Nothing is removed while another process reads or adds claims; that process does the same.

    Args:
        runs: the folder of records, which may be missing.
        log: receives a message if something is removed.

    Raises:
        BenchkitError: something other than a folder is in the place of the folder of claims.
    """
    folder = runs / FOLDER
    if not os.path.lexists(folder):
        return
    _require_folder(folder)
    removed = False
    with contextlib.suppress(OSError, BenchkitError), _locked(folder, 0.0):
        _, void = _read_claims(folder)
        removed = void > 0
        removed = _remove_unused(folder) or removed
    if removed:
        log(f"ignoring and removing claims in {folder}: their process was interrupted")


def _create_claim(path: Path, run_ids: Sequence[str]) -> int | None:
    """Write a claim and lock it; see `create_locked`."""
    try:
        descriptor = create_locked(path)
        if descriptor is not None:
            os.write(descriptor, "\n".join(run_ids).encode())
    except OSError as error:
        raise disk_error(error, path) from error
    return descriptor


def _read_claims(folder: Path) -> tuple[set[str], int]:
    """Remove the void claims of a folder.

    Returns:
        The ids in the claims of living processes, and the number of claims that were removed.
    """
    run_ids: set[str] = set()
    removed = 0
    for path in folder.glob("*.claim"):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # released at this moment
            continue
        with open(descriptor, "rb") as file:
            is_void = try_lock(descriptor, shared=True)
            if is_void and path.exists():
                path.unlink(missing_ok=True)
                removed += 1
            elif is_void is False:
                run_ids.update(file.read().decode(errors="replace").split())
    return run_ids, removed


def _remove_unused(folder: Path) -> bool:
    """Remove the folder of claims if it holds no claim, and tell whether it did.

    The lock must be held.
    """
    _read_claims(folder)
    if any(folder.glob("*.claim")):
        return False
    (folder / _LOCK).unlink(missing_ok=True)
    folder.rmdir()
    return True


# ----------------------------------------------------------------------------- the lock


@contextlib.contextmanager
def _locked(folder: Path, patience: float) -> Iterator[None]:
    """Hold the lock of the folder of claims, which is created if necessary.

    Args:
        folder: the folder of claims.
        patience: seconds to wait for another process that holds the lock.

    Raises:
        BenchkitError: another process holds the lock for longer, the lock cannot be written, or
            something other than a folder is in the place of the folder.
    """
    path, until = folder / _LOCK, time.monotonic() + patience
    while True:
        with _lock_file(path) as is_held:
            if is_held:
                yield
                return
        if time.monotonic() > until:
            raise BenchkitError(
                f"another process holds {path} and does not go on; end it, and try again"
            )
        time.sleep(_PAUSE)


@contextlib.contextmanager
def _lock_file(path: Path) -> Iterator[bool]:
    """Create and lock a file, and yield whether that succeeded."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = None
    try:
        with contextlib.suppress(FileExistsError):
            path.parent.mkdir()
        _require_folder(path.parent)
        # None if another process has just removed the folder
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        raise disk_error(error, path) from error
    if descriptor is None:
        yield False
        return
    try:
        # The file may be removed between opening and locking it.
        yield try_lock(descriptor) is not False and _is_file_of(descriptor, path)
    finally:
        os.close(descriptor)


def _require_folder(folder: Path) -> None:
    """Refuse a file or a link in the place of the folder of claims; it may be missing."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise BenchkitError(
                f"{folder} is in the place of the folder of claims and is no folder; move it away"
            )


def _is_file_of(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
