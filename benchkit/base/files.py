"""Atomic files and folders: write beside the target, sync, rename.

A target is either complete or absent. It is written inside a hidden folder beside it:

    .NAME.TOKEN.partial/        TOKEN is random; created exclusively, for this user only
        .lock                   locked by the writer until the folder is removed
        NAME                    the new file or folder
        .old0                   the folder that the new one replaces, until the new one is in place

If the name of the target is too long for this, its SHA-256 takes its place in the hidden name.

A folder cannot replace another one in a single step: the old one is renamed to `.old0` and the new
one to its target. If the writer is killed in between, the next writer restores the old one.

Readers ignore `.partial`. The writer of a folder lives if it holds the lock, which a killed process
releases by itself; the next writer of the same target removes folders without a living writer, and
logs it. Earlier versions wrote to `.NAME.HOST-PID.partial`; such leftovers are removed as well.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import itertools
import os
import re
import secrets
import shutil
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from benchkit.base.errors import BenchkitError
from benchkit.base.messages import Log, no_log

_LOCK = ".lock"
_OLD = ".old"
_DISCARDED = ".discarded"
_ATTEMPTS = 8  # at what can fail because another process does the same
_PARTIAL = re.compile(r"\.(?P<target>.+)\.(?P<owner>[^.]+)\.partial", re.DOTALL)
_TOKEN = re.compile(r"[0-9a-f]{16}")
_DIGEST = re.compile(r"sha256-[0-9a-f]{64}")  # in place of the name of a target that is too long
_NAME_LIMIT = 255  # bytes of a file name, in all common file systems
_PATH_LIMIT = 4095  # bytes of a path on Linux


# ----------------------------------------------------------------------------- locks


def try_lock(descriptor: int, shared: bool = False) -> bool | None:
    """Lock an open file until it is closed, without waiting.

    Args:
        descriptor: the open file.
        shared: ask for a lock that others may share, to learn whether anyone holds another one.

    Returns:
        True if the file is now locked, False if another process holds its lock, None if its file
        system has no locks.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def create_locked(path: Path) -> int | None:
    """Create a file, which must not exist, and lock it.

    Returns:
        The descriptor, whose closing releases the lock; None if another process removed the file or
        its folder at once, because it seemed to be abandoned.

    Raises:
        OSError: the file exists, or cannot be created.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o644)
    except FileNotFoundError:
        return None
    if try_lock(descriptor) is not False and path.exists():
        return descriptor
    os.close(descriptor)
    return None


def lock(handle: IO[Any], message: str) -> None:
    """Lock an open file for this process until it is closed.

    Raises:
        BenchkitError: with `message`, if another process holds the lock.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BenchkitError(message) from None


# ----------------------------------------------------------------------------- interrupted writers


def remove_unfinished(target: Path, log: Log) -> None:
    """Remove what interrupted writers of `target` left, and restore a folder they set aside.

    Args:
        target: the file or folder that was written.
        log: receives a message for each path that is removed or restored.
    """
    stem = _stem(target.name)
    for partial in sorted(target.parent.glob(f".{glob.escape(stem)}.*.partial")):
        match = _PARTIAL.fullmatch(partial.name)
        if match is None or match["target"] != stem:
            continue
        with _abandoned(partial, match["owner"]) as is_abandoned:
            if is_abandoned:
                _settle(partial, target, log)
                log(f"ignoring and removing {partial}: its writer was interrupted")
                _remove(partial)


def remove_all_unfinished(folder: Path, log: Log) -> None:
    """Do the same for every target in a folder, which may be missing.

    Targets whose name is too long for a hidden name are left to their next writer.
    """
    matches = (_PARTIAL.fullmatch(path.name) for path in folder.glob(".*.partial"))
    for name in sorted({match["target"] for match in matches if match is not None}):
        if not _DIGEST.fullmatch(name):
            remove_unfinished(folder / name, log)


def _stem(name: str) -> str:
    """The middle of the hidden name of a target: its name, or a digest if it is too long."""
    encoded = os.fsencode(name)
    if len(encoded) + len(_hidden_name("")) <= _NAME_LIMIT:
        return name
    return f"sha256-{hashlib.sha256(encoded).hexdigest()}"


def _hidden_name(stem: str) -> str:
    return f".{stem}.{secrets.token_hex(8)}.partial"


