"""The command line: one file per command, each a call into the public API and what is printed.

Commands are imported when they are called, so that `--help` and `report` need no torch.

Exit codes: 0 success, 1 something failed or could not be used, 2 a wrong call.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import NamedTuple

import click

from benchkit.base.errors import BenchkitError, UsageError
from benchkit.base.packages import check_siblings
from benchkit.base.text import one_line


class _Entry(NamedTuple):
    """Where a command is defined, and the summary that `benchkit --help` shows."""

    module: str
    summary: str


COMMANDS = {
    "demo": _Entry("demo", "Build a data set, train, and render the leaderboard."),
    "download": _Entry("download", "Download a public data set, or list the known ones."),
    "make-split": _Entry("make_split", "Build a split file from labels and images."),
    "show": _Entry("show", "Show the contents of a split file."),
    "verify": _Entry("verify", "Check a split file against its fingerprint."),
    "diff": _Entry("diff", "Compare two split files."),
    "methods": _Entry(
        "methods", "List the methods, or describe one: paper, equation, hyperparameters, oracles."
    ),
    "run": _Entry("run", "Train methods on a split and record their test scores."),
    "evaluate": _Entry(
        "evaluate", "Record test scores that were computed elsewhere, for the same leaderboard."
    ),
    "report": _Entry("report", "Render the per-shot leaderboard of a folder of run records."),
}
"""Name -> the command; a command is a module of this package with a function of that name."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"{__name__}.{COMMANDS[cmd_name].module}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="benchkit")
def benchkit() -> None:
    """The benchmark for long-tailed, partially labelled multi-label learning.

    `make-split` builds a split file from labels and images, `run` trains methods on it, and
    `report` renders the per-shot leaderboard. `benchkit demo` does all three on a data set that it
    draws itself.
    """


# Packages that have not been imported cannot have raised.
_ERRORS = {
    "splits.errors": "InputError",
    "baselines.core.errors": "MethodError",
    "leaderboard.errors": "ReportError",
}


def _is_readable(error: Exception) -> bool:
    """Whether an error's message is a sentence for the user, so that no traceback is needed."""
    kinds: list[type[Exception]] = [BenchkitError]
    for module, name in _ERRORS.items():
        if module in sys.modules:
            kinds.append(getattr(sys.modules[module], name))
    return isinstance(error, tuple(kinds))


def _show(error: click.ClickException) -> None:
    """Print a wrong call in one line, with the command whose help explains more."""
    context = getattr(error, "ctx", None)
    if context is None or len(sys.argv) == 1:
        error.show()
        return
    _show_usage(error.format_message(), context.command_path)


def _show_usage(message: str, command: str) -> None:
    _show_error(f"{message.rstrip('.')}; see `{command} --help`")


def _show_error(message: str) -> None:
    """Print an error in one line; names in it may be long and hold control characters."""
    click.echo(one_line(f"error: {message}"), err=True)


_IMPORTING = "<frozen importlib._bootstrap>"
_IMPORT_LIMIT = 10.0  # seconds; a user's method may hang while it is being imported


class _Interrupt:
    """The handler of Ctrl-C: it waits while a module is being imported.

    PyTorch imports some of its modules when the first optimiser is made. An interrupt there aborts
    the process inside compiled code, or becomes a RuntimeError inside a class definition.
    """

    def __init__(self) -> None:
        self.until = 0.0
        self.kind: type[KeyboardInterrupt] = KeyboardInterrupt

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        self.until = self.until or now + _IMPORT_LIMIT
        if now > self.until or not _in_import(frame):
            raise self.kind
        main_thread = threading.main_thread().ident
        again = threading.Timer(0.05, signal.pthread_kill, [main_thread, number])
        again.daemon = True
        again.start()


def _in_import(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code.co_filename != _IMPORTING:
        frame = frame.f_back
    return frame is not None


def _distinguish_interrupts() -> None:
    """Raise Ctrl-C as `Interrupt`, so that a method that raises KeyboardInterrupt only fails."""
    from baselines.core.errors import Interrupt  # after `check_siblings`

    handler = signal.getsignal(signal.SIGINT)
    if isinstance(handler, _Interrupt):
        handler.kind = Interrupt
    Interrupt.handled = isinstance(handler, _Interrupt) or handler is signal.SIG_IGN


def _check_arguments(arguments: Sequence[str]) -> None:
    """Refuse arguments that the system cannot pass to a program, as a caller in Python may."""
    for argument in arguments:
        try:
            is_valid = b"\0" not in os.fsencode(argument)
        except UnicodeEncodeError:
            is_valid = False
        if not is_valid:
            raise UsageError(f"the argument {argument!r} has a character that no name may have")


def main() -> None:
    """The console script: known errors become one line on stderr, never a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _Interrupt())
    _prepare_streams()
    code: int | str | None = 1
    try:
        code = _run()
        sys.stdout.flush()
    except SystemExit as error:
        code = error.code
    except BrokenPipeError:
        code = 1  # the reader of the pipe is gone, so there is nobody to print to
    except OSError as error:
        code = 1
        with contextlib.suppress(OSError):
            click.echo(f"error: {_output_error(error)}", err=True)
    _close_streams()
    sys.exit(code)


def _prepare_streams() -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # the caller closed it
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (open until the end)
        # A terminal that cannot show a character shows a question mark instead of a traceback.
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _close_streams() -> None:
    """Drop output that cannot be written; Python would try it again at exit and report it."""
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is None:
            continue
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
                stream.flush()


def _output_error(error: OSError) -> str:
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF):
        return f"the output cannot be written: {reason}"
    return reason


def _run() -> int:
    """Run the command of this process, and print its error if it fails; returns the exit code."""
    try:
        check_siblings()
        _distinguish_interrupts()
        _check_arguments(sys.argv[1:])
        # Without its standalone mode click returns the exit code that a command asks for.
        return benchkit(prog_name="benchkit", standalone_mode=False) or 0
    except click.ClickException as error:
        _show(error)
        return error.exit_code
    except UsageError as error:
        _show_usage(str(error), " ".join(["benchkit", *sys.argv[1:2]]))
        return 2
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; finished work is kept", err=True)
        return 130
    except OSError as error:
        # A file that may not be read, or a name that the system does not accept.
        if error.filename is None:
            raise
        _show_error(f"{error.filename}: {error.strerror}")
        return 1
    except Exception as error:
        if not _is_readable(error):
            raise
        _show_error(str(error))
        return 1
