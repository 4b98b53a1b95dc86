"""The footer of a table: what a reader needs in order to quote a row."""

import math
from collections.abc import Iterable, Sequence

from leaderboard.record import SHOTS, Group, RecordedSplit
from leaderboard.record_parts import PARTS
from leaderboard.statistics import chance_ap, chance_deviation, mean

_NAMES_SHOWN = 6


def footer_lines(
    split: RecordedSplit,
    group: Group,
    seeds: Sequence[int],
    oracles: Iterable[tuple[str, Sequence[str]]],
) -> tuple[tuple[str, str], ...]:
    """Write the footer of one table.

    Args:
        split: the split of the table.
        group: its selection rule and metric version.
        seeds: the number of seeds of each row.
        oracles: the label and the oracle marks of each oracle row.

    Returns:
        Pairs of a name and a text, in reading order.
    """
    lines = [
        ("split", f"{split.name}, fingerprint {split.fingerprint[:12]}"),
        ("regime", split.regime),
        ("images", ", ".join(f"{split.sizes[part]:,} {part}" for part in PARTS)),
        ("classes", _classes(split)),
        ("left out", _left_out(split)),
        ("chance", _chance(split)),
        ("selection", group.selection),
        ("metric version", group.metric_version),
        ("seeds", _seeds(seeds)),
        (
            "values",
            "mAP in percent, mean ± sample standard deviation over seeds; average is the mean of "
            "the three groups; – is undefined or missing",
        ),
    ]
    used = "; ".join(f"{label} uses {_listed(marks)}" for label, marks in oracles)
    if used:
        lines.append(("† oracle", f"{used}; these rows are not ranked"))
    return tuple(lines)


def _listed(marks: Sequence[str]) -> str:
    return ", ".join(mark.replace("_", " ") for mark in marks)


def _classes(split: RecordedSplit) -> str:
    sizes = ", ".join(f"{split.group_size(shot)} {shot}" for shot in SHOTS)
    few, many = (f"{split.thresholds[name]:g}" for name in ("few", "many"))
    return (
        f"{len(split.class_names)} ({sizes}); few < {few} ≤ medium < {many} ≤ many, "
        f"by {split.thresholds['reference']} training positives"
    )


def _left_out(split: RecordedSplit) -> str:
    names = split.without_test_positives
    if not names:
        return "no class: all have positives in the test set"
    listed = ", ".join(names[:_NAMES_SHOWN]) + (", …" if len(names) > _NAMES_SHOWN else "")
    noun = "class" if len(names) == 1 else "classes"
    return f"{len(names)} {noun} without positives in the test set, AP undefined ({listed})"


def _chance(split: RecordedSplit) -> str:
    counts = list(zip(split.test_positives, split.test_known, strict=True))

    def percent(shots: Sequence[str]) -> str:
        group = [pair for pair, shot in zip(counts, split.shot, strict=True) if shot in shots]
        expected = [ap for ap in (chance_ap(*pair) for pair in group) if ap is not None]
        value = mean(expected)
        if value is None:
            return "–"
        # The classes' scores are independent of one another, so their variances add up.
        variance = sum((chance_deviation(*pair) or 0.0) ** 2 for pair in group)
        return f"{100 * value:.2f} ± {100 * math.sqrt(variance) / len(expected):.2f}"

    groups = ", ".join(f"{percent([shot])} {shot}" for shot in SHOTS)
    return (
        f"random scores give {percent(SHOTS)} ({groups}), mean ± standard deviation over all "
        "rankings"
    )


def _seeds(seeds: Sequence[int]) -> str:
    low, high = min(seeds), max(seeds)
    return f"{low} per row" if low == high else f"{low} to {high} per row"
