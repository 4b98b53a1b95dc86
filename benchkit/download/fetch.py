"""Fetching public data sets: what is known, from where, and how a file is told from a wrong one.

`downloads.toml` lists the data sets. A file is fetched into `.NAME.part`, continued there after a
cut, checked (HTML pages, size, checksum) and renamed; a name without that ending is always a whole
file. HTTP and hashing are pooch's; this module adds what pooch lacks: continuing, mirrors, refusal
of HTML. Unpacking lives in `benchkit.download.archives`.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit

import pooch
import requests

from benchkit.base.errors import BenchkitError
from benchkit.base.files import Log, disk_error, sync
from benchkit.download import archives
from benchkit.download.archives import Bar, alone, human, require_space

CATALOGUE = Path(__file__).with_name("downloads.toml")
CHUNK = 2**16
MEBIBYTE = 2**20
TIMEOUT = (15, 60)  # seconds to connect, and between two bytes
TRIES = 5  # of one mirror, without a new byte
WAIT = 1.0  # seconds before the second try; doubles

# The first bytes that every file with this ending has.
MAGIC = {".zip": b"PK", ".tgz": b"\x1f\x8b", ".gz": b"\x1f\x8b", ".npy": b"\x93NUMPY"}
HTML = re.compile(rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?<(!doctype\s+html|html)\b", re.I)
# Answers that may be different a moment later.
PASSING = {408, 429, 500, 502, 503, 504}


class _Refused(Exception):
    """Why one mirror did not give the file; the next is tried."""


class _Again(Exception):
    """What was kept from an earlier attempt is of no use; start from zero."""


@dataclass(frozen=True)
class File:
    """One file of a data set; checksums and size are those that are published."""

    name: str
    urls: tuple[str, ...]  # mirrors, tried in this order
    sha256: str | None = None
    md5: str | None = None
    size: int | None = None  # bytes
    extract: bool = False

    @property
    def checksum(self) -> tuple[str, str] | None:
        """The strongest published checksum as (algorithm, digest)."""
        if self.sha256 is not None:
            return "sha256", self.sha256
        return ("md5", self.md5) if self.md5 is not None else None


@dataclass(frozen=True)
class Entry:
    """One data set: files, or a record that lists them, or what a person has to do."""

    name: str
    title: str
    licence: str
    note: str = ""
    files: tuple[File, ...] = ()
    record: str | None = None
    manual: str | None = None


def entries() -> dict[str, Entry]:
    """The data sets of the catalogue, by name."""
    found = {}
    for name, table in tomllib.loads(CATALOGUE.read_text(encoding="utf-8")).items():
        listed = table.pop("files", ())
        files = tuple(File(**file | {"urls": tuple(file["urls"])}) for file in listed)
        found[name] = Entry(name=name, files=files, **table)
    return found


def files_of(entry: Entry) -> tuple[File, ...]:
    """The files of a data set; those of a record are asked from its server.

    Raises:
        BenchkitError: the record cannot be read.
    """
    if entry.record is None:
        return entry.files
    try:
        answer = requests.get(entry.record, timeout=TIMEOUT)
        answer.raise_for_status()
        files = tuple(_recorded(entry.record, item) for item in answer.json()["files"])
        if not files:
            raise ValueError(entry.record)
        return files
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BenchkitError(
            f"{entry.record} did not answer with the file list of a record; try again later"
        ) from None
    except requests.RequestException as error:
        raise BenchkitError(
            f"the file list of {entry.name} at {entry.record} cannot be read: {_reason(error)}"
        ) from None


def _recorded(record: str, item: dict[str, Any]) -> File:
    """A file as a Zenodo record lists it, with the address of its web page as a mirror."""
    name, checksum = str(item["key"]), str(item["checksum"]).lower()
    if not checksum.startswith("md5:") or name != Path(name).name or name.startswith("."):
        raise ValueError(name)
    host, number = urlsplit(record), record.rsplit("/", 1)[-1]
    page = f"{host.scheme}://{host.netloc}/records/{number}/files/{quote(name)}?download=1"
    return File(
        name=name,
        urls=(str(item["links"]["self"]), page),
        md5=checksum.removeprefix("md5:"),
        size=int(item["size"]),
        extract=archives.is_archive(name),
    )


def fetch(file: File, folder: Path, log: Log, bar: Bar) -> Path:
    """Fetch one file, unless it is there and passes its checks.

    Args:
        file: the file.
        folder: where it goes; must exist.
        log: told what happens.
        bar: `bar(title, mebibytes)` is a context manager that yields a function to advance it.

    Returns:
        The path of the whole, checked file.

    Raises:
        BenchkitError: no mirror gave the file. What arrived intact is kept for the next attempt.
    """
    target = folder / file.name
    if file.extract and not target.exists() and archives.is_extracted(target):
        note = archives.marker(target)
        log(f"{file.name}: unpacked, and deleted since; remove {note} to fetch it again")
        return target
    if target.exists():
        problem = _problem(file, target)
        if problem is None:
            log(f"{file.name}: complete{_unchecked(file)}")
            return target
        log(f"{target} {problem}; fetching it again")
    with _Part.hold(folder, file) as part:
        _from_mirrors(file, part, log, bar)
        part.finish(target)
    log(f"{file.name}: {human(target.stat().st_size)} fetched{_unchecked(file)}")
    return target


def _unchecked(file: File) -> str:
    if file.checksum is not None:
        return ""
    return "; no checksum is published: size and type were checked"


def _problem(file: File, path: Path) -> str | None:
    """What is wrong with a file that should be whole, as the rest of a sentence."""
    with path.open("rb") as handle:
        head = handle.read(1024)
    if _is_html(head):
        return "is an HTML page, not the file"
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        return f"has {size:,} bytes, expected {file.size:,}"
    if file.checksum is not None:
        algorithm, expected = file.checksum
        found = pooch.file_hash(str(path), alg=algorithm)
        if found != expected:
            return f"has {algorithm.upper()} {found}, expected {expected}"
    suffix = Path(file.name).suffix
    if not head.startswith(MAGIC.get(suffix, b"")):
        return f"does not begin as a {suffix} file does"
    return None


def _is_html(head: bytes) -> bool:
    return HTML.match(head) is not None


class _Part:
    """The unfinished file: it stays between attempts, and one process at a time writes it."""

    def __init__(self, path: Path, handle: IO[bytes]) -> None:
        self.path = path
        self._handle = handle
        self._version = path.with_name(path.name + ".version")

    @classmethod
    @contextlib.contextmanager
    def hold(cls, folder: Path, file: File) -> Iterator[_Part]:
        path = folder / f".{file.name}.part"
        try:
            with path.open("ab") as handle:
                alone(handle, f"{folder / file.name} is being downloaded by another process")
                part = cls(path, handle)
                try:
                    yield part
                finally:
                    if part.size == 0:
                        part.begin(None)
                        path.unlink(missing_ok=True)
        except OSError as error:
            raise disk_error(error, folder / file.name) from error

    @property
    def size(self) -> int:
        return os.fstat(self._handle.fileno()).st_size

    @property
    def version(self) -> str:
        """What the server called the file that this is the beginning of; else, no one's name."""
        return self._version.read_text() if self._version.exists() else '"unknown"'

    def begin(self, version: str | None) -> None:
        self._handle.truncate(0)
        self._version.unlink(missing_ok=True)
        if version is not None:
            self._version.write_text(version)

    def append(self, data: bytes) -> None:
        self._handle.write(data)
        self._handle.flush()

    def finish(self, target: Path) -> None:
        sync(self.path)
        self.path.replace(target)
        self._version.unlink(missing_ok=True)
        sync(target.parent)


