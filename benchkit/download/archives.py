"""Safe unpacking of zip and tar archives that came from elsewhere.

An archive is refused as a whole before anything is written if a member would land outside the
folder, is a link or a device, or if the sizes it declares are out of proportion. What is unpacked
goes into a folder beside the target first and moves when it is complete; a marker, written last,
says that all of it has arrived. Fetching archives lives in `benchkit.download`.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import json
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from benchkit.base.errors import BenchkitError
from benchkit.base.files import Log, atomic, disk_error

Bar = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
# The densest archives here are annotations, which shrink to a tenth.
RATIO = 200
LEAST_LIMIT = 2**26
CHUNK = 2**20


class _Unsafe(Exception):
    """Why an archive is refused: the rest of a sentence that begins with its name."""


@dataclass(frozen=True)
class _Member:
    name: str
    folder: bool
    size: int
    open: Callable[[], IO[bytes]]


def is_archive(name: str) -> bool:
    """Whether a file's name says that it can be unpacked here."""
    return name.lower().endswith(SUFFIXES)


def marker(archive: Path) -> Path:
    """Where it is noted that an archive was unpacked beside itself."""
    return archive.parent / f".{archive.name}.extracted"


def is_extracted(archive: Path) -> bool:
    """Whether an archive was unpacked completely, and what it held at the top is still there.

    An archive that was deleted after unpacking counts; one that has changed since does not.
    """
    try:
        noted = json.loads(marker(archive).read_text(encoding="utf-8"))
        if not all((archive.parent / name).exists() for name in noted["top"]):
            return False
        return not archive.exists() or noted["identity"] == _identity(archive)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _identity(archive: Path) -> list[int]:
    stats = archive.stat()
    return [stats.st_size, stats.st_mtime_ns]


def extract(archive: Path, log: Log, bar: Bar, limit: int | None = None) -> None:
    """Unpack an archive into the folder that it lies in.

    Folders that are there already are merged and files replaced, because two archives may share a
    folder (VOC 2007). File modes and times of the archive are not taken over.

    Args:
        archive: a `.zip`, `.tar`, `.tar.gz` or `.tgz`.
        log: called with a message about leftovers that are removed and of the result.
        bar: `bar(title, files)` is a context manager that yields a function to advance it.
        limit: the most bytes that may come out; 200 times the archive (at least 64 MiB) by default.

    Raises:
        BenchkitError: the archive is unsafe, damaged or truncated, or the disk is full; nothing of
            it was unpacked.
    """
    if is_extracted(archive):
        log(f"{archive.name}: unpacked already")
        return
    limit = max(RATIO * archive.stat().st_size, LEAST_LIMIT) if limit is None else limit
    try:
        with (
            archive.open("rb") as handle,
            _damage(archive),
            _members(archive, limit) as members,
        ):
            alone(handle, f"{archive} is being unpacked by another process")
            needed = sum(member.size for member in members)
            require_space(archive.parent, needed, f"unpack {archive.name}")
            top = _arrive(members, archive, log, bar)
    except OSError as error:
        raise disk_error(error, archive.parent) from error
    noted = {"identity": _identity(archive), "top": top}
    with atomic(marker(archive)) as partial:
        partial.write_text(json.dumps(noted), encoding="utf-8")
    log(f"{archive.name}: {sum(not m.folder for m in members)} files unpacked in {archive.parent}")


def alone(handle: IO[Any], otherwise: str) -> None:
    """Hold an open file, so that two processes never work on it at once; closing lets it go."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BenchkitError(otherwise) from None


@contextlib.contextmanager
def _damage(archive: Path) -> Iterator[None]:
    """What zipfile, tarfile and zlib raise, as sentences about the archive."""
    try:
        yield
    except _Unsafe as reason:
        raise BenchkitError(f"{archive} {reason}; nothing of it was unpacked") from None
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        gzip.BadGzipFile,
        EOFError,
        zlib.error,
    ) as error:
        raise BenchkitError(
            f"{archive} is damaged or truncated ({error}); delete it and download it again"
        ) from None
    except NotImplementedError as error:
        raise BenchkitError(f"{archive} cannot be unpacked here: {error}") from None


def _arrive(members: list[_Member], archive: Path, log: Log, bar: Bar) -> list[str]:
    """Unpack beside the target and move; returns the names at the top of the archive."""
    unpacking = archive.parent / f".{archive.name}.unpacking"
    if unpacking.exists():
        log(f"removing {unpacking}: its writer was interrupted")
        shutil.rmtree(unpacking)
    try:
        unpacking.mkdir()
        _unpack(members, unpacking, f"unpacking {archive.name}", bar)
        top = sorted(path.name for path in unpacking.iterdir())
        if any(name.startswith((archive.name, f".{archive.name}")) for name in top):
            raise _Unsafe("holds a file with its own name")
        _merge(unpacking, archive.parent)
    finally:
        shutil.rmtree(unpacking, ignore_errors=True)
    return top


def human(size: int) -> str:
    """A size in the unit that a person would use."""
    for unit, steps in (("GiB", 3), ("MiB", 2), ("KiB", 1)):
        if size >= 1024**steps:
            return f"{size / 1024**steps:.1f} {unit}"
    return f"{size} bytes"


def require_space(folder: Path, needed: int, work: str) -> None:
    """Refuse work that the disk has no room for."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise BenchkitError(
            f"no disk space in {folder} to {work}: it needs {human(needed)} and {human(free)} are "
            "free"
        )


