"""Tables for a terminal: they fit in 100 columns and can be read without colour."""

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from leaderboard.columns import MAP_COLUMNS
from leaderboard.marks import Mark
from leaderboard.render.text import caption, cell_text, row_name
from leaderboard.table import Cell, Table

_HARD_SPACE = "\u00a0"  # rich strips ordinary spaces at the end of a cell
_SIGNS = {Mark.NONE: _HARD_SPACE, Mark.BEST: "¹", Mark.SECOND: "²", Mark.LOWEST: "↓"}
_STYLES = {
    Mark.NONE: "",
    Mark.BEST: "bold green",
    Mark.SECOND: "underline",
    Mark.LOWEST: "dim red",
}


def terminal(tables: Sequence[Table]) -> RenderableType:
    """Write the tables for a rich console.

    Args:
        tables: the tables, in order.

    Returns:
        A renderable for `rich.console.Console.print`. Marks are signs (¹ best, ² second, ↓ lowest)
        as well as colours, so they survive a pipe.
    """
    parts: list[RenderableType] = []
    for table in tables:
        parts += [Text(caption(table), style="bold"), _grid(table), Padding(_footer(table), 1)]
    return Group(*parts)


def _grid(table: Table) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    grid.add_column("method", overflow="fold", min_width=12)
    grid.add_column("n", justify="right")
    for column in MAP_COLUMNS:
        grid.add_column(column.title + 2 * _HARD_SPACE, justify="right", no_wrap=True)
    for row in table.rows:
        cells = [_cell(row.cells[column.key]) for column in MAP_COLUMNS]
        grid.add_row(Text(row_name(row)), str(len(row.seeds)), *cells)
    return grid


def _cell(cell: Cell) -> Text:
    text = Text(cell_text(cell).replace(" ± ", "±"), style=_STYLES[cell.mark])
    return Text.assemble(text, _HARD_SPACE + _SIGNS[cell.mark])


def _footer(table: Table) -> Grid:
    grid = Grid.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    lines = [*table.footer, ("marks", "¹ best, ² second, ↓ lowest of a column")]
    for name, text in [*lines, *(("note", note) for note in table.notes)]:
        grid.add_row(Text(name), Text(text))
    return grid
