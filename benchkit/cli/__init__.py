"""The command line. Commands are imported when they are called, so that `report` needs no torch.

Exit codes: 0 done, 1 something failed or could not be used, 2 a wrong call.
"""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
import threading
import time
from types import FrameType

import click

COMMANDS = {
    "demo": "benchkit.cli.demo",
    "download": "benchkit.cli.download",
    "make-split": "benchkit.cli.make_split",
    "show": "benchkit.cli.inspect",
    "verify": "benchkit.cli.inspect",
    "diff": "benchkit.cli.diff",
    "run": "benchkit.cli.run",
    "report": "benchkit.cli.report",
    "methods": "benchkit.cli.methods",
    "evaluate": "benchkit.cli.run",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name])
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="benchkit")
def benchkit() -> None:
    """The bench for long-tailed, partially labelled multi-label learning.

    make-split builds a split file from labels and images, run trains methods on it, report renders
    the per-shot leaderboard. `benchkit demo` does all three on a data set that it draws itself.
    """


def _known_errors() -> tuple[type[Exception], ...]:
    """The errors that are sentences for people; the rooms that were not imported cannot raise."""
    kinds: list[type[Exception]] = []
    for module, name in (
        ("benchkit.base.errors", "BenchkitError"),
        ("splits.errors", "InputError"),
        ("baselines.core.errors", "MethodError"),
        ("leaderboard.errors", "ReportError"),
    ):
        if module in sys.modules:
            kinds.append(getattr(sys.modules[module], name))
    return tuple(kinds)


def _show(error: click.ClickException) -> None:
    """A wrong call in one line, with the command whose help says more."""
    context = getattr(error, "ctx", None)
    if context is None or len(sys.argv) == 1:
        error.show()
        return
    message = error.format_message().rstrip(".")
    click.echo(f"error: {message}; see `{context.command_path} --help`", err=True)


_IMPORTING = "<frozen importlib._bootstrap>"
_PATIENCE = 10.0  # seconds; a method of one's own may hang while it is being imported


class _Interrupt:
    """What Ctrl-C calls: it waits while a module is being imported.

    PyTorch imports some of its parts when the first optimiser is made. An interrupt among those
    aborts the process where compiled code meets it, and is a RuntimeError where a class is made.
    """

    def __init__(self) -> None:
        self.until = 0.0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        self.until = self.until or now + _PATIENCE
        if now > self.until or not _in_import(frame):
            raise KeyboardInterrupt
        main_thread = threading.main_thread().ident
        again = threading.Timer(0.05, signal.pthread_kill, [main_thread, number])
        again.daemon = True
        again.start()


def _in_import(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code.co_filename != _IMPORTING:
        frame = frame.f_back
    return frame is not None


def main() -> None:
    """The console script: known errors become one line on stderr, never a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _Interrupt())
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character shows a question mark instead of a traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        # Without its standalone mode click returns the exit code that a command asks for.
        sys.exit(benchkit(prog_name="benchkit", standalone_mode=False))
    except click.ClickException as error:
        _show(error)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; what was finished is kept", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of a pipe has gone; nothing is left to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        # A file that may not be read, or a name that the system does not take.
        if error.filename is None:
            raise
        click.echo(f"error: {error.filename}: {error.strerror}", err=True)
        sys.exit(1)
    except Exception as error:
        if not isinstance(error, _known_errors()):
            raise
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
