"""Tables: rows of records that may be compared, with means, spreads and marks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from leaderboard.columns import COLUMNS
from leaderboard.errors import ReportError
from leaderboard.footer import footer_lines
from leaderboard.groups import by_group, choose, refuse_contradictions, refuse_mixed
from leaderboard.labels import row_labels
from leaderboard.marks import Mark, mark_column
from leaderboard.record import Group, Method, Record, Records, Science, Split
from leaderboard.statistics import mean, sample_std


@dataclass(frozen=True)
class Cell:
    """Mean and sample standard deviation over seeds, as fractions; `None` is shown as a dash."""

    mean: float | None
    std: float | None
    mark: Mark = Mark.NONE


@dataclass(frozen=True)
class Row:
    """One method with one set of hyperparameters and one recipe, over its seeds."""

    label: str
    method: Method
    records: tuple[Record, ...]  # in the order of their seeds
    cells: Mapping[str, Cell]  # keyed by column

    @property
    def is_oracle(self) -> bool:
        """Whether the method sees what the setting forbids."""
        return bool(self.method.oracle)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the row."""
        return tuple(record.science.seed for record in self.records)


@dataclass(frozen=True)
class Table:
    """One leaderboard: one split, one selection rule, one metric version."""

    group: Group
    split: Split
    rows: tuple[Row, ...]  # best total first
    footer: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def build(
    records: Records,
    *,
    split: str | None = None,
    selection: str | None = None,
    metric_version: str | None = None,
) -> Table:
    """Build one table, or refuse.

    Args:
        records: what `leaderboard.records.load` gave.
        split: keep the records whose split fingerprint begins with this.
        selection: keep the records with this selection rule.
        metric_version: keep the records with this metric version.

    Returns:
        The table; rows are ordered by their total, highest first.

    Raises:
        ReportError: there is no record, none matches, or what is left still mixes splits,
            selection rules or metric versions.
    """
    _refuse_empty(records)
    chosen = choose(records.records, split, selection, metric_version)
    refuse_mixed(chosen)
    return _table(chosen, _notes(records, chosen[0].science.group))


def build_all(
    records: Records,
    *,
    split: str | None = None,
    selection: str | None = None,
    metric_version: str | None = None,
) -> list[Table]:
    """Build one table for every split, selection rule and metric version among the records.

    The filters are those of `build`. Failures of a group in which no run succeeded stand under
    the last table, unless a filter was given.

    Raises:
        ReportError: there is no record, or none matches.
    """
    _refuse_empty(records)
    chosen = choose(records.records, split, selection, metric_version)
    groups = by_group(chosen)
    notes = {group: _notes(records, group) for group in groups}
    if split is selection is metric_version is None:
        homeless = [failure for failure in records.failures if failure.group not in groups]
        notes[list(groups)[-1]] += tuple(failure.sentence() for failure in homeless)
    return [_table(members, notes[group]) for group, members in groups.items()]


def _refuse_empty(records: Records) -> None:
    if records.records:
        return
    notes = " ".join(records.notes)
    raise ReportError(
        "There is no finished run to report" + (f" ({notes})" if notes else "") + ": "
        "name a folder that holds <run id>/run.json."
    )


def _notes(records: Records, group: Group) -> tuple[str, ...]:
    failures = [failure.sentence() for failure in records.failures if failure.group == group]
    return records.general_notes + tuple(failures)


def _table(records: Sequence[Record], notes: tuple[str, ...]) -> Table:
    refuse_contradictions(records)
    members = [
        part
        for row in _sorted_by(records, lambda science: science.row)
        for part in ([row] if _one_per_seed(row) else _sorted_by(row, lambda s: s.setting))
    ]
    labels = row_labels([records[0].science for records in members])
    rows = [_row(label, records) for label, records in zip(labels, members, strict=True)]
    rows.sort(key=_standing)
    first = records[0]
    return Table(
        group=first.science.group,
        split=first.split,
        rows=tuple(_marked(rows)),
        footer=footer_lines(
            first.split,
            first.science.group,
            [len(row.records) for row in rows],
            [(row.label, row.method.oracle) for row in rows if row.is_oracle],
        ),
        notes=notes + tuple(note for row in rows for note in _missing(row)),
    )


def _sorted_by(
    records: Sequence[Record], key: Callable[[Science], str]
) -> list[tuple[Record, ...]]:
    """The records of each key, in the order of their seeds."""
    found: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.science.seed):
        found.setdefault(key(record.science), []).append(record)
    return [tuple(found[name]) for name in sorted(found)]


def _one_per_seed(records: Sequence[Record]) -> bool:
    """Whether no seed occurs twice, as two files of scores from elsewhere may have it."""
    return len({record.science.seed for record in records}) == len(records)


def _row(label: str, records: tuple[Record, ...]) -> Row:
    cells = {}
    for column in COLUMNS:
        values = [record.metrics.values[column.key] for record in records]
        cells[column.key] = Cell(mean(values), sample_std(values))
    return Row(label, records[0].method, records, cells)


def _standing(row: Row) -> tuple[float, str]:
    total = row.cells["total"].mean
    return (float("inf") if total is None else -total, row.label)


def _marked(rows: Sequence[Row]) -> list[Row]:
    competes = [not row.is_oracle for row in rows]
    marks = {
        column.key: mark_column([row.cells[column.key].mean for row in rows], competes)
        for column in COLUMNS
    }
    return [
        Row(
            row.label,
            row.method,
            row.records,
            {key: Cell(cell.mean, cell.std, marks[key][i]) for key, cell in row.cells.items()},
        )
        for i, row in enumerate(rows)
    ]


def _missing(row: Row) -> list[str]:
    """Notes on cells that are a dash because only some seeds have a value."""
    notes = []
    for column in COLUMNS:
        values = [record.metrics.values[column.key] for record in row.records]
        missing = values.count(None)
        if 0 < missing < len(values):
            notes.append(
                f"{row.label}: {column.title} is undefined for {missing} of {len(values)} seeds, "
                "so its cell is a dash."
            )
    return notes
