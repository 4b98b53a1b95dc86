"""Tables of comparable records: rows with means, spreads and marks."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from leaderboard.columns import COLUMNS
from leaderboard.errors import ReportError
from leaderboard.footer import footer_lines
from leaderboard.groups import (
    by_group,
    check_defaults,
    check_one_group,
    check_split_descriptions,
    select,
)
from leaderboard.labels import row_labels
from leaderboard.marks import mark_column
from leaderboard.record import Group, Record, RecordedSplit, RunArguments
from leaderboard.records import Records
from leaderboard.row import Row, most_complete, ranked


@dataclass(frozen=True)
class Table:
    """One leaderboard: one split, one selection rule, one metric version."""

    group: Group
    split: RecordedSplit
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
    """Build the table of one split, selection rule and metric version.

    Args:
        records: the result of `leaderboard.records.load`.
        split: only records whose split fingerprint begins with this.
        selection: only records with this selection rule.
        metric_version: only records with this metric version.

    Returns:
        The table, with the highest total first.

    Raises:
        ReportError: there is no record, none matches, or the matching records mix splits,
            selection rules or metric versions.
    """
    _check_not_empty(records)
    matches = select(records.records, split, selection, metric_version)
    check_one_group(matches)
    return _table(matches, _notes(records, matches[0].arguments.group))


def build_all(
    records: Records,
    *,
    split: str | None = None,
    selection: str | None = None,
    metric_version: str | None = None,
) -> list[Table]:
    """Build one table for every split, selection rule and metric version among the records.

    The filters are those of `build`. Failures of a group without a finished run are noted under
    the last table, unless there is a filter.

    Raises:
        ReportError: there is no record, or none matches.
    """
    _check_not_empty(records)
    groups = by_group(select(records.records, split, selection, metric_version))
    notes = {group: _notes(records, group) for group in groups}
    if split is selection is metric_version is None:
        others = [failure for failure in records.failures if failure.group not in groups]
        notes[list(groups)[-1]] += tuple(failure.sentence() for failure in others)
    return [_table(members, notes[group]) for group, members in groups.items()]


def _check_not_empty(records: Records) -> None:
    if records.records:
        return
    if records.hint:
        raise ReportError(records.hint)
    notes = " ".join(records.notes)
    raise ReportError(
        "There is no finished run to report" + (f" ({notes})" if notes else "") + ": "
        "name a folder that holds <run id>/run.json."
    )


def _notes(records: Records, group: Group) -> tuple[str, ...]:
    failures = [failure.sentence() for failure in records.failures if failure.group == group]
    return records.general_notes + tuple(failures)


def _table(records: Sequence[Record], notes: tuple[str, ...]) -> Table:
    check_split_descriptions(records)
    rows = _marked(sorted(_rows(records), key=_position))
    group, split = records[0].arguments.group, _split(records)
    return Table(
        group=group,
        split=split,
        rows=tuple(rows),
        footer=footer_lines(split, group, rows),
        notes=notes + tuple(note for row in rows for note in _undefined_notes(row)),
    )


def _split(records: Sequence[Record]) -> RecordedSplit:
    """The split of all records, with the name that most of them give it."""
    names = Counter(record.split.name for record in records)
    return replace(records[0].split, name=names.most_common(1)[0][0])


def _rows(records: Sequence[Record]) -> list[Row]:
    members = [
        part
        for row in _grouped(records, lambda arguments: arguments.row)
        for part in ([row] if _one_per_seed(row) else _grouped(row, lambda a: a.setting))
    ]
    for row in members:
        check_defaults(row)
    labels = row_labels([most_complete(row) for row in members])
    return [Row.of(label, row) for label, row in zip(labels, members, strict=True)]


def _grouped(
    records: Sequence[Record], key: Callable[[RunArguments], str]
) -> list[tuple[Record, ...]]:
    """The records of each key, in the order of their seeds."""
    groups: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.arguments.seed):
        groups.setdefault(key(record.arguments), []).append(record)
    return [tuple(groups[name]) for name in sorted(groups)]


def _one_per_seed(records: Sequence[Record]) -> bool:
    """Whether no seed occurs twice, as in two files of external scores for one seed."""
    return len({record.arguments.seed for record in records}) == len(records)


def _position(row: Row) -> tuple[float, str]:
    total = row.cells["total"].mean
    return (float("inf") if total is None else -total, row.label)


def _marked(rows: Sequence[Row]) -> list[Row]:
    competing = ranked(rows)
    marks = {
        column.key: mark_column([row.cells[column.key].mean for row in rows], competing)
        for column in COLUMNS
    }
    return [
        replace(
            row,
            cells={key: replace(cell, mark=marks[key][i]) for key, cell in row.cells.items()},
            is_ranked=competing[i],
        )
        for i, row in enumerate(rows)
    ]


def _undefined_notes(row: Row) -> list[str]:
    """Notes on cells that are a dash although some seeds have a value."""
    notes = []
    for column in COLUMNS:
        values = [column.value(record.metrics) for record in row.records]
        missing = values.count(None)
        if 0 < missing < len(values):
            notes.append(
                f"{row.label}: {column.title} is undefined for {missing} of {len(values)} seeds, "
                "so its cell is a dash."
            )
    return notes
