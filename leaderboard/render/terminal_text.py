"""Tables for a terminal: they fit in 100 columns and can be read without colour."""

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from leaderboard.columns import MAP_COLUMNS
from leaderboard.marks import Mark
from leaderboard.render.text import caption, cell_text, row_name, visible
from leaderboard.row import Cell
from leaderboard.table import Table

_SIGNS = {Mark.NONE: " ", Mark.BEST: "¹", Mark.SECOND: "²", Mark.LOWEST: "↓"}
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
    columns = []
    for column in MAP_COLUMNS:
        cells = _aligned([row.cells[column.key] for row in table.rows])
        grid.add_column(column.title.rjust(len(cells[0])), no_wrap=True)
        columns.append(cells)
    for row, *cells in zip(table.rows, *columns, strict=True):
        grid.add_row(Text(row_name(row)), str(len(row.seeds)), *cells)
    return grid


def _aligned(cells: Sequence[Cell]) -> list[Text]:
    """The cells of a column with their marks, padded so that the decimal points are aligned."""
    parts = [cell_text(cell).partition(" ± ") for cell in cells]
    means = max(len(mean) for mean, _, _ in parts)
    spreads = max(len(std) for _, _, std in parts)
    texts = []
    for cell, (mean, sign, std) in zip(cells, parts, strict=True):
        spread = f"{sign.strip() or ' '}{std:{spreads}}" if spreads else ""
        text = Text(mean.rjust(means)).append(spread)
        text.stylize(_STYLES[cell.mark], means - len(mean), len(text) - spreads + len(std))
        texts.append(text.append(f" {_SIGNS[cell.mark]}"))
    return texts


def _footer(table: Table) -> Grid:
    grid = Grid.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    lines = [*table.footer, ("marks", "¹ best, ² second, ↓ lowest of a column")]
    for name, text in [*lines, *(("note", note) for note in table.notes)]:
        grid.add_row(Text(name), Text(visible(text)))
    return grid
