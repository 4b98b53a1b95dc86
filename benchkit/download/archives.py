"""Safe unpacking of zip and tar archives from untrusted servers.

An archive is refused before anything is written if a member would be written outside the folder, is
a link or a device, if the declared sizes are implausible, or if the archive is damaged. All
checksums of the format are compared; an uncompressed tar file has none for the content of its
members. Members are unpacked into a temporary
folder beside the target and moved when all are complete; a marker file, written last, records that.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import json
import lzma
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from benchkit.base.errors import BenchkitError
from benchkit.base.files import atomic, disk_error, format_size, lock, require_space
from benchkit.base.messages import Bar, Log
from benchkit.base.paths import regular_file
from splits import zip_layout

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
# Limit of the unpacked size, relative to the archive. The densest archives of the catalogue,
# annotations in JSON, shrink to a tenth.
MAX_RATIO = 200
MIN_LIMIT = 2**26  # bytes that a small archive may always unpack to
CHUNK = 2**20  # bytes
HEADER_LIMIT = 2**15  # bytes of a tar header for long names or other attributes

_LONGEST = 200  # characters of a reason in a message
_EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_END_BLOCKS = 2  # blocks of zeros at the end of a tar file
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    LookupError,
    ArithmeticError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,  # also numbers in a PAX header, and names that are not UTF-8
)
"""The errors of zipfile and tarfile for a damaged archive."""


class _Unsafe(Exception):
    """Why an archive is refused, as the end of a sentence that begins with its name."""


class _DamagedError(Exception):
    """Why an archive is damaged, as a phrase."""


@dataclass(frozen=True)
class _Member:
    name: str
    folder: bool
    size: int
    open: Callable[[], IO[bytes]]


class _TarInfo(tarfile.TarInfo):
    """A tar header that is checked before tarfile reads the data that belong to it."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> _TarInfo:
        """Parse a header block.

        Raises:
            _Unsafe: a header of more than `HEADER_LIMIT` bytes, or a sparse file.
        """
        info = super().frombuf(buf, encoding, errors)
        if info.type == tarfile.GNUTYPE_SPARSE:
            raise _Unsafe(f"holds a sparse file ({_shown(info.name)})")
        if info.type in _EXTENDED and info.size > HEADER_LIMIT:
            raise _Unsafe(f"holds a header of {format_size(info.size)}")
        if info.size < 0:
            raise _DamagedError("a file in it has a negative size")
        return info


def is_archive(name: str) -> bool:
    """Whether a file can be unpacked, by its suffix."""
    return name.lower().endswith(SUFFIXES)


def marker(archive: Path) -> Path:
    """The marker file that records that an archive was unpacked."""
    return archive.parent / f".{archive.name}.extracted"


def is_extracted(archive: Path) -> bool:
    """Whether an archive was unpacked completely and its top-level files still exist.

    This is also true if the archive was deleted afterwards, but not if it has changed.
    """
    if not marker(archive).is_file():
        return False
    try:
        record = json.loads(marker(archive).read_text(encoding="utf-8"))
        if not all((archive.parent / name).exists() for name in record["top"]):
            return False
        return not archive.exists() or record["identity"] == _identity(archive)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # a damaged marker
        return False


def _identity(archive: Path) -> list[int]:
    stats = archive.stat()
    return [stats.st_size, stats.st_mtime_ns]


def extract(archive: Path, log: Log, bar: Bar, limit: int | None = None) -> None:
    """Unpack an archive into its own folder.

    Existing folders are merged and files replaced, because several archives may share a folder
    (VOC 2007). The file modes and times in the archive are ignored.

    Args:
        archive: a `.zip`, `.tar`, `.tar.gz` or `.tgz` file.
        log: called with a message about removed leftovers and about the result.
        bar: `bar(title, files)` is a context manager that yields a function to advance it.
        limit: the maximal unpacked size in bytes; by default 200 times the size of the archive,
            and at least 64 MiB.

    Raises:
        BenchkitError: the archive is not a regular file, or is unsafe, damaged or truncated, or the
            disk is full. In all cases nothing is unpacked.
    """
    if is_extracted(archive):
        log(f"{archive.name}: unpacked already")
        return
    regular_file(archive, "archive")
    limit = max(MAX_RATIO * archive.stat().st_size, MIN_LIMIT) if limit is None else limit
    try:
        with (
            archive.open("rb") as handle,
            _readable_errors(archive),
            _members(archive, limit) as members,
        ):
            lock(handle, f"{archive} is being unpacked by another process")
            needed = sum(member.size for member in members)
            require_space(archive.parent, needed, f"unpack {archive.name}")
            top = _unpack_and_move(members, archive, log, bar)
    except OSError as error:
        raise disk_error(error, archive.parent) from error
    record = {"identity": _identity(archive), "top": top}
    with atomic(marker(archive), log) as partial:
        partial.write_text(json.dumps(record), encoding="utf-8")
    files = sum(not member.folder for member in members)
    log(f"{archive.name}: {files} files unpacked in {archive.parent}")


