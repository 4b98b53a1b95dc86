"""Standard output and standard error of a command.

Standard output is for results. The code of a user's methods may print, close or replace both
streams; `protected` keeps it away from them.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO

from benchkit.base import terminal

_NO_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


def prepare() -> None:
    """Replace streams that the caller closed, and never fail on a character."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # the caller closed it
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (open until the end)
        # A terminal that cannot show a character shows a question mark instead of a traceback.
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def close() -> None:
    """Drop output that cannot be written; Python would try it again at exit and report it."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        if stream is None or stream.closed:
            continue
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
                stream.flush()


def output_error(error: OSError) -> str:
    """The message for output that cannot be written."""
    reason = error.strerror or str(error)
    return f"the output cannot be written: {reason}" if error.errno in _NO_OUTPUT else reason


@contextlib.contextmanager
def protected() -> Iterator[None]:
    """Send the output of users' code to standard error, whatever it does to the streams.

    Messages of benchkit use a file descriptor of their own meanwhile. Afterwards both streams are
    as before, even if they were closed or replaced. Threads cannot end the process either.
    """
    from baselines.core.errors import no_exit  # a foreign package may hide `baselines`

    streams = sys.stdout, sys.stderr
    if not all(_is_open(stream) for stream in streams):  # such as a buffer of a test
        with contextlib.redirect_stdout(sys.stderr), no_exit():
            yield
        return
    for stream in streams:
        stream.flush()
    numbers = [stream.fileno() for stream in streams]
    saved = [os.dup(number) for number in numbers]
    at_start = sys.__stdout__, sys.__stderr__
    sys.stdout, sys.stderr, messages = (_writer(os.dup(saved[1])) for _ in range(3))
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr  # type: ignore[misc]
    previous, terminal.stream = terminal.stream, messages
    os.dup2(saved[1], numbers[0])
    try:
        with no_exit():
            yield
    finally:
        for user_stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # the object may be the user's own
                user_stream.flush()
        terminal.stream = previous
        sys.stdout, sys.stderr = streams
        sys.__stdout__, sys.__stderr__ = at_start  # type: ignore[misc]
        for number, copy in zip(numbers, saved, strict=True):
            os.dup2(copy, number)
            os.close(copy)


def _is_open(stream: TextIO) -> bool:
    try:
        os.fstat(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return False
    return True


class _Writer(io.TextIOWrapper):
    """A stream to a file descriptor that stays open if it is closed."""

    def close(self) -> None:
        self.flush()


def _writer(descriptor: int) -> io.TextIOWrapper:
    binary = open(descriptor, "wb")  # noqa: SIM115 (closed with the stream)
    return _Writer(binary, sys.stderr.encoding, "replace", line_buffering=True)
