"""What the command line shows while it works: notes on stderr, and bars where a person watches."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from benchkit.base.errors import BenchkitError


def log(text: str) -> None:
    """One note on standard error; standard output is kept for results."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def page() -> Console:
    """Standard output for tables: names are shown as they are, and a pipe has 100 columns."""
    width = None if sys.stdout.isatty() else 100
    return Console(markup=False, emoji=False, highlight=False, width=width)


@contextlib.contextmanager
def wrong_call(*kinds: type[Exception]) -> Iterator[None]:
    """Errors that lie in the words of the call are click's to tell, with exit code 2."""
    try:
        yield
    except kinds as error:
        raise click.UsageError(str(error)) from None


def writable(out: Path) -> None:
    """Make the folder of a file that hours of work will end in, or say now that it cannot be."""
    if out.is_dir():
        raise BenchkitError(f"{out} is a folder; --out names the file to write")
    make_folder(out.parent)


def make_folder(folder: Path) -> None:
    """Make a folder, or say in one sentence why it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise BenchkitError(f"the folder {folder} cannot be made: {reason}") from None


def _silent(steps: int = 1) -> None:
    """What moves the bar that nobody sees."""


@contextlib.contextmanager
def bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar that `advance(steps)` moves; silent where stderr is not a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    if not console.is_terminal:
        # A progress bar that is switched off still ends with an empty line in some versions.
        yield _silent
        return
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=total)

        def advance(steps: int = 1) -> None:
            progress.advance(task, steps)

        yield advance
