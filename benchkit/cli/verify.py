"""`benchkit verify`."""

from __future__ import annotations

from pathlib import Path

import click

from benchkit.base.terminal import log
from benchkit.base.text import printable
from benchkit.cli.groups import Command
from benchkit.cli.types import FILE


@click.command(cls=Command)
@click.argument("file", type=FILE)
def verify(file: Path) -> None:
    """Check a split file against its fingerprint.

    Recomputes the fingerprint and checks every invariant of the labels, counts and features. Each
    problem is one line on standard error. The exit code is 1 if there is one.

    \b
    Example:
      benchkit verify s.h5
    """  # noqa: D301 (click looks for the backspace itself)
    from benchkit.split import file as split_file

    problems = split_file.verify(file)
    for problem in problems:
        log(f"{file}: {problem}")
    if problems:
        raise click.exceptions.Exit(1)
    fingerprint = split_file.stored_fingerprints(file)["both"]
    click.echo(f"{printable(str(file))}: complete, {fingerprint}")