@contextlib.contextmanager
def _abandoned(partial: Path, owner: str) -> Iterator[bool]:
    """Whether the writer of a partial path is known to have ended.

    The lock of a partial folder is held meanwhile, so that a writer which has just created the
    folder notices.
    """
    if not _TOKEN.fullmatch(owner):
        yield _process_ended(owner)
        return
    if not _is_folder(partial):  # not made by a writer
        yield False
        return
    try:
        descriptor = os.open(partial / _LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:  # killed after it created the folder
        yield True
        return
    except OSError:
        yield False
        return
    try:
        yield try_lock(descriptor, shared=True) is True
    finally:
        os.close(descriptor)


def _process_ended(owner: str) -> bool:
    """Whether the process HOST-PID has ended, if it ran on this host."""
    host, _, pid = owner.rpartition("-")
    if host != socket.gethostname().replace(".", "-") or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return int(pid) == os.getpid()  # an earlier process with the same id


def _settle(partial: Path, target: Path, log: Log) -> None:
    """Restore the folder that was set aside if its target is missing, else discard it."""
    if not _is_folder(partial):
        return
    for number, old in enumerate(sorted(partial.glob(f"{_OLD}*"), reverse=True)):
        try:
            if not os.path.lexists(target):
                old.replace(target)
                log(f"restoring {target}: its replacement was interrupted")
                continue
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                raise
        # Renamed first: a killed removal leaves half a folder, which must never be restored.
        with contextlib.suppress(FileNotFoundError):
            old.replace(partial / f"{_DISCARDED}{number}")


def _is_folder(path: Path) -> bool:
    """Whether a path is a folder, and not a link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder as far as possible."""
    if _is_folder(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


# ----------------------------------------------------------------------------- disks


def sync(path: Path) -> None:
    """Flush a file or a folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
    if error.errno == errno.ENAMETOOLONG:
        return BenchkitError(
            f"{target} cannot be written: its path is too long; give a shorter one"
        )
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or any(
        phrase in str(error) for phrase in ("No space left", "quota exceeded", "File too large")
    )
    if full:
        return BenchkitError(f"no disk space to write {target}; free some space and try again")
    reason = error.strerror or str(error)
    return BenchkitError(f"{target} cannot be written: {reason}")


# ----------------------------------------------------------------------------- writing


@contextlib.contextmanager
def atomic(target: Path, log: Log = no_log, needed: int = 0) -> Iterator[Path]:
    """Yield a temporary path for a file or a folder, and rename it to `target` on success.

    Args:
        target: the final path. Its parent folder is created, and removed again on failure.
        log: receives a message for each leftover of an interrupted writer that is removed.
        needed: bytes about to be written, compared with the free space first.

    Raises:
        BenchkitError: the disk is full or the folder is not writable. The temporary path is
            removed, and an older target is kept.
    """
    try:
        check_name(target)
        refuse_special(target)
        with _created(target.parent), _partial_folder(target, log, needed) as folder:
            new = folder / target.name
            yield new
            for path in [*new.rglob("*"), new] if new.is_dir() else [new]:
                sync(path)
            _put_in_place(new, target)
            sync(target.parent)
    except OSError as error:
        raise disk_error(error, target) from error


@contextlib.contextmanager
def _created(folder: Path) -> Iterator[None]:
    """Create a folder and its parents; if the block fails, remove the empty ones among them."""
    missing = list(itertools.takewhile(_is_missing, (folder, *folder.parents)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for path in missing:
                path.rmdir()
        raise


def _is_missing(path: Path) -> bool:
    return not os.path.lexists(path)


@contextlib.contextmanager
def _partial_folder(target: Path, log: Log, needed: int) -> Iterator[Path]:
    """A new locked folder beside a target, which is removed in the end."""
    remove_unfinished(target, log)
    require_space(target.parent, needed, f"write {target}")
    for _ in range(_ATTEMPTS):
        partial = target.parent / _hidden_name(_stem(target.name))
        partial.mkdir(mode=0o700)
        descriptor = create_locked(partial / _LOCK)
        if descriptor is not None:
            break
    else:
        raise OSError(errno.EBUSY, "another process keeps removing its temporary files")
    try:
        yield partial
    finally:
        with contextlib.suppress(OSError):  # what cannot be restored is not removed either
            _settle(partial, target, no_log)
            _remove(partial)
        os.close(descriptor)


def check_name(path: Path) -> None:
    """Refuse a path that no file can have.

    Raises:
        BenchkitError: a name in the path has more than 255 bytes, or the path more than 4095.
    """
    limits = [("file name", name, _NAME_LIMIT) for name in path.parts]
    for noun, text, limit in [*limits, ("path", str(path), _PATH_LIMIT)]:
        size = len(os.fsencode(text))
        if size > limit:
            raise BenchkitError(
                f"{path} cannot be written: a {noun} of {size} bytes is too long, at most {limit} "
                "are possible"
            )


def refuse_special(target: Path) -> None:
    """Refuse to replace a path that is neither a regular file nor a folder.

    Raises:
        BenchkitError: the path is a link, a device, a named pipe or a socket.
    """
    if not os.path.lexists(target):
        return
    mode = target.lstat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        noun = "link" if stat.S_ISLNK(mode) else "device, a named pipe or a socket"
        raise BenchkitError(f"{target} is a {noun} and is not replaced; give the path of a file")


def _put_in_place(new: Path, target: Path) -> None:
    """Rename a new file or folder to its target; an old folder is set aside first."""
    for attempt in range(_ATTEMPTS):
        if new.is_dir() and _is_folder(target):
            with contextlib.suppress(FileNotFoundError):  # another process replaces it as well
                target.replace(new.with_name(f"{_OLD}{attempt}"))
        try:
            new.replace(target)
            return
        except OSError as error:
            full = error.errno in (errno.ENOTEMPTY, errno.EEXIST)
            if not full or attempt == _ATTEMPTS - 1:
                raise


def append_line(path: Path, line: str) -> None:
    """Append a line to a text file in one write, so that several processes can share it.

    Raises:
        OSError: the file cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666)
    try:
        os.write(descriptor, f"{line}\n".encode(errors="backslashreplace"))
    finally:
        os.close(descriptor)
