"""`benchkit report`."""

from __future__ import annotations

import io
from pathlib import Path

import click
from rich.console import Console

from benchkit.base.files import atomic
from benchkit.base.terminal import log, page
from leaderboard import records, render, table


@click.command()
@click.argument("runs", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["terminal", "markdown", "csv", "html"]),
    default="terminal",
    show_default=True,
    help="How to render.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write here instead of standard output."
)
@click.option("--split", help="Only this split: the beginning of its fingerprint.")
@click.option("--selection", help="Only this selection rule: last, val or test-oracle.")
@click.option("--metric-version", help="Only this metric version.")
def report(
    runs: Path,
    form: str,
    out: Path | None,
    split: str | None,
    selection: str | None,
    metric_version: str | None,
) -> None:
    """Render the per-shot leaderboard of a folder of run records.

    Records of different splits, selection rules or metric versions never share a table: each gets
    one of its own.
    """
    tables = table.build_all(
        records.load(runs), split=split, selection=selection, metric_version=metric_version
    )
    if form == "terminal":
        if out is None:
            page().print(render.terminal(tables))
            return
        written = io.StringIO()
        Console(file=written, width=100).print(render.terminal(tables))
        text = written.getvalue()
    else:
        text = {"markdown": render.markdown, "csv": render.csv, "html": render.html}[form](tables)
    if out is None:
        click.echo(text, nl=not text.endswith("\n"))
        return
    with atomic(out, log) as partial:
        partial.write_text(text, encoding="utf-8")
    log(f"wrote {out}")
