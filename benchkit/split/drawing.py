"""Draw a split: class counts, observed labels, label cardinality, co-occurrence.

One figure as PNG or SVG. The same split and version of matplotlib give the same bytes: the user's
style is ignored, and no date is written.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from benchkit.base.errors import BenchkitError
from benchkit.base.files import atomic
from benchkit.base.messages import Log, no_log
from benchkit.split.model import Split
from benchkit.split.summary import conditional_cooccurrence
from splits.shots import SHOT_NAMES

SUFFIXES = (".png", ".svg")
SHOT_COLOURS = {"many": "#2f6fb0", "medium": "#e3a02c", "few": "#9c2f5d"}
INK, MUTED, RULE, PALE = "#1c1f23", "#5c636b", "#d5d9de", "#eceef1"

_SIZE = (15.0, 16.5)
_NAMED_CLASSES = 100
_NAMED_CELLS = 90
_LEVEL_NAMES = 12
_ALL_CELLS = 100
_TOP_CELLS = 60
_NAME_LENGTH = 20
_SERIES = (
    ("positive", "positive", "#2c8c6b"),
    ("false_positive", "positive, not true", "#d1495b"),
    ("negative", "negative", "#a9b8c9"),
    ("false_negative", "negative, truly positive", "#7b4b94"),
    ("unknown", "unknown", PALE),
)
_LOOSE: dict[str, Any] = {"linestyle": "none", "clip_on": False}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "benchkit",
    "text.parse_math": False,
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 26,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
}


def check_suffix(path: Path) -> None:
    """Raise a BenchkitError for a file name that ends in neither .png nor .svg."""
    if path.suffix.lower() not in SUFFIXES:
        raise BenchkitError(f"{path} ends in neither .png nor .svg; use one of them")


def draw(split: Split, summary: dict[str, Any], path: Path, log: Log = no_log) -> None:
    """Draw a split into a file, atomically.

    Args:
        split: the split.
        summary: its `benchkit.split.summary.summary`.
        path: a file name that ends in .png or .svg.
        log: called with a message for each leftover of an interrupted writer that is removed.

    Raises:
        BenchkitError: another suffix, or the file cannot be written.
    """
    check_suffix(path)
    kind = path.suffix.lower()[1:]
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        # Characters that the font lacks are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = _figure(split, summary)
        with atomic(path, log) as partial:
            figure.savefig(partial, format=kind, dpi=120, metadata=metadata)


def _figure(split: Split, summary: dict[str, Any]) -> Figure:
    classes = sorted(summary["classes"], key=lambda entry: -entry["train"])
    order = np.argsort([-entry["train"] for entry in summary["classes"]], kind="stable")
    figure = Figure(figsize=_SIZE, layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.15, h_pad=0.15)  # type: ignore[union-attr, call-arg]
    axes = figure.subplot_mosaic("aa;bb;cd", height_ratios=[4, 3.4, 7.6], width_ratios=[5, 8.6])
    _counts(axes["a"], classes, summary)
    _shares(axes["b"], classes, candidates=split.regime.kind == "candidates")
    _cardinality(axes["c"], summary)
    _cooccurrence(axes["d"], split, order)
    sizes = ", ".join(f"{count:,} {name}" for name, count in summary["sizes"].items())
    figure.suptitle(
        _printable(f"{summary['name']}: {sizes} images, {len(classes)} classes, {split.regime}")
        + f"  ({summary['fingerprint']['both'][:12]})",
        fontsize=13,
        x=0.01,
        ha="left",
    )
    return figure


def _counts(axes: Axes, classes: list[dict[str, Any]], summary: dict[str, Any]) -> None:
    """Bars: training positives by shot group. Marks: available, target and observed counts."""
    positions = np.arange(len(classes))
    counts = np.array([entry["train"] for entry in classes])
    for group in SHOT_NAMES:
        member = np.array([entry["shot"] == group for entry in classes])
        if member.any():
            label = f"{group} ({member.sum()})"
            axes.bar(
                positions[member],
                counts[member],
                _bar_width(positions),
                color=SHOT_COLOURS[group],
                label=label,
            )
    size, edge = _mark(classes)
    marks: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("available", "available before", dict(marker="_", color=MUTED, mew=1.6)),
        ("target", "target", dict(marker="x", color=INK, mew=max(edge, 0.6))),
        ("observed", "observed", dict(marker="o", color=INK, mfc="white", mew=edge)),
    )
    highest = counts.max(initial=1)
    for kind, label, form in marks:
        values = [entry[kind] for entry in classes]
        if None not in values:
            axes.plot(positions, values, markersize=size, label=label, **_LOOSE, **form)
            highest = max(highest, *values)
    thresholds = summary["thresholds"]
    for value in (thresholds["many"], thresholds["few"]):
        axes.axhline(value, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.text(1.002, value, f"{value}", transform=axes.get_yaxis_transform(), va="center")
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(0, 1.6 * max(highest, thresholds["many"]))
    ticks = [0, *(10**power for power in range(len(str(highest))))]
    axes.yaxis.set_ticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.yaxis.set_ticks([], minor=True)
    axes.grid(axis="y")
    axes.set_ylabel("images")
    _class_axis(axes, classes, named=False)
    rule = f"many ≥ {thresholds['many']}, few < {thresholds['few']} {thresholds['reference']}"
    axes.set_title(f"Training positives of each class ({rule} positives)")
    _legend(axes)


def _shares(axes: Axes, classes: list[dict[str, Any]], *, candidates: bool) -> None:
    """Stacked bars: the observed labels of each class, in the order of the counts."""
    positions = np.arange(len(classes))
    shares = {kind: _column(classes, kind) for kind, _, _ in _SERIES}
    series: Sequence[tuple[str, str, str]] = _SERIES
    title = "Observed labels, share of all training images"
    if candidates:
        total = shares["positive"] + shares["false_positive"]
        total[total == 0] = 1
        shares = {kind: shares[kind] / total for kind in ("positive", "false_positive")}
        series = [
            (kind, label, colour)
            for (kind, _, colour), label in zip(_SERIES, ("true", "false"), strict=False)
        ]
        title = "Candidates: share of true and false ones"
    bottom = np.zeros(len(classes))
    for kind, label, colour in series:
        if shares[kind].any():
            axes.bar(
                positions,
                shares[kind],
                _bar_width(positions),
                bottom=bottom,
                color=colour,
                label=label,
            )
            bottom += shares[kind]
    if not candidates:
        kept = [np.nan if e["positives_kept"] is None else e["positives_kept"] for e in classes]
        size, edge = _mark(classes)
        form: dict[str, Any] = dict(marker="o", mfc="white", mec=INK, mew=edge, markersize=size)
        axes.plot(positions, kept, label="kept of the true positives", **_LOOSE, **form)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    _class_axis(axes, classes, named=len(classes) <= _NAMED_CLASSES)
    axes.set_title(title)
    _legend(axes)


def _cardinality(axes: Axes, summary: dict[str, Any]) -> None:
    """Histogram: images by their number of positive labels, true and observed."""
    styles: dict[str, dict[str, Any]] = {
        "true": dict(fill=True, color="#a9b8c9"),
        "observed": dict(color=INK, linewidth=1.6),
    }
    means = {"true": summary["label_cardinality"], "observed": summary["observed_cardinality"]}
    for kind, form in styles.items():
        counts = np.asarray(summary["cardinality"][kind])
        mean = "" if means[kind] is None else f", mean {means[kind]:.2f}"
        axes.stairs(counts, np.arange(len(counts) + 1) - 0.5, label=f"{kind}{mean}", **form)
    axes.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]
    axes.set_ylim(bottom=0)
    axes.grid(axis="y")
    axes.set_xlabel("positive labels per training image")
    axes.set_ylabel("images")
    axes.set_title("Label cardinality")
    _legend(axes)


def _cooccurrence(axes: Axes, split: Split, order: np.ndarray) -> None:
    """Heat map of P(j | i) among the classes with the largest counts."""
    many = len(order) > _ALL_CELLS
    shown = order[:_TOP_CELLS] if many else order
    colours = matplotlib.colormaps["GnBu"].with_extremes(bad=RULE)
    image = axes.imshow(
        conditional_cooccurrence(split.parts["train"].true, shown),
        cmap=colours,
        norm=PowerNorm(0.5, 0, 1),
        interpolation="nearest",
        aspect="equal",
    )
    if len(shown) <= _NAMED_CELLS:
        names = [_short(split.class_names[c]) for c in shown]
        _names(axes, names, 6.5)
        axes.set_yticks(range(len(names)), names, fontsize=_font(names, 6.5))
        axes.tick_params(length=0)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_xlabel("j")
    axes.set_ylabel("i")
    which = f", the {len(shown)} largest of {len(order)} classes" if many else ""
    axes.set_title(f"P(j | i): how often images of class i also show class j{which}", pad=10)
    bar = axes.figure.colorbar(image, ax=axes, fraction=0.035, pad=0.01)
    bar.set_ticks([0, 0.05, 0.2, 0.5, 1.0], labels=["0", "5%", "20%", "50%", "100%"])
    bar.outline.set_visible(False)


def _column(classes: list[dict[str, Any]], kind: str) -> np.ndarray:
    return np.array([entry["shares"][kind] or 0.0 for entry in classes])


def _bar_width(positions: np.ndarray) -> float:
    """The width of the bars; gaps between many thin bars would flicker."""
    return 0.8 if len(positions) <= _NAMED_CLASSES else 1.0


def _class_axis(axes: Axes, classes: list[dict[str, Any]], *, named: bool) -> None:
    axes.set_xlim(-0.7, len(classes) - 0.3)
    if named:
        _names(axes, [_short(entry["name"]) for entry in classes], 13.0)
        axes.tick_params(axis="x", length=0)
    else:
        axes.set_xticks([])
        axes.set_xlabel(f"{len(classes)} classes, most training positives first", color=MUTED)


def _legend(axes: Axes) -> None:
    if not axes.get_legend_handles_labels()[0]:  # no label is observed, so nothing is drawn
        return
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=7,
        borderaxespad=0.1,
        handletextpad=0.4,
        columnspacing=1.4,
    )


def _names(axes: Axes, names: list[str], inches: float) -> None:
    """Write class names below an axis of a given width; rotate them if there are many."""
    rotation = 0 if len(names) <= _LEVEL_NAMES and inches > 10 else 90
    axes.set_xticks(range(len(names)), names, rotation=rotation, fontsize=_font(names, inches))


def _font(names: list[str], inches: float) -> float:
    """The font size, in points, at which each name fits into its share of an axis."""
    return min(9.5, 0.85 * 72 * inches / len(names))


def _mark(classes: list[dict[str, Any]]) -> tuple[float, float]:
    """The size and the edge width of the marks on bars, in points."""
    return min(6.0, max(2.6, 420 / len(classes))), 0.9 if len(classes) <= _NAMED_CLASSES else 0.4


def _short(name: str) -> str:
    """A class name; a long one is cut in its middle, because some differ only at the end."""
    name = _printable(name)
    if len(name) <= _NAME_LENGTH:
        return name
    head = _NAME_LENGTH // 2
    return f"{name[:head]}…{name[len(name) - (_NAME_LENGTH - head - 1) :]}"


def _printable(text: str) -> str:
    """Replace control characters, which SVG cannot contain."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )
