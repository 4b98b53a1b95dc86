"""The text of cells, row names and captions in all formats except CSV."""

from leaderboard.marks import percent
from leaderboard.table import Cell, Row, Table

DASH = "–"
ORACLE = "†"


def cell_text(cell: Cell) -> str:
    """A cell as `mean ± std` in percent, without its mark; a single seed has no spread."""
    if cell.mean is None:
        return DASH
    return f"{percent(cell.mean)} ± {DASH if cell.std is None else percent(cell.std)}"


def row_name(row: Row) -> str:
    """The label of a row, with a dagger for an oracle."""
    return f"{row.label} {ORACLE}" if row.is_oracle else row.label


def caption(table: Table) -> str:
    """One line that identifies a table."""
    return f"{table.split.name}, {table.split.regime}, selection {table.group.selection}"
