"""`benchkit report`."""

from __future__ import annotations

from pathlib import Path

import click

from benchkit.base.terminal import log, page
from benchkit.cli.groups import Command
from benchkit.cli.types import FILE


@click.command(cls=Command)
@click.argument("runs", type=FILE)
@click.option(
    "--format",
    type=click.Choice(["terminal", "markdown", "csv", "html"]),
    default="terminal",
    show_default=True,
    help="The output format.",
)
@click.option("--out", type=FILE, help="The file to write.  [default: standard output]")
@click.option("--split", help="Only this split: the beginning of its fingerprint.  [default: all]")
@click.option(
    "--selection", help="Only this selection rule: last, val or test-oracle.  [default: all]"
)
@click.option("--metric-version", help="Only this metric version.  [default: all]")
@click.option(
    "--strict",
    is_flag=True,
    help="Refuse a record that cannot be read, instead of leaving it out with a message.",
)
def report(
    runs: Path,
    format: str,
    out: Path | None,
    split: str | None,
    selection: str | None,
    metric_version: str | None,
    strict: bool,
) -> None:
    """Render the per-shot leaderboard of a folder of run records.

    Records of different splits, selection rules or metric versions never share a table: each
    combination gets its own.

    \b
    Examples:
      benchkit report runs
      benchkit report runs --format html --out leaderboard.html
    """  # noqa: D301 (click looks for the backspace itself)
    from benchkit import api

    if format == "terminal" and out is None:
        # Printed directly, so that a terminal shows colours.
        from leaderboard import render

        tables = api.tables(runs, split, selection, metric_version, strict, log)
        page().print(render.terminal(tables))
        return
    text = api.report(
        runs,
        format=format,
        out=out,
        split=split,
        selection=selection,
        metric_version=metric_version,
        strict=strict,
        log=log,
    )
    if out is None:
        click.echo(text, nl=not text.endswith("\n"))
