"""`benchkit verify`."""

from __future__ import annotations

from pathlib import Path

import click

from benchkit.base.terminal import log
from benchkit.cli.types import FILE


@click.command()
@click.argument("file", type=FILE)
def verify(file: Path) -> None:
    """Check a split file against its fingerprint.

    Recomputes the fingerprint and checks every invariant of the labels, counts and features. Each
    problem is one line on standard error. The exit code is 1 if there is one.
    """
    from benchkit.split import file as split_file

    problems = split_file.verify(file)
    for problem in problems:
        log(f"{file}: {problem}")
    if problems:
        raise click.exceptions.Exit(1)
    click.echo(f"{file}: complete, {split_file.stored_fingerprints(file)['both']}")
