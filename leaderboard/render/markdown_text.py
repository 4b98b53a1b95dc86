"""Tables as Markdown."""

import re
from collections.abc import Sequence

from leaderboard.columns import MAP_COLUMNS
from leaderboard.marks import Mark
from leaderboard.render.text import caption, cell_text, row_name, visible
from leaderboard.row import Cell, Row
from leaderboard.table import Table

_FRAMES = {
    Mark.NONE: "{}",
    Mark.BEST: "**{}**",
    Mark.SECOND: "_{}_",
    Mark.LOWEST: "{} ↓",
}


def markdown(tables: Sequence[Table]) -> str:
    """Write the tables as Markdown, each with its own heading and footer.

    Args:
        tables: the tables, in order.

    Returns:
        Markdown text that ends with a newline. The best value is bold, the second italic, and the
        lowest is followed by ↓.
    """
    return "\n".join(_section(table) for table in tables)


def _section(table: Table) -> str:
    head = ["method", "n", *(column.title for column in MAP_COLUMNS)]
    lines = [
        f"## {_escape(caption(table))}",
        "",
        _line(head),
        _line([":---", *("---:" for _ in head[1:])]),
        *(_line(_cells(row)) for row in table.rows),
        "",
        "**bold** best, _italic_ second, ↓ lowest of a column",
        "",
        *(f"- {name}: {_escape(text)}" for name, text in table.footer),
        *(f"- note: {_escape(note)}" for note in table.notes),
        "",
    ]
    return "\n".join(lines)


def _cells(row: Row) -> list[str]:
    cells = [_cell(row.cells[column.key]) for column in MAP_COLUMNS]
    return [_escape(row_name(row)), str(len(row.seeds)), *cells]


def _cell(cell: Cell) -> str:
    return _FRAMES[cell.mark].format(cell_text(cell))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escape(text: str) -> str:
    """Escape the signs of Markdown, HTML and formulas; the underscore in `a_b` needs no escape."""
    signs = r"[\\`*|<>&\[\]$~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])"
    return re.sub(signs, r"\\\g<0>", " ".join(visible(text).split()))
