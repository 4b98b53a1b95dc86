"""The footer of a table: what a reader needs in order to quote a row."""

import math
from collections.abc import Sequence

from leaderboard.curves import MEANINGS
from leaderboard.labels import common_recipe, rounded
from leaderboard.record import SHOTS, Group, RecordedSplit
from leaderboard.record_parts import PARTS
from leaderboard.row import Row
from leaderboard.statistics import chance_ap, chance_deviation, mean

_NAMES_SHOWN = 6
_SCORES = {
    "val": "mAP on the true labels of the validation part",
    "val-observed": "mAP estimated from the observed labels of the validation part",
}


def footer_lines(
    split: RecordedSplit, group: Group, rows: Sequence[Row]
) -> tuple[tuple[str, str], ...]:
    """Write the footer of one table.

    Args:
        split: the split of the table.
        group: its selection rule and metric version.
        rows: its rows.

    Returns:
        Pairs of a name and a text, in reading order.
    """
    lines = [
        ("split", f"{split.name}, fingerprint {split.fingerprint[:12]}"),
        ("regime", split.regime),
        ("images", ", ".join(f"{split.sizes[part]:,} {part}" for part in PARTS)),
        ("classes", _classes(split)),
        ("left out", _left_out(split)),
        ("test labels", _unknown_labels(split)),
        ("no negatives", _without_negatives(split)),
        ("chance", _chance(split)),
        ("selection", group.selection),
        ("metric version", group.metric_version),
        ("recipe", _recipe(rows)),
        ("tuning", _tuning(rows)),
        ("training", _training(rows)),
        ("heads", _heads(rows)),
        ("seeds", _seeds(rows)),
        (
            "values",
            "mAP in percent, mean ± sample standard deviation over seeds (none for a single seed); "
            "average is the mean of the three groups; – is undefined or missing",
        ),
        ("† oracle", _oracles(rows)),
        ("declared", _declared(rows)),
    ]
    return tuple((name, text) for name, text in lines if text)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMES_SHOWN]) + (", …" if len(names) > _NAMES_SHOWN else "")


def _listed(marks: Sequence[str]) -> str:
    return ", ".join(mark.replace("_", " ") for mark in marks)


def _oracles(rows: Sequence[Row]) -> str:
    """The hidden truths that rows use; empty if there are none."""
    used = [f"{row.label} uses {_listed(row.method.oracle)}" for row in rows if row.is_oracle]
    return f"{'; '.join(used)}; these rows are not ranked" if used else ""


def _declared(rows: Sequence[Row]) -> str:
    """The remarks of the authors of scores from elsewhere."""
    return "; ".join(f"{row.label}: {row.method.note}" for row in rows if row.method.note)


def _recipe(rows: Sequence[Row]) -> str:
    """The recipe of most rows, and where it differs or is unknown."""
    arguments = [row.arguments for row in rows]
    external = [row.label for row in rows if row.arguments.external]
    recipe = common_recipe(arguments)
    if recipe is None:
        return "unknown, because all scores were computed elsewhere"
    changed = [f"{name}={rounded(recipe.values[name])}" for name in recipe.departures]
    rest = [
        f"{name}={rounded(value)}"
        for name, value in recipe.values.items()
        if value and name not in recipe.departures
    ]
    parts = [", ".join(changed)] if changed else []
    if rest:
        start = "otherwise defaults" if changed else "defaults"
        parts.append(f"{start} {recipe.defaults}: {', '.join(rest)}")
    if not recipe.is_shared:
        parts.append("rows with another recipe say so in their label")
    if external:
        parts.append(f"unknown for {_some(external)} (computed elsewhere)")
    return "; ".join(parts)


def _tuning(rows: Sequence[Row]) -> str:
    """How the settings of tuned rows were chosen; empty if there are none."""
    searches = dict.fromkeys(
        (search["protocol"], search["seeds"], search["select"])
        for search in (row.arguments.search for row in rows)
        if search
    )
    if not searches:
        return ""
    rules = "; ".join(
        f"protocol {protocol}, chosen by {select} ({_SCORES.get(select, 'see the records')}), mean "
        f"over {seeds} {'seed' if seeds == 1 else 'seeds'}"
        for protocol, seeds, select in searches
    )
    return (
        f"{rules}; every tuned row compares as many draws as its label says, the default among "
        "them, and trains the best one anew; no draw has a test score"
    )


def _training(rows: Sequence[Row]) -> str:
    """The rows whose learning curves ask for caution; empty if there are none."""
    parts = []
    for mark, meaning in MEANINGS.items():
        labels = [row.label for row in rows if any(mark in record.marks for record in row.records)]
        if labels:
            parts.append(f"{meaning}: {_some(labels)}")
    return "; ".join(parts)


def _heads(rows: Sequence[Row]) -> str:
    """Which rows have the recipe's head, and which one of their own."""
    trained = [row for row in rows if not row.arguments.external]
    recipe = common_recipe([row.arguments for row in trained])
    if recipe is None or "head" not in recipe.values:
        return ""
    own = [row.label for row in trained if row.method.own_head]
    unknown = [row.label for row in trained if row.method.own_head is None]
    parts = [f"{recipe.values['head']}, from the recipe"]
    if own:
        parts.append(f"the method's own for {', '.join(own)}")
    if unknown:
        parts.append(f"not recorded, maybe the method's own, for {_some(unknown)}")
    return "; ".join(parts)


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
    noun = "class" if len(names) == 1 else "classes"
    return f"{len(names)} {noun} without positives in the test set, AP undefined ({_some(names)})"


def _unknown_labels(split: RecordedSplit) -> str:
    """The number of unknown test labels; empty if all are known."""
    known, total = sum(split.test_known), split.sizes["test"] * len(split.class_names)
    if known >= total:
        return ""
    share = min(100 * known / total, 99.99)
    return (
        f"{share:.2f} % known; {total - known:,} of {total:,} are unknown and left out of their "
        "class"
    )


def _without_negatives(split: RecordedSplit) -> str:
    """The classes whose AP is 1 for any scores; empty if there are none."""
    names = split.without_test_negatives
    if not names:
        return ""
    classes, verb, their = (
        ("1 class", "has", "its")
        if len(names) == 1
        else (f"{len(names):,} classes", "have", "their")
    )
    return (
        f"{classes} {verb} no known negative in the test part, so {their} AP is 100 by definition "
        f"({_some(names)})"
    )


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


def _seeds(rows: Sequence[Row]) -> str:
    counts = [len(row.seeds) for row in rows]
    low, high = min(counts), max(counts)
    if low == high:
        return f"{low} per row"
    few = [row.label for row in rows if not row.is_ranked and not row.is_oracle]
    most = max((len(row.seeds) for row in rows if row.is_ranked), default=high)
    reason = f"; rows with fewer than {most} are not ranked ({_some(few)})" if few else ""
    return f"{low} to {high} per row{reason}"
