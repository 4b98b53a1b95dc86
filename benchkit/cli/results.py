"""The results of a call on standard output."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from benchkit.base.terminal import log


def print_results(out: Path, folders: Iterable[str]) -> None:
    """Print the mAP of some runs, mean over the seeds of each method.

    Args:
        out: the folder of run records.
        folders: the names of the runs' folders. A record that cannot be read is reported on
            standard error.
    """
    from leaderboard import render, table
    from leaderboard.errors import ReportError
    from leaderboard.records import RUN_FILE, Records, read_record

    try:
        records = [read_record(out / folder / RUN_FILE) for folder in folders]
        if records:
            click.echo(render.plain(table.build(Records(tuple(records)))), nl=False)
    except ReportError as error:
        log(f"no results are shown: {error}")
