"""Records that contradict one another: which of them a report leaves out.

Records of one split fingerprint describe the same split, and records of one row have the same
defaults. Where they differ, the value with the most sealed records (those with a digest) is kept;
of equally many, the value with the most records. If that decides nothing, all are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from leaderboard.record import Record, canonical

Reject = Callable[[str], None]

_SECTIONS = ("hyperparameters", "recipe")
_REPEAT = "remove its folder, and repeat the run."
_CHANGED_DEFAULT = "a changed default needs a new version of the method or of the recipe defaults."


class _Side(NamedTuple):
    """The records that agree about one value."""

    value: Any
    records: list[Record]

    @property
    def weight(self) -> tuple[int, int]:
        """Number of sealed records, then number of all records."""
        return sum(record.is_sealed for record in self.records), len(self.records)


def consistent(records: Iterable[Record], reject: Reject) -> list[Record]:
    """The records without those that contradict others.

    Args:
        records: the records of one folder of runs.
        reject: called with a sentence for each record that is left out.
    """
    return _of_one_default(_of_one_split(_once(records, reject), reject), reject)


def _once(records: Iterable[Record], reject: Reject) -> list[Record]:
    """Every run once; sealed records come first, then those in the folder of their run id."""
    kept: dict[tuple[str, int], Record] = {}
    for record in sorted(records, key=lambda r: (not r.is_sealed, r.path.parent.name != r.run_id)):
        arguments = record.arguments
        other = kept.setdefault((arguments.setting, arguments.seed), record)
        if other is not record:
            reject(
                f"{other.path.parent} and {record.path.parent} hold the same run "
                f"({record.method.key}, seed {arguments.seed}): keep one of the two folders."
            )
    return list(kept.values())


def _of_one_split(records: Sequence[Record], reject: Reject) -> list[Record]:
    """The records without those that describe their split unlike others of its fingerprint.

    The fingerprint does not cover the name, so the name may differ.
    """
    kept = []
    for group in _grouped(records, lambda record: record.split.fingerprint):
        sides = _sides(group, lambda record: replace(record.split, name=""))

        def sentence(record: Record, other: Record) -> str:
            return (
                f"{record.path}: split differs from that in {other.path} although both have the "
                f"fingerprint {record.split.fingerprint[:12]}"
            )

        kept += _agreeing(sides, sentence, _REPEAT, reject)
    return kept


def _of_one_default(records: Sequence[Record], reject: Reject) -> list[Record]:
    """The records without those that disagree with others of their row about a default.

    The records of a row depart from the same defaults in the same way. They can disagree only if
    one was edited, or if a default was changed without a new version.
    """
    kept = []
    for row in _grouped(records, lambda record: record.arguments.row):
        for section in _SECTIONS:
            for name in sorted({name for record in row for name in _values(record, section)}):
                silent = [record for record in row if name not in _values(record, section)]
                stating = [record for record in row if name in _values(record, section)]
                sides = _sides(stating, lambda record: _values(record, section)[name])

                def sentence(record: Record, other: Record) -> str:
                    own, its = (canonical(_values(r, section)[name]) for r in (record, other))
                    return (
                        f"{record.path}: science.{section}.{name} is {own}, but {its} in "
                        f"{other.path}, and both count as the default"
                    )

                row = [*silent, *_agreeing(sides, sentence, _CHANGED_DEFAULT, reject)]
        kept += row
    return kept


def _values(record: Record, section: str) -> Any:
    """The hyperparameters or the recipe of a record."""
    return getattr(record.arguments, section)


def _grouped(records: Iterable[Record], key: Callable[[Record], str]) -> list[list[Record]]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return list(groups.values())


def _sides(records: Iterable[Record], value: Callable[[Record], Any]) -> list[_Side]:
    """The records by their value, which need not be hashable; the heaviest side first."""
    sides: list[_Side] = []
    for record in records:
        own = value(record)
        side = next((side for side in sides if side.value == own), None)
        if side is None:
            side = _Side(own, [])
            sides.append(side)
        side.records.append(record)
    return sorted(sides, key=lambda side: side.weight, reverse=True)


def _agreeing(
    sides: Sequence[_Side],
    sentence: Callable[[Record, Record], str],
    advice: str,
    reject: Reject,
) -> list[Record]:
    """The records of the heaviest side; none if two sides are equally heavy.

    Args:
        sides: the sides, the heaviest first.
        sentence: a record and one that contradicts it -> the contradiction.
        advice: what to do about two sealed records that contradict each other.
        reject: called with a sentence for each record of the other sides.
    """
    if len(sides) < 2:
        return [record for side in sides for record in side.records]
    first, second = sides[0], sides[1]
    is_decided = first.weight > second.weight
    reason = "" if is_decided else ", and no other record confirms either"
    for side in sides[1:] if is_decided else sides:
        other = (second if side is first else first).records[0]
        for record in side.records:
            both_sealed = record.is_sealed and other.is_sealed
            reject(f"{sentence(record, other)}{reason}: {advice if both_sealed else _REPEAT}")
    return first.records if is_decided else []
