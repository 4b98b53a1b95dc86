"""How work reports on itself: a log of messages and a progress bar, both passed by the caller."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

Log = Callable[[str], None]
"""A function that is called with one line of text."""

Bar = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""`bar(title, total)` is a context manager that yields a function to advance the bar."""


def no_log(_: str) -> None:
    """A log that discards its messages."""


@contextlib.contextmanager
def no_bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar that shows nothing."""
    yield lambda steps: None