@contextlib.contextmanager
def _readable_errors(archive: Path) -> Iterator[None]:
    """Turn the errors of zipfile, tarfile and zlib into sentences about the archive."""
    try:
        yield
    except _Unsafe as reason:
        raise BenchkitError(f"{archive} {reason}; nothing was unpacked") from None
    except (_DamagedError, zip_layout.LayoutError) as error:
        raise _damaged(archive, str(error)) from None
    except NotImplementedError:
        raise BenchkitError(
            f"{archive} uses a compression or an encryption that is not supported; unpack it with "
            f"another program"
        ) from None
    except OSError as error:
        # Errors of the disk are not of these kinds: gzip and bz2 give no number, and a damaged
        # offset is an invalid argument.
        if error.errno not in (None, errno.EINVAL):
            raise
        raise _damaged(archive, _reason(error)) from None
    except _DAMAGE as error:
        raise _damaged(archive, _reason(error)) from None


def _damaged(archive: Path, reason: str) -> BenchkitError:
    return BenchkitError(
        f"{archive} is damaged or truncated ({reason}); delete it and download it again"
    )


def _reason(error: Exception) -> str:
    """An error of the standard library as a phrase; its own texts are for programmers."""
    text = str(error)
    if "CRC" in text:
        return "its content does not match its checksum, a CRC"
    if "Incorrect length" in text:
        return "its content does not have the length that it states"
    if isinstance(error, gzip.BadGzipFile) or "gzip" in text:
        return "it is not a gzip file, or other data follow its compressed content"
    if isinstance(error, EOFError):
        return "it ends too early"
    if isinstance(error, zlib.error | lzma.LZMAError | OSError) or "zlib" in text:
        return "its compressed content cannot be decompressed"
    if isinstance(error, zipfile.BadZipFile):
        return "its directory is missing or contradicts its content"
    return "it has a header that cannot be read"


# ----------------------------------------------------------------------------- reading


@contextlib.contextmanager
def _members(archive: Path, limit: int) -> Iterator[list[_Member]]:
    """The checked members of an archive, which stays open."""
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as zip_file:
            with archive.open("rb") as file:
                zip_layout.check(file, zip_file.infolist())
            yield _checked(_zip_members(zip_file), limit)
    else:
        compressed = archive.name.lower().endswith("gz")
        mode: Any = "r:gz" if compressed else "r:"
        with tarfile.open(archive, mode, tarinfo=_TarInfo) as tar_file:
            yield _checked(_tar_members(tar_file), limit)


def _checked(members: Iterator[_Member], limit: int) -> list[_Member]:
    """All members, if they have safe, different names and plausible sizes, and include a file."""
    by_path: dict[str, _Member] = {}
    total = 0
    for member in members:
        _require_inside(member.name)
        path = os.path.normpath(member.name)
        if path in by_path and not (member.folder and by_path[path].folder):
            raise _Unsafe(f"holds {_shown(member.name)} twice")
        if path == "." and not member.folder:
            raise _Unsafe(f"holds a file with the name {_shown(member.name)}")
        total += member.size + tarfile.BLOCKSIZE  # members without data need memory too
        if total > limit:
            raise _Unsafe(f"would unpack to more than {format_size(limit)}")
        by_path[path] = member
    for path in by_path:
        parent = os.path.dirname(path)
        while parent:
            if parent in by_path and not by_path[parent].folder:
                raise _Unsafe(f"holds {_shown(by_path[parent].name)} as a file and as a folder")
            parent = os.path.dirname(parent)
    if all(member.folder for member in by_path.values()):
        raise _Unsafe("holds no file")
    return list(by_path.values())


def _require_inside(name: str) -> None:
    """Refuse a name that is not a plain relative path on every operating system."""
    parts = name.replace("\\", "/").split("/")
    absolute = parts[0] == "" or name[1:2] == ":"
    if absolute or ".." in parts or "\\" in name or "\0" in name:
        raise _Unsafe(f"holds the path {_shown(name)}, which may lead outside the folder")


def _shown(name: str) -> str:
    """A name for a message, shortened and on one line."""
    return repr(name if len(name) <= _LONGEST else f"{name[:_LONGEST]}...")