class _Stream:
    """One answer of one server, as the file-like object that pooch writes to."""

    def __init__(self, file: File, part: _Part, bar: Bar, stack: contextlib.ExitStack) -> None:
        self.file, self.part, self.bar, self.stack = file, part, bar, stack
        self.total: int | None = None
        self.begins = True
        self.version: str | None = None

    def headers(self) -> dict[str, str]:
        """What to ask for: the rest, if what is there can be proved to belong to it."""
        headers = {"Accept-Encoding": "identity"}
        if self.part.size:
            headers["Range"] = f"bytes={self.part.size}-"
            if self.file.checksum is None:
                headers["If-Range"] = self.part.version
        return headers

    def examine(self, response: requests.Response, *_: Any, **__: Any) -> None:
        """Look at an answer before any of it is written; pooch turns error codes into errors."""
        if response.is_redirect or (response.status_code >= 400 and response.status_code != 416):
            return
        try:
            self._examine(response)
        except Exception:
            response.close()
            raise

    def _examine(self, response: requests.Response) -> None:
        headers = response.headers
        if response.status_code == 416:
            raise _Again
        if headers.get("Content-Type", "").startswith("text/html"):
            raise _Refused("answered with an HTML page, not the file")
        if headers.get("Content-Encoding", "identity") != "identity":
            raise _Refused("sends the file in another encoding than it has")
        weak = headers.get("ETag", "W/").startswith("W/")
        self.version = headers.get("Last-Modified" if weak else "ETag")
        length = headers.get("Content-Length", "")
        self.total = int(length) if length.isdigit() else None
        self.begins = response.status_code == 200
        if not self.begins:
            match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", ""))
            changed = self.file.checksum is None and self.version != self.part.version
            if match is None or int(match[1]) != self.part.size or changed:
                raise _Again
            self.total = int(match[2])
        if None not in (self.total, self.file.size) and self.total != self.file.size:
            raise _Refused(f"offers {self.total:,} bytes, expected {self.file.size:,}")
        left = (self.total or self.file.size or 0) - self.part.size
        require_space(self.part.path.parent, left, f"download {self.file.name}")
        steps = -(-(self.total or self.file.size or 0) // MEBIBYTE)
        self.advance = self.stack.enter_context(self.bar(f"{self.file.name} (MiB)", steps))
        if not self.begins:
            self.advance(self.part.size // MEBIBYTE)

    def write(self, data: bytes) -> None:
        if self.begins:
            if _is_html(data[:1024]):
                raise _Refused("answered with an HTML page, not the file")
            self.part.begin(self.version)
            self.begins = False
        before = self.part.size
        self.part.append(data)
        self.advance((before + len(data)) // MEBIBYTE - before // MEBIBYTE)

    def flush(self) -> None:
        """Nothing is held back."""


def _from_mirrors(file: File, part: _Part, log: Log, bar: Bar) -> None:
    reasons = []
    for url in file.urls:
        try:
            _from(url, file, part, log, bar)
            return
        except _Refused as reason:
            log(f"{file.name}: {url}: {reason}")
            reasons.append(f"{url}: {reason}")
    kept = "nothing of it was kept"
    if part.size and (file.checksum is not None or part.version != '"unknown"'):
        kept = f"{human(part.size)} are kept, and the same command goes on from there"
    raise BenchkitError(f"{file.name} was not downloaded; {'; '.join(reasons)}; {kept}")


def _from(url: str, file: File, part: _Part, log: Log, bar: Bar) -> None:
    """Fetch a file from one mirror into its part, again and again while there is hope."""
    resumed, best, failures = part.size > 0, part.size, 0
    log(f"{file.name}: {'going on at ' + human(part.size) if resumed else 'fetching'} from {url}")
    while file.size is None or part.size != file.size:
        try:
            _stream(url, file, part, bar)
            break
        except _Again:
            part.begin(None)
            reason = "the server does not go on where the file was cut"
        except requests.RequestException as error:
            reason = _reason(error)
            if not _may_pass(error):
                raise _Refused(reason) from None
        failures = 0 if part.size > best else failures + 1
        best = max(best, part.size)
        if failures >= TRIES:
            raise _Refused(f"{reason} ({failures} tries)")
        log(f"{file.name}: {reason}, at {human(part.size)}; trying again")
        time.sleep(min(WAIT * 2**failures, 60))
    problem = _problem(file, part.path)
    if problem is None:
        return
    part.begin(None)
    if not resumed:
        raise _Refused(f"what it sent {problem}")
    log(f"{file.name}: what was kept and what was added {problem}; starting from zero")
    _from(url, file, part, log, bar)


def _stream(url: str, file: File, part: _Part, bar: Bar) -> None:
    with contextlib.ExitStack() as stack:
        stream = _Stream(file, part, bar, stack)
        download = pooch.HTTPDownloader(
            chunk_size=CHUNK,
            timeout=TIMEOUT,
            headers=stream.headers(),
            hooks={"response": stream.examine},
        )
        download(url, stream, None)
        if stream.begins:
            part.begin(None)
        if part.size < (stream.total or file.size or 0):
            raise requests.ConnectionError("closed early")


def _may_pass(error: requests.RequestException) -> bool:
    if error.response is not None:
        return error.response.status_code in PASSING
    kinds = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    return isinstance(error, kinds)


def _reason(error: requests.RequestException) -> str:
    """A network error in a few words."""
    if error.response is not None:
        return f"{error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError) or "closed early" in str(error):
        return "the connection was cut"
    if isinstance(error, requests.exceptions.SSLError):
        return "no trusted connection"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return type(error).__name__
