"""An unfinished download: kept between attempts, written by one process at a time.

The bytes are in `.NAME.part`. If the server sent an ETag or a modification date, it is in
`.NAME.part.version`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from benchkit.base.errors import BenchkitError
from benchkit.base.files import disk_error, lock, sync
from benchkit.base.paths import regular_file

_UNKNOWN = '"unknown"'  # matches no version of a server
_HEADER_ENCODING = "latin-1"  # of HTTP
_MOST_CHARACTERS = 1000  # of a version


class Part:
    """The beginning of a file, open and locked."""

    def __init__(self, path: Path, handle: IO[bytes]) -> None:
        self.path = path
        self._handle = handle
        self._version = path.with_name(path.name + ".version")

    @classmethod
    @contextlib.contextmanager
    def open(cls, target: Path) -> Iterator[Part]:
        """Open and lock the part of `target`; on exit, an empty part is deleted.

        Raises:
            BenchkitError: another process downloads the same file, something other than a file is
                in the place of the part, or the disk cannot be written.
        """
        path = target.with_name(f".{target.name}.part")
        if path.is_symlink():
            raise BenchkitError(f"{path} is a link, not an unfinished download; remove it")
        if path.exists():
            regular_file(path, "unfinished download")
        try:
            with path.open("ab") as handle:
                lock(handle, f"{target} is being downloaded by another process")
                part = cls(path, handle)
                try:
                    yield part
                finally:
                    if part.size == 0:
                        part.restart(None)
                        path.unlink(missing_ok=True)
        except OSError as error:
            raise disk_error(error, target) from error

    @property
    def size(self) -> int:
        """Bytes that have arrived."""
        return os.fstat(self._handle.fileno()).st_size

    @property
    def version(self) -> str:
        """The version of the file that the bytes belong to, as the server named it.

        If the server named none, or the file that holds it is damaged, a text that equals the
        version of no server.
        """
        if not self._version.is_file():
            return _UNKNOWN
        with self._version.open(encoding=_HEADER_ENCODING) as file:
            text = file.read(_MOST_CHARACTERS + 1)
        return text if text.isprintable() and len(text) <= _MOST_CHARACTERS else _UNKNOWN

    @property
    def has_version(self) -> bool:
        """Whether the server named the version of the file."""
        return self.version != _UNKNOWN

    def restart(self, version: str | None) -> None:
        """Delete all bytes; the next ones belong to `version`."""
        self._handle.truncate(0)
        self._version.unlink(missing_ok=True)
        if version is not None:
            self._version.write_text(version, encoding=_HEADER_ENCODING)

    def append(self, data: bytes) -> None:
        """Add bytes at the end."""
        self._handle.write(data)
        self._handle.flush()

    def finish(self, target: Path) -> None:
        """Sync the bytes and rename the part to `target`."""
        sync(self.path)
        self.path.replace(target)
        self._version.unlink(missing_ok=True)
        sync(target.parent)
