"""Best, second and lowest of a column.

Values compete as they are shown, in percent with two decimals: two cells that read the same carry
the same mark. Rows that see more than they may (oracle rows) do not compete. Where only one value
competes, or all are the same, nobody wins and nothing is marked. `lowest` needs three different
values, so that no cell is both second and lowest.
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
    """A fraction as tables show it: in percent, two decimals."""
    return f"{100 * value:.2f}"


def mark_column(values: Sequence[float | None], competes: Sequence[bool]) -> list[Mark]:
    """Mark the cells of one column.

    Args:
        values: the means of the column, `None` for a missing cell.
        competes: whether the row of each value takes part.

    Returns:
        One mark per value.
    """
    shown = [
        float(percent(value)) if value is not None and compete else None
        for value, compete in zip(values, competes, strict=True)
    ]
    ranked = sorted({value for value in shown if value is not None}, reverse=True)
    if len(ranked) < 2:
        return [Mark.NONE] * len(shown)
    marks = {ranked[0]: Mark.BEST, ranked[1]: Mark.SECOND}
    if len(ranked) >= 3:
        marks[ranked[-1]] = Mark.LOWEST
    return [Mark.NONE if value is None else marks.get(value, Mark.NONE) for value in shown]
