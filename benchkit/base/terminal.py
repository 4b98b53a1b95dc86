"""Terminal output of the command line: messages and progress bars on stderr, tables on stdout.

Rich is imported on first use, because importing it takes longer than `benchkit --help`.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchkit.base.errors import BenchkitError

if TYPE_CHECKING:
    from rich.console import Console

Bar = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""The type of `bar`, for functions that take it as an argument."""


def log(text: str) -> None:
    """Write a line to standard error; standard output is reserved for results."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def page() -> Console:
    """A console for tables on standard output.

    It does not interpret markup in names, and it is 100 columns wide if the output is a pipe.
    """
    from rich.console import Console

    width = None if sys.stdout.isatty() else 100
    return Console(markup=False, emoji=False, highlight=False, width=width)


@contextlib.contextmanager
def wrong_call(*kinds: type[Exception]) -> Iterator[None]:
    """Turn exceptions of the given types into click usage errors (exit code 2)."""
    try:
        yield
    except kinds as error:
        raise click.UsageError(str(error)) from None


def writable(out: Path) -> None:
    """Check before a long computation that its output file can be created; make its folder.

    Raises:
        BenchkitError: `out` is a folder, or its parent folder cannot be created.
    """
    if out.is_dir():
        raise BenchkitError(f"{out} is a folder; --out takes the path of a file")
    make_folder(out.parent)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents.

    Raises:
        BenchkitError: the folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise BenchkitError(f"the folder {folder} cannot be created: {reason}") from None


@contextlib.contextmanager
def bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on standard error, or nothing if that is not a terminal.

    Args:
        title: shown before the bar.
        total: the number of steps at which the bar is full.

    Yields:
        A function that advances the bar by a number of steps.
    """
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        # Some versions of rich end even a disabled progress bar with an empty line.
        yield lambda steps: None
        return
    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=console, transient=True) as display:
        task = display.add_task(title, total=total)
        yield lambda steps: display.advance(task, steps)
