"""Warnings and lost exceptions as one line each, with the name of a user's file.

Python prints a warning with a line of source code, and an exception in a thread or a finaliser as a
traceback. A command prints a line of the form `warning: my_method.py, line 12: text`, once.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from benchkit.base.terminal import log
from benchkit.base.text import one_line
from benchkit.cli.interrupts import is_ctrl_c, repeat

_PLUGIN = "benchkit_plugin_"  # the beginning of the name of a plugin's module
_OWN = ("benchkit", "baselines", "splits", "leaderboard")
_ORIGIN = re.compile(r"\s*\((Triggered internally|function operator\(\)|Triggered) at [^)]*\)")
_PACKAGE = re.compile(r"(?:site|dist)-packages[/\\]([A-Za-z0-9_]+)")


_printed: set[str] = set()  # by the current command


@contextlib.contextmanager
def shown() -> Iterator[None]:
    """Print warnings and lost exceptions as lines."""
    hooks = threading.excepthook, sys.unraisablehook
    _printed.clear()
    _install_hooks()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            yield
    finally:
        threading.excepthook, sys.unraisablehook = hooks


@functools.cache  # once for a process
def shown_at_exit() -> None:
    """Print exceptions of functions that users' code has registered by `atexit` as lines."""
    atexit.register(_install_hooks)  # runs before functions that were registered earlier


def _install_hooks() -> None:
    threading.excepthook, sys.unraisablehook = _show_thread, _show_ignored


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, *_: Any, **__: Any
) -> None:
    text = _ORIGIN.sub("", str(message)) or category.__name__
    _notice(_user_line(sys._getframe()) or _package(filename), text)


def _show_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_type is not SystemExit:
        place = _user_line_of(arguments.exc_traceback)
        _notice(place, f"a thread failed: {_described(arguments.exc_value)}")


def _show_ignored(arguments: Any) -> None:
    error = arguments.exc_value
    if isinstance(error, KeyboardInterrupt) and is_ctrl_c(error):
        repeat()
    elif not isinstance(error, SystemExit):
        place = _user_line_of(arguments.exc_traceback)
        _notice(place, f"an error was ignored: {_described(error)}")


def _notice(where: str | None, text: str) -> None:
    line = one_line(" ".join(f"warning: {where + ': ' if where else ''}{text}".split()))
    if line not in _printed:
        _printed.add(line)
        with contextlib.suppress(OSError, ValueError):  # the stream may be closed
            log(line)


def _described(error: BaseException | None) -> str:
    from baselines.core.errors import one_line as described

    return "no reason is known" if error is None else described(error)


def _user_line(frame: FrameType | None) -> str | None:
    """The file and line of the innermost frame of a plugin."""
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).startswith(_PLUGIN):
            return f"{Path(frame.f_code.co_filename).name}, line {frame.f_lineno}"
        frame = frame.f_back
    return None


def _user_line_of(trace: TracebackType | None) -> str | None:
    """The file and line of a plugin in which an exception was raised or passed through last."""
    place = None
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__", "")).startswith(_PLUGIN):
            place = f"{Path(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _package(filename: str) -> str | None:
    """The installed package of a file; None for benchkit's own and for other files."""
    match = _PACKAGE.search(filename)
    return None if match is None or match[1] in _OWN else match[1]
