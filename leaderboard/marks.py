"""Marks of cells: the best, the second and the lowest value of a column.

Values are compared as they are shown, in percent with two decimals, so cells that read the same
carry the same mark. Oracle rows and rows with fewer seeds than others are not ranked (see
`leaderboard.row.ranked`). If only one value is ranked, or all values are equal, nothing is marked.
`lowest` requires three different values, so no cell is both second and lowest.
"""

from collections.abc import Sequence
from enum import StrEnum


class Mark(StrEnum):
    """The mark of one cell."""

    NONE = ""
    BEST = "best"
    SECOND = "second"
    LOWEST = "lowest"


def percent(value: float) -> str:
    """A fraction as tables show it: in percent with two decimals."""
    return f"{100 * value:.2f}"


def mark_column(values: Sequence[float | None], ranked: Sequence[bool]) -> list[Mark]:
    """Mark the cells of one column.

    Args:
        values: the means of the column, `None` for a missing cell.
        ranked: whether the row of each value is ranked.

    Returns:
        One mark per value.
    """
    shown = [
        float(percent(value)) if value is not None and is_ranked else None
        for value, is_ranked in zip(values, ranked, strict=True)
    ]
    levels = sorted({value for value in shown if value is not None}, reverse=True)
    if len(levels) < 2:
        return [Mark.NONE] * len(shown)
    marks = {levels[0]: Mark.BEST, levels[1]: Mark.SECOND}
    if len(levels) >= 3:
        marks[levels[-1]] = Mark.LOWEST
    return [Mark.NONE if value is None else marks.get(value, Mark.NONE) for value in shown]
