"""Rows of a table: one method with one setting, over its seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from leaderboard.columns import COLUMNS
from leaderboard.labels import budget_text
from leaderboard.marks import Mark
from leaderboard.record import Record, RecordedMethod, RunArguments
from leaderboard.statistics import mean, sample_std


@dataclass(frozen=True)
class Cell:
    """Mean and sample standard deviation over seeds, as fractions; a dash is shown for `None`."""

    mean: float | None
    std: float | None
    mark: Mark = Mark.NONE


@dataclass(frozen=True)
class Row:
    """One method with one set of hyperparameters and one recipe, over its seeds.

    Attributes:
        label: the name of the row.
        method: the method, with the oracles and notes of all seeds.
        records: the runs, in the order of their seeds.
        cells: column key -> cell.
        is_ranked: whether the row competes for marks.
    """

    label: str
    method: RecordedMethod
    records: tuple[Record, ...]
    cells: Mapping[str, Cell]
    is_ranked: bool = True

    @classmethod
    def of(cls, label: str, records: tuple[Record, ...]) -> Row:
        """The row of some runs, without marks."""
        cells = {}
        for column in COLUMNS:
            values = [column.value(record.metrics) for record in records]
            cells[column.key] = Cell(mean(values), sample_std(values))
        return cls(label, _merged([record.method for record in records]), records, cells)

    @property
    def is_oracle(self) -> bool:
        """Whether a run used information that the setting hides."""
        return bool(self.method.oracle)

    @property
    def arguments(self) -> RunArguments:
        """The arguments that its seeds share, with those of one seed."""
        return most_complete(self.records)

    @property
    def draws(self) -> int:
        """The number of settings that were compared to choose this one; 0 without a search."""
        return self.arguments.draws

    @property
    def budget(self) -> str:
        """The budget of the search, such as `tuned, 16 draws`; `default` without a search."""
        return budget_text(self.arguments)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the row."""
        return tuple(record.arguments.seed for record in self.records)


def most_complete(records: Iterable[Record]) -> RunArguments:
    """The arguments with the most values: older records may lack fields that were added later."""
    arguments = (record.arguments for record in records)
    return max(arguments, key=lambda a: len(a.hyperparameters) + len(a.recipe))


def ranked(rows: Sequence[Row]) -> list[bool]:
    """Whether each row competes for marks.

    Oracle rows do not. Neither do rows with fewer seeds than another row without an oracle: the
    best of many means over few seeds is often best by chance.
    """
    most = max((len(row.seeds) for row in rows if not row.is_oracle), default=0)
    return [not row.is_oracle and len(row.seeds) == most for row in rows]


def _merged(methods: Sequence[RecordedMethod]) -> RecordedMethod:
    """One description for all seeds: scores from elsewhere declare oracles and notes per seed."""
    heads = [method.own_head for method in methods if method.own_head is not None]
    notes = dict.fromkeys(method.note for method in methods if method.note)
    scales = dict.fromkeys(method.scale for method in methods if method.scale)
    return replace(
        methods[0],
        oracle=tuple(dict.fromkeys(name for method in methods for name in method.oracle)),
        own_head=heads[0] if heads else None,
        scale=", ".join(scales),
        note="; ".join(notes),
    )
