"""Claims: processes that share a folder of runs do not train the same run twice.

    RUNS/.claims/lock              held while a process reads the claims and adds its own
    RUNS/.claims/<token>.claim     the ids of the runs that a process is training, one per line

A process keeps its claim file locked until it has recorded the runs. The system releases the lock
of a process that ends in any way, so a claim that nobody holds is void, and is removed by the next
process that looks. Without file locks, as on some network disks, nothing is claimed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchkit.base.errors import BenchkitError
from benchkit.base.files import create_locked, disk_error, try_lock

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
    try:
        with _locked(folder):
            busy = _claimed(folder)
            free = [run_id for run_id in run_ids if run_id not in busy]
            path = folder / f"{secrets.token_hex(8)}.claim"
            descriptor = create_locked(path) if free else None
            if descriptor is not None:
                os.write(descriptor, "\n".join(free).encode())
    except OSError as error:
        raise disk_error(error, runs) from error
    try:
        yield frozenset(free)
    finally:
        if descriptor is not None:
            path.unlink(missing_ok=True)
            os.close(descriptor)
        with contextlib.suppress(OSError, BenchkitError):
            _remove_unused(folder)


def _claimed(folder: Path) -> set[str]:
    """The ids in the claims of living processes; void claims are removed."""
    run_ids: set[str] = set()
    for path in folder.glob("*.claim"):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # released at this moment
            continue
        with open(descriptor, "rb") as file:
            is_void = try_lock(descriptor, shared=True)
            if is_void:
                path.unlink(missing_ok=True)
            elif is_void is False:
                run_ids.update(file.read().decode(errors="replace").split())
    return run_ids


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of the folder of claims, which is created if necessary."""
    path, until = folder / _LOCK, time.monotonic() + _PATIENCE
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    while True:
        folder.mkdir(exist_ok=True)
        try:
            descriptor = os.open(path, flags, 0o666)
        except FileNotFoundError:  # another process has just removed the folder
            continue
        try:
            # The file may be removed between opening and locking it.
            if try_lock(descriptor) is not False and _is_file_of(descriptor, path):
                yield
                return
        finally:
            os.close(descriptor)
        if time.monotonic() > until:
            raise BenchkitError(
                f"another process holds {path} and does not go on; end it, and try again"
            )
        time.sleep(_PAUSE)


def _is_file_of(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _remove_unused(folder: Path) -> None:
    """Remove the folder of claims if it holds no claim."""
    with _locked(folder):
        if not _claimed(folder) and not any(folder.glob("*.claim")):
            (folder / _LOCK).unlink(missing_ok=True)
            folder.rmdir()
