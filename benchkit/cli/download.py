"""`benchkit download`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

import click
from rich import box
from rich.table import Table

from benchkit.base.terminal import bar, log, make_folder, page
from benchkit.download import archives
from benchkit.download import fetch as downloading


@click.command()
@click.argument("name", required=False)
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Where data sets go; each gets a folder of its name there.",
)
@click.option(
    "--file",
    "names",
    multiple=True,
    metavar="FILE",
    help="Only this file; repeat for several.  [default: all files of NAME]",
)
@click.option(
    "--list",
    "listing",
    is_flag=True,
    help="List the data sets, or the files of NAME, and fetch nothing.",
)
@click.option(
    "--extract/--no-extract",
    default=True,
    show_default=True,
    help="Whether to unpack archives beside themselves.",
)
def download(
    name: str | None, to: Path, names: tuple[str, ...], listing: bool, extract: bool
) -> None:
    """Download a public data set, or list those that are known.

    A download that was cut goes on where it stopped. What is there and passes its checks is not
    fetched again. Data sets behind a licence page are not fetched: the command says what to do,
    and exits with 1.

    \b
    Examples:
      benchkit download
      benchkit download coco2014 --file annotations_trainval2014.zip
      benchkit download voc2007 --to /data --no-extract
    """  # noqa: D301 (click looks for the backspace itself)
    if name is None:
        if names:
            raise click.UsageError("--file needs the NAME of a data set")
        _list_all()
        return
    known = downloading.entries()
    _require_known(name, known, "data set")
    entry = known[name]
    if entry.manual is not None:
        click.echo(entry.manual.strip())
        raise click.exceptions.Exit(0 if listing else 1)
    files = downloading.files_of(entry)
    for wanted in names:
        _require_known(wanted, [file.name for file in files], "file")
    files = tuple(file for file in files if not names or file.name in names)
    if listing:
        _list_files(files)
        return
    log(f"{entry.title}; licence: {entry.licence}")
    folder = to / entry.name
    make_folder(folder)
    for file in files:
        path = downloading.fetch(file, folder, log, bar)
        if file.extract and extract:
            archives.extract(path, log, bar)
    click.echo(f"{len(files)} file{'s' if len(files) != 1 else ''} of {entry.name} in {folder}")


def _require_known(name: str, known: Iterable[str], what: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, list(known), 1, 0.0)[0]
        raise click.UsageError(f"there is no {what} '{name}'; the nearest name is '{near}'")


def _list_all() -> None:
    table = Table(box=box.SIMPLE_HEAD)
    for title in ("name", "what", "size", "licence"):
        table.add_column(title, no_wrap=title == "name")
    for entry in downloading.entries().values():
        what = f"{entry.title} ({entry.note})" if entry.note else entry.title
        table.add_row(entry.name, what, _size(entry), entry.licence)
    page().print(table)


def _size(entry: downloading.Entry) -> str:
    if entry.manual is not None:
        return "by hand"
    sizes = [file.size for file in entry.files]
    known = [size for size in sizes if size is not None]
    if not known:
        return "not published" if sizes else "see --list"
    return ("" if len(known) == len(sizes) else "over ") + archives.human(sum(known))


def _list_files(files: tuple[downloading.File, ...]) -> None:
    for file in files:
        size = "size not published" if file.size is None else f"{file.size:,} bytes"
        checksum = "no checksum" if file.checksum is None else " ".join(file.checksum)
        click.echo("\n    ".join([f"{file.name}: {size}, {checksum}", *file.urls]))