def _zip_members(zip_file: zipfile.ZipFile) -> Iterator[_Member]:
    for info in zip_file.infolist():
        file_type = stat.S_IFMT(info.external_attr >> 16)
        if file_type not in (0, stat.S_IFREG, stat.S_IFDIR):
            kind = "link" if file_type == stat.S_IFLNK else "device"
            raise _Unsafe(f"holds a {kind} ({_shown(info.filename)})")
        if info.flag_bits & 1:
            raise _Unsafe(f"is encrypted ({_shown(info.filename)})")
        yield _Member(
            info.orig_filename,
            info.is_dir(),
            info.file_size,
            lambda info=info: zip_file.open(info),  # type: ignore[misc]
        )


def _tar_members(tar_file: tarfile.TarFile) -> Iterator[_Member]:
    for info in tar_file:
        if not (info.isreg() or info.isdir()):
            kind = "link" if info.issym() or info.islnk() else "device"
            raise _Unsafe(f"holds a {kind} ({_shown(info.name)})")
        if info.issparse():
            raise _Unsafe(f"holds a sparse file ({_shown(info.name)})")
        if info.size < 0:
            raise _DamagedError("a file in it has a negative size")
        yield _Member(
            info.name,
            info.isdir(),
            info.size if info.isreg() else 0,
            lambda info=info: _required(tar_file.extractfile(info)),  # type: ignore[misc]
        )
    _check_end(_required(tar_file.fileobj), tar_file.offset)


def _check_end(handle: IO[bytes], position: int) -> None:
    """Read a tar file to its end, which is at least two blocks of zeros.

    tarfile reads a damaged header as the end, and stops before the checksum of gzip.

    Args:
        handle: the tar file, decompressed.
        position: the position behind the last member.

    Raises:
        _DamagedError: no such end, or other data follow.
        _Unsafe: a very long end.
    """
    handle.seek(position)
    length = 0
    while chunk := handle.read(CHUNK):
        if length == 0 and any(chunk[: tarfile.BLOCKSIZE]):
            break
        length += len(chunk)
        if chunk.count(0) < len(chunk):
            raise _DamagedError(f"other data follow its end at byte {position:,}")
        if length > MIN_LIMIT:
            raise _Unsafe(f"ends in more than {format_size(MIN_LIMIT)} of zeros")
    if length < _END_BLOCKS * tarfile.BLOCKSIZE or length % tarfile.BLOCKSIZE:
        raise _DamagedError(f"no end after byte {position:,}")


def _required(handle: Any) -> IO[bytes]:
    if handle is None:
        raise _DamagedError("a file in it has no data")
    return handle


# ----------------------------------------------------------------------------- writing


def _unpack_and_move(members: list[_Member], archive: Path, log: Log, bar: Bar) -> list[str]:
    """Unpack beside the target and move; returns the top-level names of the archive."""
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
        _require_no_conflict(unpacking, archive.parent)
        _merge(unpacking, archive.parent)
    finally:
        shutil.rmtree(unpacking, ignore_errors=True)
    return top


def _unpack(members: list[_Member], folder: Path, title: str, bar: Bar) -> None:
    with bar(title, len(members)) as advance:
        for member in members:
            target = folder / member.name
            if member.folder:
                target.mkdir(parents=True, exist_ok=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                _copy(member, target)
            advance(1)
    os.sync()


def _copy(member: _Member, target: Path) -> None:
    """Write one file, and stop if it is longer than its declared size."""
    left = member.size
    with member.open() as source, target.open("xb") as sink:
        while chunk := source.read(CHUNK):
            left -= len(chunk)
            if left < 0:
                break
            sink.write(chunk)
    if left != 0:
        raise _Unsafe(f"declares a wrong size for {_shown(member.name)}")


def _require_no_conflict(source: Path, target: Path) -> None:
    """Refuse a file in place of an existing folder, or a folder in place of a file."""
    for path in sorted(source.iterdir()):
        existing = target / path.name
        if existing.exists() and path.is_dir() != existing.is_dir():
            kinds = ("folder", "file") if path.is_dir() else ("file", "folder")
            raise _Unsafe(f"holds the {kinds[0]} {path.name!r}, but {existing} is a {kinds[1]}")
        if path.is_dir() and existing.is_dir():
            _require_no_conflict(path, existing)


def _merge(source: Path, target: Path) -> None:
    """Move the contents of one folder into another, new subfolders by a single rename."""
    for path in sorted(source.iterdir()):
        existing = target / path.name
        if path.is_dir() and existing.is_dir():
            _merge(path, existing)
        else:
            path.replace(existing)
