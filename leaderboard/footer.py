"""What stands under a table: everything that a reader needs to quote a row of it."""

import math
from collections.abc import Iterable, Sequence

from leaderboard.record import SHOTS, Group, Split
from leaderboard.statistics import chance_ap, chance_deviation, mean

_NAMES_SHOWN = 6


def footer_lines(
    split: Split, group: Group, seeds: Sequence[int], oracles: Iterable[tuple[str, Sequence[str]]]
) -> tuple[tuple[str, str], ...]:
    """Write the footer of one table.

    Args:
        split: the split of the table.
        group: its selection rule and metric version.
        seeds: number of seeds of each row.
        oracles: label and oracle marks of each oracle row.

    Returns:
        Pairs of a name and a text, in reading order.
    """
    lines = [
        ("split", f"{split.name}, fingerprint {split.fingerprint[:12]}"),
        ("regime", split.regime),
        ("images", ", ".join(f"{split.sizes[part]:,} {part}" for part in ("train", "val", "test"))),
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
    sees = "; ".join(f"{label} sees {_words(marks)}" for label, marks in oracles)
    if sees:
        lines.append(("† oracle", f"{sees}; these rows do not compete for marks"))
    return tuple(lines)


def _words(marks: Sequence[str]) -> str:
    return ", ".join(mark.replace("_", " ") for mark in marks)


def _classes(split: Split) -> str:
    sizes = ", ".join(f"{split.group_size(shot)} {shot}" for shot in SHOTS)
    few, many = (f"{value:g}" for value in (split.few_below, split.many_from))
    return (
        f"{len(split.class_names)} ({sizes}); few < {few} ≤ medium < {many} ≤ many, "
        f"by {split.reference} training positives"
    )


def _left_out(split: Split) -> str:
    names = split.without_test_positives
    if not names:
        return "no class, all have positives in the test set"
    listed = ", ".join(names[:_NAMES_SHOWN]) + (", …" if len(names) > _NAMES_SHOWN else "")
    noun = "class" if len(names) == 1 else "classes"
    return f"{len(names)} {noun} without positives in the test set, AP undefined ({listed})"


def _chance(split: Split) -> str:
    pairs = list(zip(split.test_positives, split.test_known, strict=True))

    def percent(shots: Sequence[str]) -> str:
        chosen = [pair for pair, shot in zip(pairs, split.shot, strict=True) if shot in shots]
        found = [ap for ap in (chance_ap(*pair) for pair in chosen) if ap is not None]
        value = mean(found)
        if value is None:
            return "–"
        # The classes' scores are independent of one another, so that their variances add up.
        variance = sum((chance_deviation(*pair) or 0.0) ** 2 for pair in chosen)
        return f"{100 * value:.2f} ± {100 * math.sqrt(variance) / len(found):.2f}"

    groups = ", ".join(f"{percent([shot])} {shot}" for shot in SHOTS)
    return f"random scores give {percent(SHOTS)} ({groups}), mean ± deviation over all orders"


def _seeds(seeds: Sequence[int]) -> str:
    low, high = min(seeds), max(seeds)
    return f"{low} per row" if low == high else f"{low} to {high} per row"
