"""Download of one file: resumed, checked, from several mirrors.

A file is downloaded to `.NAME.part`, resumed there after an interruption, checked (HTML pages,
size, checksum) and renamed, so `NAME` is always a complete file. Pooch does the HTTP and the
hashing; this module adds resuming, mirrors and the refusal of HTML pages.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pooch
import requests

from benchkit.base.errors import BenchkitError
from benchkit.base.files import format_size, require_space
from benchkit.base.messages import Bar, Log
from benchkit.base.paths import regular_file
from benchkit.download import archives, checks, network
from benchkit.download.catalogue import File
from benchkit.download.part import Part

CHUNK = 2**16  # bytes
TRIES = 5  # attempts at one mirror without a new byte
WAIT = 1.0  # seconds before the second attempt, then doubled
_MEBIBYTE = 2**20


class _MirrorError(Exception):
    """Why a mirror did not give the file; the next mirror is tried."""


class _Restart(Exception):
    """The server cannot continue the bytes of an earlier attempt; start from zero."""


def fetch(file: File, folder: Path, log: Log, bar: Bar) -> Path:
    """Download one file, unless it exists and passes its checks.

    Args:
        file: the file.
        folder: an existing folder.
        log: called with progress messages.
        bar: `bar(title, mebibytes)` is a context manager that yields a function to advance it.

    Returns:
        The path of the complete, checked file.

    Raises:
        BenchkitError: something other than a file is in its place, or no mirror gave the file. The
            valid bytes are kept for the next attempt.
    """
    target = folder / file.name
    if file.extract and not target.exists() and archives.is_extracted(target):
        marker = archives.marker(target)
        log(f"{file.name}: unpacked before, archive deleted; to download it again, delete {marker}")
        return target
    if target.exists():
        regular_file(target, "file")
        problem = checks.problem(file, target)
        if problem is None:
            log(f"{file.name}: complete{checks.remark(file)}")
            return target
        log(f"{target} {problem}; downloading it again")
    with Part.open(target) as part:
        _try_mirrors(file, part, log, bar)
        part.finish(target)
    log(f"{file.name}: {format_size(target.stat().st_size)} downloaded{checks.remark(file)}")
    return target


def _try_mirrors(file: File, part: Part, log: Log, bar: Bar) -> None:
    """Download a file into its part from the first mirror that gives it."""
    reasons = []
    for url in file.urls:
        try:
            _fetch_from(url, file, part, log, bar)
            return
        except _MirrorError as reason:
            log(f"{file.name}: {url}: {reason}")
            reasons.append(f"{url}: {reason}")
    kept = "no part of it was kept"
    if part.size and (file.checksum is not None or part.has_version):
        kept = f"{format_size(part.size)} were kept; run the same command again to resume"
    raise BenchkitError(f"{file.name} was not downloaded; {'; '.join(reasons)}; {kept}")


def _fetch_from(url: str, file: File, part: Part, log: Log, bar: Bar) -> None:
    """Download a file into its part from one mirror, with up to `TRIES` attempts per new byte."""
    resumed, largest, failures = part.size > 0, part.size, 0
    start = f"resuming at {format_size(part.size)}" if resumed else "downloading"
    log(f"{file.name}: {start} from {url}")
    while file.size is None or part.size != file.size:
        try:
            _request(url, file, part, bar)
            break
        except _Restart:
            part.restart(None)
            reason = "the server cannot resume the download"
        except requests.RequestException as error:
            reason = network.reason(error)
            if not network.is_temporary(error):
                raise _MirrorError(reason) from None
        failures = 0 if part.size > largest else failures + 1
        largest = max(largest, part.size)
        if failures >= TRIES:
            raise _MirrorError(f"{reason} ({failures} tries)")
        log(f"{file.name}: {reason}, at {format_size(part.size)}; trying again")
        time.sleep(min(WAIT * 2**failures, 60))
    problem = checks.problem(file, part.path)
    if problem is None:
        return
    part.restart(None)
    if not resumed:
        raise _MirrorError(f"the received file {problem}")
    log(f"{file.name}: the resumed file {problem}; starting from zero")
    _fetch_from(url, file, part, log, bar)


def _request(url: str, file: File, part: Part, bar: Bar) -> None:
    """Send one request and append its answer to the part."""
    with contextlib.ExitStack() as stack:
        answer = _Answer(file, part, bar, stack)
        download = pooch.HTTPDownloader(
            chunk_size=CHUNK,
            timeout=network.TIMEOUT,
            headers=answer.request_headers(),
            hooks={"response": answer.examine},
        )
        download(url, answer, None)
        if answer.from_start:  # an empty body
            part.restart(None)
        if part.size < (answer.total or file.size or 0):
            raise requests.ConnectionError("closed early")


class _Answer:
    """The answer of a server, as the file-like object that pooch writes to.

    Attributes:
        total: the size of the complete file in bytes as the server announces it, or None.
        from_start: whether the next byte is the first of the file.
        version: the ETag or the modification date that the server sent, or None.
    """

    def __init__(self, file: File, part: Part, bar: Bar, stack: contextlib.ExitStack) -> None:
        self.file, self.part = file, part
        self.total: int | None = None
        self.from_start = True
        self.version: str | None = None
        self._bar, self._stack = bar, stack
        self._advance: Callable[[int], None] = lambda _: None

    def request_headers(self) -> dict[str, str]:
        """Headers that request the missing bytes, if they can be matched to the existing ones.

        Without a published checksum, `If-Range` has the server confirm that the version is the
        same; with one, the complete file is checked at the end.
        """
        headers = {"Accept-Encoding": "identity"}
        if self.part.size:
            headers["Range"] = f"bytes={self.part.size}-"
            if self.file.checksum is None:
                headers["If-Range"] = self.part.version
        return headers

    def examine(self, response: requests.Response, *_: Any, **__: Any) -> None:
        """Check the headers before anything is written; pooch raises for the other error codes."""
        if response.is_redirect or (response.status_code >= 400 and response.status_code != 416):
            return
        try:
            self._read_headers(response)
            self._prepare()
        except Exception:
            response.close()
            raise

    def _read_headers(self, response: requests.Response) -> None:
        headers = response.headers
        if response.status_code == 416:
            raise _Restart
        if headers.get("Content-Type", "").startswith("text/html"):
            raise _MirrorError("the answer is an HTML page, not the file")
        if headers.get("Content-Encoding", "identity") != "identity":
            raise _MirrorError("the server sends the file compressed, against the request")
        weak = headers.get("ETag", "W/").startswith("W/")
        self.version = headers.get("Last-Modified" if weak else "ETag")
        length = headers.get("Content-Length", "")
        self.total = int(length) if length.isdigit() else None
        self.from_start = response.status_code == 200
        if not self.from_start:
            match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", ""))
            changed = self.file.checksum is None and self.version != self.part.version
            if match is None or int(match[1]) != self.part.size or changed:
                raise _Restart
            self.total = int(match[2])
        if None not in (self.total, self.file.size) and self.total != self.file.size:
            raise _MirrorError(f"the server offers {self.total:,} bytes, not {self.file.size:,}")

    def _prepare(self) -> None:
        """Check the free space and show the progress bar."""
        left = (self.total or self.file.size or 0) - self.part.size
        require_space(self.part.path.parent, left, f"download {self.file.name}")
        steps = -(-(self.total or self.file.size or 0) // _MEBIBYTE)
        self._advance = self._stack.enter_context(self._bar(f"{self.file.name} (MiB)", steps))
        if not self.from_start:
            self._advance(self.part.size // _MEBIBYTE)

    def write(self, data: bytes) -> None:
        """Append bytes to the part."""
        if self.from_start:
            if checks.is_html(data[: checks.HEAD]):
                raise _MirrorError("the answer is an HTML page, not the file")
            self.part.restart(self.version)
            self.from_start = False
        before = self.part.size
        self.part.append(data)
        self._advance((before + len(data)) // _MEBIBYTE - before // _MEBIBYTE)

    def flush(self) -> None:
        """Do nothing: `write` has flushed already."""