@contextlib.contextmanager
def _members(archive: Path, limit: int) -> Iterator[list[_Member]]:
    """The checked members of an archive that stays open."""
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as opened:
            yield _checked(_zip_members(opened), limit)
    else:
        compressed = archive.name.lower().endswith("gz")
        with tarfile.open(archive, "r:gz" if compressed else "r:") as opened_tar:
            yield _checked(_tar_members(opened_tar), limit)


def _checked(members: Iterator[_Member], limit: int) -> list[_Member]:
    found: dict[str, _Member] = {}
    total = 0
    for member in members:
        _require_inside(member.name)
        key = os.path.normpath(member.name)
        if key in found and not (member.folder and found[key].folder):
            raise _Unsafe(f"holds '{member.name}' twice")
        total += member.size
        if total > limit:
            raise _Unsafe(f"would unpack to more than {human(limit)}")
        found[key] = member
    return list(found.values())


def _require_inside(name: str) -> None:
    """Refuse a name that is not a plain relative path, on this system or on another."""
    parts = name.replace("\\", "/").split("/")
    absolute = parts[0] == "" or name[1:2] == ":"
    if absolute or ".." in parts or "\\" in name or "\0" in name:
        raise _Unsafe(f"holds the path {name!r}, which may lead outside the folder")


def _zip_members(opened: zipfile.ZipFile) -> Iterator[_Member]:
    for info in opened.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            what = "link" if kind == stat.S_IFLNK else "device"
            raise _Unsafe(f"holds a {what} ('{info.filename}')")
        if info.flag_bits & 1:
            raise _Unsafe(f"is encrypted ('{info.filename}')")
        yield _Member(
            info.orig_filename,
            info.is_dir(),
            info.file_size,
            lambda info=info: opened.open(info),  # type: ignore[misc]
        )


def _tar_members(opened: tarfile.TarFile) -> Iterator[_Member]:
    for info in opened:
        if not (info.isreg() or info.isdir()):
            what = "link" if info.issym() or info.islnk() else "device"
            raise _Unsafe(f"holds a {what} ('{info.name}')")
        yield _Member(
            info.name,
            info.isdir(),
            info.size if info.isreg() else 0,
            lambda info=info: _required(opened.extractfile(info)),  # type: ignore[misc]
        )
    # tarfile takes a damaged header for the end; the true end is a block of zeros.
    handle = _required(opened.fileobj)
    handle.seek(opened.offset)
    if handle.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f"no end after byte {opened.offset}")


def _required(handle: Any) -> IO[bytes]:
    if handle is None:
        raise tarfile.ReadError("a member without data")
    return handle


def _unpack(members: list[_Member], into: Path, title: str, bar: Bar) -> None:
    with bar(title, len(members)) as advance:
        for member in members:
            target = into / member.name
            if member.folder:
                target.mkdir(parents=True, exist_ok=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                _copy(member, target)
            advance(1)
    os.sync()


def _copy(member: _Member, target: Path) -> None:
    """Write one file, and no byte more than its archive declared."""
    left = member.size
    with member.open() as source, target.open("xb") as sink:
        while chunk := source.read(CHUNK):
            left -= len(chunk)
            if left < 0:
                break
            sink.write(chunk)
    if left != 0:
        raise _Unsafe(f"declares a wrong size for '{member.name}'")


def _merge(source: Path, target: Path) -> None:
    """Move what is in one folder into another, whole folders where they are new."""
    for path in sorted(source.iterdir()):
        there = target / path.name
        if path.is_dir() and there.is_dir():
            _merge(path, there)
        else:
            path.replace(there)
