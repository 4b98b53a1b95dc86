"""How cells and labels are written, the same in every format for people."""

from leaderboard.marks import percent
from leaderboard.table import Cell, Row, Table

DASH = "–"
ORACLE = "†"


def cell_text(cell: Cell) -> str:
    """A cell as `mean ± std` in percent, without its mark; a lone seed has no spread."""
    if cell.mean is None:
        return DASH
    return f"{percent(cell.mean)} ± {DASH if cell.std is None else percent(cell.std)}"


def row_name(row: Row) -> str:
    """The label of a row, with a dagger if it is an oracle."""
    return f"{row.label} {ORACLE}" if row.is_oracle else row.label


def caption(table: Table) -> str:
    """One line that says which table this is."""
    return f"{table.split.name}, {table.split.regime}, selection {table.group.selection}"
