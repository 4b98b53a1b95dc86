"""The plots of one table: shot groups, class counts, and AP against the training count."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from leaderboard.marks import percent
from leaderboard.record import SHOTS
from leaderboard.render.drawing import INK, MUTED, SHOT_COLOURS, SHOT_MARKERS, draw
from leaderboard.render.text import row_name, visible
from leaderboard.row import Row
from leaderboard.statistics import mean
from leaderboard.table import Table

_WIDTH = 12.0
_NAMED_CLASSES = 48
_LABEL_LENGTH = 38


def shot_plot(table: Table, name: str) -> str:
    """Dots with error bars: every method in every shot group, best total on top."""
    rows = table.rows
    shots = [shot for shot in SHOTS if table.split.group_size(shot)]
    offsets = np.linspace(-0.22, 0.22, len(shots)) if len(shots) > 1 else np.zeros(1)

    def paint(axes: Axes) -> None:
        for shot, offset in zip(shots, offsets, strict=True):
            points = [
                (100 * cell.mean, at + offset, 100 * (cell.std or 0.0))
                for at, cell in enumerate(row.cells[shot] for row in rows)
                if cell.mean is not None
            ]
            if points:
                means, places, stds = zip(*points, strict=True)
                axes.errorbar(
                    means,
                    places,
                    xerr=stds,
                    fmt=SHOT_MARKERS[shot],
                    color=SHOT_COLOURS[shot],
                    markersize=6,
                    elinewidth=1.6,
                    capsize=2.5,
                    label=shot,
                )
        axes.set_yticks(range(len(rows)), [_short(row_name(row)) for row in rows])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid()
        axes.set_xlabel("mAP in percent, mean ± standard deviation over seeds")
        axes.spines["left"].set_visible(False)
        _legend(axes)

    height = 1.1 + 0.52 * len(rows)
    return draw(paint, (_WIDTH, height), name, shot_alternative(table))


def shot_alternative(table: Table) -> str:
    """The shot plot as a sentence."""
    parts = []
    for row in table.rows:
        means = [(shot, row.cells[shot].mean) for shot in SHOTS]
        known = [f"{shot} {percent(value)}" for shot, value in means if value is not None]
        parts.append(f"{row_name(row)}: {', '.join(known) or 'no value'}")
    return "mAP per shot group in percent. " + "; ".join(parts)


def count_plot(table: Table, name: str) -> str:
    """Bars for the true training positives of every class, and dots for the observed ones."""
    split = table.split
    counts = np.asarray(split.train_count)
    order = np.argsort(-counts, kind="stable")
    places = np.arange(len(order))
    shot = np.asarray(split.shot)[order]

    def paint(axes: Axes) -> None:
        for group in SHOTS:
            member = shot == group
            if member.any():
                axes.bar(
                    places[member],
                    counts[order][member],
                    width=0.78,
                    color=SHOT_COLOURS[group],
                    label=f"{group} ({member.sum()})",
                )
        axes.plot(
            places,
            np.asarray(split.observed_count)[order],
            linestyle="none",
            marker="o",
            markersize=4.2,
            color=INK,
            label="observed positives",
        )
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(bottom=0)
        axes.set_xlim(-0.7, len(order) - 0.3)
        axes.grid(axis="y")
        axes.set_ylabel("training positives")
        _plain_numbers(axes, "y", [*split.train_count, *split.observed_count])
        _class_ticks(axes, [split.class_names[index] for index in order])
        _legend(axes)

    groups = ", ".join(f"{split.group_size(group)} {group}" for group in SHOTS)
    alternative = (
        f"True training positives of {len(order)} classes on a logarithmic axis, from "
        f"{counts.max(initial=0):,} down to {counts.min(initial=counts.max(initial=0)):,}; "
        f"{groups}; dots are the observed positives."
    )
    return draw(paint, (_WIDTH, 4.4), name, alternative)


def ap_plot(table: Table, row: Row, name: str) -> str:
    """Dots for the AP of every class, mean over seeds, against its true training positives."""
    split = table.split
    points = [
        (count, 100 * value, shot)
        for count, value, shot in zip(split.train_count, class_ap(row), split.shot, strict=True)
        if value is not None
    ]

    def paint(axes: Axes) -> None:
        for group in SHOTS:
            counts = [count for count, _, shot in points if shot == group]
            values = [value for _, value, shot in points if shot == group]
            if counts:
                axes.plot(
                    counts,
                    values,
                    linestyle="none",
                    marker=SHOT_MARKERS[group],
                    markersize=6,
                    color=SHOT_COLOURS[group],
                    label=group,
                )
        axes.set_xscale("symlog", linthresh=1)
        axes.set_ylim(-3, 103)
        axes.grid()
        axes.set_xlabel("training positives")
        axes.set_ylabel("AP in percent")
        _plain_numbers(axes, "x", [count for count, _, _ in points])
        _legend(axes)

    alternative = (
        f"AP of {len(points)} classes against their training positives for {row_name(row)}, "
        "mean over seeds, one dot per class."
    )
    return draw(paint, (_WIDTH, 4.6), name, alternative)


def class_ap(row: Row) -> list[float | None]:
    """The AP of every class, mean over the seeds of a row; `None` if a seed has none."""
    return [mean(values) for values in zip(*(r.metrics.ap for r in row.records), strict=True)]


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[1]:
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=4,
            borderaxespad=0.2,
            handletextpad=0.5,
            columnspacing=1.8,
        )


def _plain_numbers(axes: Axes, which: str, counts: Sequence[int]) -> None:
    """Ticks at 0, 1, 10, 100, ... up to the largest power of ten in the range of the counts."""
    ticks = [1]
    while 10 * ticks[-1] <= max(counts, default=1):
        ticks.append(ticks[-1] * 10)
    if min(counts, default=1) == 0 or which == "y":
        ticks = [0, *ticks]
    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_ticks(ticks, [f"{tick:,}" for tick in ticks])
    axis.set_ticks([], minor=True)


def _class_ticks(axes: Axes, names: Sequence[str]) -> None:
    if len(names) <= _NAMED_CLASSES:
        axes.set_xticks(range(len(names)), [_short(name, 18) for name in names], rotation=90)
        axes.tick_params(axis="x", length=0)
    else:
        axes.set_xticks([])
        axes.set_xlabel(f"{len(names)} classes in the order of their counts", color=MUTED)


def _short(label: str, length: int = _LABEL_LENGTH) -> str:
    """Shorten a long label in its middle, because rows of one method often differ at the end."""
    label = visible(label)
    if len(label) <= length:
        return label
    head = length // 2
    return f"{label[:head]}…{label[len(label) - (length - head - 1) :]}"
