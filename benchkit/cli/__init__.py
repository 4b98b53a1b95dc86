"""The command line: one file per command, each a call into the public API and what is printed.

Commands are imported when they are called, so that `--help` and `report` need no torch.

Exit codes: 0 success, 1 something failed or could not be used, 2 a wrong call.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import threading
from collections.abc import Sequence
from typing import NamedTuple

import click

from benchkit.base.errors import BenchkitError, UsageError
from benchkit.base.memory import shortage
from benchkit.base.packages import check_siblings
from benchkit.base.text import one_line
from benchkit.cli import interrupts, notices, streams


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
    "tune": _Entry(
        "tune", "Choose settings of methods on the validation part, and record their test scores."
    ),
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


def _command() -> str:
    """The command of this process, as far as it is known."""
    return " ".join(["benchkit", *(name for name in sys.argv[1:2] if name in COMMANDS)])


def _show(error: click.ClickException) -> None:
    """Print a wrong call in one line, with the command whose help explains more."""
    if len(sys.argv) == 1:
        error.show()  # the help
        return
    context = getattr(error, "ctx", None)  # missing for an option without its argument
    _show_usage(error.format_message(), context.command_path if context else _command())


def _show_usage(message: str, command: str) -> None:
    message, hint = message.rstrip(". \n"), f"`{command} --help`"
    message = message.replace(". Did you mean", "; did you mean")
    _show_error(f"{message} See {hint}." if message.endswith("?") else f"{message}; see {hint}")


def _show_error(message: str) -> None:
    """Print an error in one line; names in it may be long and hold control characters."""
    click.echo(one_line(f"error: {message}"), err=True)


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
    streams.prepare()
    threads = set(threading.enumerate())
    code: int | str | None = 1
    with interrupts.handled(), notices.shown():
        try:
            code = _run()
            sys.stdout.flush()
        except SystemExit as error:
            code = error.code
        except KeyboardInterrupt:
            code = 130
        except BrokenPipeError:
            code = 1  # the reader of the pipe is gone, so there is nobody to print to
        except OSError as error:
            code = 1
            with contextlib.suppress(OSError):
                click.echo(f"error: {streams.output_error(error)}", err=True)
        interrupts.ignore()
        if code == 130:
            with contextlib.suppress(OSError):
                click.echo("interrupted; finished work is kept", err=True)
    streams.close()
    interrupts.ignored_at_exit()
    notices.shown_at_exit()
    if any(not thread.daemon for thread in set(threading.enumerate()) - threads):
        os._exit(code if isinstance(code, int) else 1)  # a user's thread may never end
    sys.exit(code)


def _run() -> int:
    """Run the command of this process, and print its error if it fails; returns the exit code."""
    try:
        check_siblings()
        interrupts.distinguish()
        _check_arguments(sys.argv[1:])
        # Without its standalone mode click returns the exit code that a command asks for.
        return benchkit(prog_name="benchkit", standalone_mode=False) or 0
    except click.ClickException as error:
        _show(error)
        return error.exit_code
    except UsageError as error:
        _show_usage(str(error), _command())
        return 2
    except click.Abort:  # click's own Ctrl-C
        return 130
    except OSError as error:
        message = shortage(error)
        # A file that may not be read, or a name that the system does not accept.
        if message is None and error.filename is None:
            raise
        _show_error(message or f"{error.filename}: {error.strerror}")
        return 1
    except Exception as error:
        message = str(error) if _is_readable(error) else shortage(error)
        if message is None:
            raise
        _show_error(message)
        return 1
