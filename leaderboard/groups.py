"""Which records may stand in one table: the same split, selection rule and metric version."""

from collections.abc import Sequence

from leaderboard.errors import ReportError
from leaderboard.record import Group, Record


def choose(
    records: Sequence[Record],
    split: str | None = None,
    selection: str | None = None,
    metric_version: str | None = None,
) -> list[Record]:
    """Keep the records that match every given filter.

    Args:
        records: the records to choose from.
        split: beginning of a split fingerprint.
        selection: a selection rule.
        metric_version: a metric version.

    Returns:
        The matching records, in their order.

    Raises:
        ReportError: nothing matches; the message lists what there is.
    """
    wanted = Group(split or "", selection or "", metric_version or "")
    chosen = [record for record in records if _matches(record.science.group, wanted)]
    if records and not chosen:
        asked = ", ".join(
            f"{name} {value}"
            for name, value in zip(("split", "selection", "metric version"), wanted, strict=True)
            if value
        )
        raise ReportError(f"No record has {asked}; there are {_listing(records)}.")
    return chosen


def refuse_mixed(records: Sequence[Record]) -> None:
    """Raise unless all records may share one table.

    Raises:
        ReportError: there are several splits, selection rules or metric versions.
    """
    groups = {record.science.group for record in records}
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


def refuse_contradictions(records: Sequence[Record]) -> None:
    """Raise if records of one fingerprint describe different splits.

    Raises:
        ReportError: the `split` of two records differs although the fingerprint is the same.
    """
    for record in records[1:]:
        if record.split != records[0].split:
            raise ReportError(
                f"{record.path}: split differs from that in {records[0].path} although both have "
                f"the fingerprint {record.split.fingerprint[:12]}: one of the two was edited; "
                "repeat that run."
            )


def by_group(records: Sequence[Record]) -> dict[Group, list[Record]]:
    """Sort the records into the tables that they belong to, in the order of the split names."""
    groups: dict[Group, list[Record]] = {}
    for record in sorted(records, key=lambda r: (r.split.name, r.science.group)):
        groups.setdefault(record.science.group, []).append(record)
    return groups


def _matches(group: Group, wanted: Group) -> bool:
    return (
        group.split.startswith(wanted.split)
        and wanted.selection in ("", group.selection)
        and wanted.metric_version in ("", group.metric_version)
    )


def _listing(records: Sequence[Record]) -> str:
    splits = sorted({(record.split.name, record.split.fingerprint[:12]) for record in records})
    rules = sorted({record.science.group.selection for record in records})
    versions = sorted({record.science.group.metric_version for record in records})
    named = [f"{fingerprint} '{name}'" for name, fingerprint in splits]
    return ", ".join(
        f"{len(values)} {noun if len(values) == 1 else noun + 's'} ({', '.join(values)})"
        for noun, values in (
            ("split", named),
            ("selection rule", rules),
            ("metric version", versions),
        )
    )
