"""`benchkit download`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchkit.base import fields
from benchkit.base.files import format_size
from benchkit.base.outputs import make_folder
from benchkit.base.terminal import bar, log, page
from benchkit.base.text import printable
from benchkit.cli.groups import Command
from benchkit.cli.types import FILE

if TYPE_CHECKING:
    from benchkit.download.catalogue import Entry, File


@click.command(cls=Command)
@click.argument("name", required=False)
@click.option(
    "--to",
    type=FILE,
    default=Path("data"),
    show_default=True,
    help="Parent folder; each data set gets a subfolder with its name.",
)
@click.option(
    "--file",
    "file_names",
    multiple=True,
    metavar="FILE",
    help="Download only this file; repeat for several.  [default: all files of NAME]",
)
@click.option(
    "--list",
    "list_only",
    is_flag=True,
    help="List the data sets, or the files of NAME, and download nothing.",
)
@click.option(
    "--extract/--no-extract",
    default=True,
    show_default=True,
    help="Unpack archives in their own folder.",
)
def download(
    name: str | None, to: Path, file_names: tuple[str, ...], list_only: bool, extract: bool
) -> None:
    """Download a public data set, or list the known ones.

    Interrupted downloads are resumed. Files that exist and pass their checks are not downloaded
    again. For data sets behind a licence form, the command prints instructions and exits with 1.

    \b
    Examples:
      benchkit download
      benchkit download coco2014 --file annotations_trainval2014.zip
      benchkit download voc2007 --to /data --no-extract
    """  # noqa: D301 (click interprets the backspace)
    from benchkit.download import archives, catalogue
    from benchkit.download.fetch import fetch

    if name is None:
        if file_names:
            raise click.UsageError("--file needs the NAME of a data set")
        _list_all(catalogue.entries().values())
        return
    entries = catalogue.entries()
    _require_known("data set", name, entries)
    entry = entries[name]
    if entry.manual is not None:
        click.echo(entry.manual.strip())
        raise click.exceptions.Exit(0 if list_only else 1)
    files = catalogue.files_of(entry)
    for file_name in file_names:
        _require_known("file", file_name, [file.name for file in files])
    files = tuple(file for file in files if not file_names or file.name in file_names)
    if list_only:
        _list_files(files)
        return
    log(f"{entry.title}; licence: {entry.licence}")
    folder = to / entry.name
    make_folder(folder)
    for file in files:
        path = fetch(file, folder, log, bar)
        if file.extract and extract:
            archives.extract(path, log, bar)
    count = f"{len(files)} file{'s' if len(files) != 1 else ''}"
    click.echo(f"{count} of {entry.name} in {printable(str(folder))}")


def _require_known(kind: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise click.UsageError(f"unknown {kind} '{name}'; {fields.nearest(name, known)}")


def _list_all(entries: Iterable[Entry]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for title in ("name", "data set", "size", "licence"):
        table.add_column(title, no_wrap=title == "name", overflow="fold")
    for entry in entries:
        description = f"{entry.title} ({entry.note})" if entry.note else entry.title
        table.add_row(entry.name, description, _size(entry), entry.licence)
    page().print(table)


def _size(entry: Entry) -> str:
    if entry.manual is not None:
        return "manual"
    sizes = [file.size for file in entry.files]
    published = [size for size in sizes if size is not None]
    if not published:
        return "not published" if sizes else "see --list"
    return ("" if len(published) == len(sizes) else "over ") + format_size(sum(published))


def _list_files(files: Iterable[File]) -> None:
    for file in files:
        size = "size not published" if file.size is None else f"{file.size:,} bytes"
        checksum = "no checksum" if file.checksum is None else " ".join(file.checksum)
        click.echo("\n    ".join([f"{file.name}: {size}, {checksum}", *file.urls]))
