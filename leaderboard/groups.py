"""Which records can share a table: those of one split, selection rule and metric version."""

from collections.abc import Sequence
from dataclasses import replace

from leaderboard.errors import ReportError
from leaderboard.record import Group, Record


def select(
    records: Sequence[Record],
    split: str | None = None,
    selection: str | None = None,
    metric_version: str | None = None,
) -> list[Record]:
    """Keep the records that match every filter.

    Args:
        records: the records.
        split: the beginning of a split fingerprint.
        selection: a selection rule.
        metric_version: a metric version.

    Returns:
        The matching records, in their order.

    Raises:
        ReportError: no record matches; the message lists the groups that exist.
    """
    filters = Group(split or "", selection or "", metric_version or "")
    matches = [record for record in records if _matches(record.arguments.group, filters)]
    if records and not matches:
        described = ", ".join(
            f"{name} {value}"
            for name, value in zip(("split", "selection", "metric version"), filters, strict=True)
            if value
        )
        raise ReportError(f"No record has {described}; there are {_listing(records)}.")
    return matches


def check_one_group(records: Sequence[Record]) -> None:
    """Raise unless all records can share one table.

    Raises:
        ReportError: there are several splits, selection rules or metric versions.
    """
    groups = {record.arguments.group for record in records}
    if len(groups) <= 1:
        return
    options = (
        "--split FINGERPRINT_PREFIX",
        "--selection RULE",
        "--metric-version VERSION",
    )
    mixed = [
        option
        for option, values in zip(options, zip(*groups, strict=True), strict=True)
        if len(set(values)) > 1
    ]
    raise ReportError(
        f"These records cannot share one table, there are {_listing(records)}: "
        f"choose with {' and '.join(mixed)}."
    )


def check_split_descriptions(records: Sequence[Record]) -> None:
    """Raise if records of one fingerprint describe different splits.

    The fingerprint does not cover the name, so the name may differ.

    Raises:
        ReportError: the `split` of two records differs although the fingerprint is the same.
    """
    for record in records[1:]:
        if replace(record.split, name=records[0].split.name) != records[0].split:
            raise ReportError(
                f"{record.path}: split differs from that in {records[0].path} although both have "
                f"the fingerprint {record.split.fingerprint[:12]}: one of the two was edited; "
                "repeat that run."
            )


def check_defaults(records: Sequence[Record]) -> None:
    """Raise if the records of one row disagree about a value.

    The records of a row depart from the same defaults in the same way, so they can disagree only
    if a default was changed without a new version.

    Raises:
        ReportError: a hyperparameter or a recipe field has two values.
    """
    first: dict[str, tuple[object, Record]] = {}
    for record in records:
        for section in ("hyperparameters", "recipe"):
            for name, value in getattr(record.arguments, section).items():
                key = f"science.{section}.{name}"
                other, source = first.setdefault(key, (value, record))
                if other != value:
                    raise ReportError(
                        f"{record.path}: {key} is {value!r}, but {other!r} in {source.path}, and "
                        "both count as the default: a changed default needs a new version of the "
                        "method or of the recipe defaults."
                    )


def by_group(records: Sequence[Record]) -> dict[Group, list[Record]]:
    """Sort the records into the tables that they belong to, in the order of the split names."""
    groups: dict[Group, list[Record]] = {}
    for record in sorted(records, key=lambda r: (r.split.name, r.arguments.group)):
        groups.setdefault(record.arguments.group, []).append(record)
    return groups


def _matches(group: Group, filters: Group) -> bool:
    return (
        group.split.startswith(filters.split)
        and filters.selection in ("", group.selection)
        and filters.metric_version in ("", group.metric_version)
    )


def _listing(records: Sequence[Record]) -> str:
    splits = sorted({(record.split.name, record.split.fingerprint[:12]) for record in records})
    rules = sorted({record.arguments.selection for record in records})
    versions = sorted({record.arguments.metric_version for record in records})
    named = [f"{fingerprint} '{name}'" for name, fingerprint in splits]
    return ", ".join(
        f"{len(values)} {noun if len(values) == 1 else noun + 's'} ({', '.join(values)})"
        for noun, values in (
            ("split", named),
            ("selection rule", rules),
            ("metric version", versions),
        )
    )
