"""Terminal output of the command line: messages and progress bars on stderr, tables on stdout.

Rich is imported on first use, because importing it takes longer than `benchkit --help`.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TextIO

import click

from benchkit.base.text import printable

if TYPE_CHECKING:
    from rich.console import Console

stream: TextIO | None = None
"""The stream of messages; None for standard error."""


def log(text: str) -> None:
    """Write a line to standard error; standard output is reserved for results."""
    messages = stream or sys.stderr
    messages.write(printable(text) + "\n")
    messages.flush()


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

    console = Console(file=stream or sys.stderr)
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
