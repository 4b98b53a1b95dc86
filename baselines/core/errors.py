"""The exception of methods, and how the exceptions of users' methods are reported."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
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
        received: whether a Ctrl-C was raised. A method may catch it, so the trainer raises it again
            by `raise_if_received`.
    """

    handled: ClassVar[bool] = False
    received: ClassVar[bool] = False

    @classmethod
    def raise_if_received(cls) -> None:
        """Raise a Ctrl-C that was received before."""
        if cls.received:
            raise cls


def is_interrupt(error: BaseException) -> bool:
    """Whether an exception is a Ctrl-C, and not a failure of the code that it interrupted."""
    return isinstance(error, Interrupt if Interrupt.handled else KeyboardInterrupt)


@contextlib.contextmanager
def no_exit() -> Iterator[None]:
    """Turn `os._exit` and `os.exec*` into SystemExit while a user's code runs.

    They would end the process without a message. In a child process, such as a worker of a data
    loader, they keep their meaning.
    """
    names = ("_exit", "execv", "execve")  # the other functions of the family call these
    originals: dict[str, Any] = {name: getattr(os, name) for name in names}
    owner = os.getpid()

    def refusal(name: str) -> Callable[..., NoReturn]:
        def refuse(*arguments: Any, **options: Any) -> NoReturn:
            if os.getpid() != owner:
                originals[name](*arguments, **options)
            raise SystemExit(arguments[0] if name == "_exit" and arguments else f"os.{name}")

        return refuse

    for name in names:
        setattr(os, name, refusal(name))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(os, name, original)


def message(error: BaseException) -> str:
    """The message of an exception; empty if the class, which may be the user's, gives none."""
    try:
        return str(error)
    except Exception:
        return ""


def one_line(error: BaseException) -> str:
    """The type and the message of an exception of a user's code, as one printable line."""
    kind, text = type(error).__name__, message(error)
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
