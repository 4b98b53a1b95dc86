"""The public data sets that `benchkit download` knows, from `downloads.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from benchkit.base.errors import BenchkitError
from benchkit.download import archives, network

CATALOGUE = Path(__file__).with_name("downloads.toml")


@dataclass(frozen=True)
class File:
    """One file of a data set.

    Attributes:
        name: the file name.
        urls: its mirrors, in the order in which they are tried.
        sha256: the published SHA-256 digest, or None.
        md5: the published MD5 digest, or None.
        size: the published size in bytes, or None.
        extract: whether the file is an archive to unpack.
    """

    name: str
    urls: tuple[str, ...]
    sha256: str | None = None
    md5: str | None = None
    size: int | None = None
    extract: bool = False

    @property
    def checksum(self) -> tuple[str, str] | None:
        """The strongest published checksum as (algorithm, digest), or None."""
        if self.sha256 is not None:
            return "sha256", self.sha256
        return ("md5", self.md5) if self.md5 is not None else None


@dataclass(frozen=True)
class Entry:
    """One data set. Exactly one of `files`, `record` and `manual` is set.

    Attributes:
        name: the name on the command line.
        title: one line for the list of data sets.
        licence: the licence of the data.
        note: a remark for the list, or "".
        files: the files.
        record: the API address of a Zenodo record that lists the files.
        manual: instructions for a data set that cannot be downloaded automatically.
    """

    name: str
    title: str
    licence: str
    note: str = ""
    files: tuple[File, ...] = ()
    record: str | None = None
    manual: str | None = None


def entries() -> dict[str, Entry]:
    """The data sets of the catalogue, by name."""
    catalogue = {}
    for name, table in tomllib.loads(CATALOGUE.read_text(encoding="utf-8")).items():
        tables = table.pop("files", ())
        files = tuple(File(**file | {"urls": tuple(file["urls"])}) for file in tables)
        catalogue[name] = Entry(name=name, files=files, **table)
    return catalogue


def files_of(entry: Entry) -> tuple[File, ...]:
    """The files of a data set; for a Zenodo record, requested from its server.

    Raises:
        BenchkitError: the record cannot be read.
    """
    if entry.record is None:
        return entry.files
    try:
        response = requests.get(entry.record, timeout=network.TIMEOUT)
        response.raise_for_status()
        files = tuple(_record_file(entry.record, item) for item in response.json()["files"])
        if not files:
            raise ValueError(entry.record)
        return files
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BenchkitError(
            f"{entry.record} did not return the file list of a record; try again later"
        ) from None
    except requests.RequestException as error:
        raise BenchkitError(
            f"the file list of {entry.name} at {entry.record} cannot be read: "
            f"{network.reason(error)}"
        ) from None


def _record_file(record: str, item: dict[str, Any]) -> File:
    """A file from the JSON of a Zenodo record, with its address on the web page as a mirror."""
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
