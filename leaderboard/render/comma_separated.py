"""Tables as tidy CSV: one line per row, with fractions in full precision."""

import csv as stdlib_csv
import io
from collections.abc import Sequence

from leaderboard.columns import COLUMNS
from leaderboard.labels import json_text
from leaderboard.render.text import visible
from leaderboard.row import Row
from leaderboard.table import Table

# Spreadsheets take a cell that starts with one of these as a formula; the last four are fullwidth.
_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

_HEAD = (
    "split",
    "fingerprint",
    "regime",
    "selection",
    "metric_version",
    "label",
    "method",
    "method_version",
    "hyperparameters",
    "recipe",
    "oracle",
    "note",
    "draws",
    "seeds",
)


def csv(tables: Sequence[Table]) -> str:
    """Write all tables as one CSV text.

    Args:
        tables: the tables; the columns `split`, `selection` and `metric_version` distinguish them.

    Returns:
        A header and one line per row. `draws` is the number of settings that a search compared, 0
        without a search. Means and standard deviations are fractions from 0 to 1; an
        empty field is undefined or missing. Hyperparameters and recipe are JSON. A text that a
        spreadsheet would take as a formula starts with an apostrophe.
    """
    text = io.StringIO()
    writer = stdlib_csv.writer(text, lineterminator="\n")
    statistics = [f"{column.key}_{name}" for column in COLUMNS for name in ("mean", "std")]
    writer.writerow([*_HEAD, *statistics])
    for table in tables:
        for row in table.rows:
            writer.writerow(_line(table, row))
    return text.getvalue()


def _line(table: Table, row: Row) -> list[object]:
    arguments = row.arguments
    cells = [row.cells[column.key] for column in COLUMNS]
    texts = (
        table.split.name,
        table.split.fingerprint,
        table.split.regime,
        table.group.selection,
        table.group.metric_version,
        row.label,
        row.method.key,
        arguments.method_version,
        json_text(arguments.hyperparameters),
        json_text(arguments.recipe),
        " ".join(row.method.oracle),
        row.method.note,
    )
    return [
        *map(_text, texts),
        row.draws,
        len(row.seeds),
        *(value for cell in cells for value in (cell.mean, cell.std)),
    ]


def _text(text: str) -> str:
    """A text as a cell that spreadsheets show as it is."""
    return f"'{visible(text)}" if text.startswith(_FORMULA_SIGNS) else visible(text)
