"""The exception of methods, and how the exceptions of users' methods are reported."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, ClassVar, NoReturn

_LONGEST = 300  # characters of an exception's own text


class MethodError(ValueError):
    """A method is unknown, ill-formed, or used against its declaration."""


class Interrupt(KeyboardInterrupt):
    """A Ctrl-C that the command line received.

    A method may raise `KeyboardInterrupt` itself, which must not end the other runs. The handler of
    the command line raises this type, so that the two can be distinguished.

    Attributes:
        handled: whether that handler is installed. Without it, every `KeyboardInterrupt` counts as
            a Ctrl-C.
    """

    handled: ClassVar[bool] = False


def is_interrupt(error: BaseException) -> bool:
    """Whether an exception is a Ctrl-C, and not a failure of the code that it interrupted."""
    return isinstance(error, Interrupt if Interrupt.handled else KeyboardInterrupt)


@contextlib.contextmanager
def no_exit() -> Iterator[None]:
    """Turn `os._exit` into SystemExit while a user's code runs.

    `os._exit` would end the process without a message. In a child process, such as a worker of a
    data loader, it keeps its meaning.
    """
    original: Any = os._exit
    owner = os.getpid()

    def refuse(status: int) -> NoReturn:
        if os.getpid() != owner:
            original(status)
        raise SystemExit(status)

    os._exit = refuse
    try:
        yield
    finally:
        os._exit = original


def one_line(error: BaseException) -> str:
    """The type and the message of an exception of a user's code, as one printable line."""
    kind = type(error).__name__
    try:
        text = str(error)
    except Exception:  # the exception class is the user's own
        text = ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    text = "".join(c if c.isprintable() else "?" for c in lines[0]) if lines else ""
    text = text if len(text) <= _LONGEST else text[:_LONGEST] + "..."
    return f"{kind}: {text}" if text else kind


def last_line(error: BaseException, file: str | None) -> int | None:
    """The line of a file in which an exception was raised or passed through last, if any."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
