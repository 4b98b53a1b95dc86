"""The mAP columns of a table as plain text, without spreads, marks and footer."""

from leaderboard.columns import MAP_COLUMNS
from leaderboard.marks import percent
from leaderboard.render.text import DASH, row_name
from leaderboard.table import Table


def plain(table: Table) -> str:
    """Write the means of a table for the end of a command's output.

    Args:
        table: the table.

    Returns:
        A heading and one line per row, with means over seeds in percent.
    """
    lines = [["method", "seeds", *(column.title for column in MAP_COLUMNS)]]
    for row in table.rows:
        means = [row.cells[column.key].mean for column in MAP_COLUMNS]
        values = [DASH if value is None else percent(value) for value in means]
        lines.append([row_name(row), str(len(row.seeds)), *values])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) + "\n"
        for line in lines
    )
