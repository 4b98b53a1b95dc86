"""Tables as tidy CSV: one line per row, values as fractions in full precision."""

import csv as stdlib_csv
import io
from collections.abc import Sequence

from leaderboard.columns import COLUMNS
from leaderboard.record import canonical
from leaderboard.table import Row, Table

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
    "seeds",
)


def csv(tables: Sequence[Table]) -> str:
    """Write all tables as one CSV text.

    Args:
        tables: the tables; `split`, `selection` and `metric_version` tell their lines apart.

    Returns:
        A header and one line per row. Means and standard deviations are fractions from 0 to 1,
        an empty field is undefined or missing; hyperparameters and recipe are JSON.
    """
    text = io.StringIO()
    writer = stdlib_csv.writer(text, lineterminator="\n")
    statistics = [f"{column.key}_{what}" for column in COLUMNS for what in ("mean", "std")]
    writer.writerow([*_HEAD, *statistics])
    for table in tables:
        for row in table.rows:
            writer.writerow(_line(table, row))
    return text.getvalue()


def _line(table: Table, row: Row) -> list[object]:
    science = row.records[0].science
    cells = [row.cells[column.key] for column in COLUMNS]
    return [
        table.split.name,
        table.split.fingerprint,
        table.split.regime,
        table.group.selection,
        table.group.metric_version,
        row.label,
        row.method.key,
        science.values["method_version"],
        canonical(science.hyperparameters),
        canonical(science.recipe),
        " ".join(row.method.oracle),
        len(row.seeds),
        *(value for cell in cells for value in (cell.mean, cell.std)),
    ]
