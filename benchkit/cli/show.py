"""`benchkit show`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchkit.base.errors import BenchkitError
from benchkit.base.terminal import log, page, wrong_call
from benchkit.base.text import printable_tree
from benchkit.cli.groups import Command
from benchkit.cli.types import FILE

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_SHOT_STYLES = {"many": "blue", "medium": "yellow", "few": "magenta"}
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_HISTOGRAM_ROWS = 16
_HISTOGRAM_BAR = 30
_CLASS_BAR = 24
_SHORTEST_BAR = 6


@click.command(cls=Command)
@click.argument("file", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print all values as JSON.")
@click.option(
    "--draw",
    "drawing_path",
    type=FILE,
    metavar="FILE.png|FILE.svg",
    help="Also draw class counts, observed labels, cardinality and co-occurrence.  "
    "[default: no drawing]",
)
def show(file: Path, as_json: bool, drawing_path: Path | None) -> None:
    """Show the contents of a split file.

    Prints the recipe, sizes, shot groups, class counts and observed rates. The bars show training
    positives on a logarithmic scale, in the colours of the shot groups.

    \b
    Examples:
      benchkit show s.h5
      benchkit show s.h5 --draw s.png
    """  # noqa: D301 (click looks for the backspace itself)
    from benchkit.split import file as split_file
    from benchkit.split import summary as split_summary

    if drawing_path is not None:
        from benchkit.split import drawing  # matplotlib is slow to import

        with wrong_call(BenchkitError):
            drawing.check_suffix(drawing_path)
    split = split_file.read(file)
    summary = split_summary.summary(split, split_file.stored_fingerprints(file))
    if as_json:
        click.echo(json.dumps(summary, indent=1))
    else:
        print_summary(page(), summary)
    if drawing_path is not None:
        drawing.draw(split, summary, drawing_path, log)
        log(f"wrote {drawing_path}")


def print_summary(console: Console, summary: Mapping[str, Any]) -> None:
    """Print a summary as text.

    Args:
        console: where to print.
        summary: from `benchkit.split.summary.summary`.
    """
    from rich.table import Table

    summary = printable_tree(summary)  # names from the file may hold terminal escapes
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for title, value in _overview(summary).items():
        grid.add_row(title, value)
    console.print(grid)
    console.print(_cardinality_table(summary["cardinality"], console.width))
    console.print(class_table(summary["classes"], console.width))


def _overview(summary: Mapping[str, Any]) -> dict[str, str]:
    """Title -> value."""
    rates, thresholds = summary["rates"], summary["thresholds"]
    sizes = ", ".join(f"{count} {name}" for name, count in summary["sizes"].items())
    groups = ", ".join(f"{count} {name}" for name, count in summary["shot_groups"].items())
    rule = f"many >= {thresholds['many']}, few < {thresholds['few']}"
    cardinality = _text(summary["label_cardinality"], "{:.3f}")
    observed_cardinality = _text(summary["observed_cardinality"], "{:.3f}")
    source_options = summary["provenance"].get("source_options")
    return {
        "split": summary["name"],
        "fingerprint": summary["fingerprint"]["both"],
        "images": sizes,
        "shot groups": f"{groups} ({rule}, {thresholds['reference']} counts)",
        "labels per image": f"{cardinality}, observed {observed_cardinality}",
        "max / min count": _text(summary["imbalance_ratio"], "{:.1f}"),
        "regime": summary["recipe"]["labels"]["regime"],
        "observed labels": _text(rates["observed"]),
        "positives kept": _text(rates["positives_kept"]),
        "false candidates": _text(rates["candidate_noise"]),
        "estimated noise": _noise(summary["noise"]) or "–",
        **_long_tail(summary["long_tail_report"]),
        "features": _features(summary["features"]),
        "recipe": json.dumps(summary["recipe"], sort_keys=True),
        **({} if source_options is None else {"source": _source(source_options)}),
        "seed": _seed(summary["provenance"].get("seed")),
        "no test positive": f"{summary['classes_without_test_positives']} classes",
    }


def _seed(seed: Any) -> str:
    return "–" if seed is None else str(seed)


def _source(options: Mapping[str, Any]) -> str:
    """The kind of a source and the options that it was read with, as on the command line."""
    assignments = [
        f"{key}={_option_text(value)}"
        for key, value in options.items()
        if key != "kind" and value != ""
    ]
    kind = str(options.get("kind"))
    return f"{kind}: {', '.join(assignments)}" if assignments else kind


def _option_text(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _noise(estimates: Mapping[str, float | None]) -> str:
    """The estimates of noise from the observed labels alone."""
    names = ("noise_rate", "false_candidates", "positives_per_image")
    return ", ".join(
        f"{name.replace('_', ' ')} {_text(estimates[name], '{:.3f}')}"
        for name in names
        if name in estimates
    )


def _long_tail(report: Mapping[str, Any] | None) -> dict[str, str]:
    if report is None:
        return {}
    missed, drift = len(report["not_met"]), report["cooccurrence_drift"]
    text = f"{missed} of {len(report['classes'])} targets not met, co-occurrence drift {drift:.3f}"
    return {"long tail": text}


def _features(features: Mapping[str, Any] | None) -> str:
    if features is None:
        return "none"
    return f"{features['views']} x {features['dim']} {features['type']}"


def _text(value: float | None, form: str = "{:.1%}") -> str:
    return "–" if value is None else form.format(value)


def _bar(share: float, width: int) -> str:
    """A bar in eighths of a character; a share above 0 is always visible."""
    eighths = max(round(share * width * 8), 1 if share > 0 else 0)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _cardinality_table(histograms: Mapping[str, list[int]], console_width: int) -> Table:
    """Images by their number of positive labels."""
    from rich import box
    from rich.table import Table

    from benchkit.split.summary import binned

    width = min(_HISTOGRAM_BAR, console_width // 2 - 20)  # beside the numbers
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("labels", justify="right")
    for kind in histograms:
        table.add_column(kind, justify="right")
        table.add_column("", no_wrap=True, width=width)
    bins = binned(list(histograms.values()), _HISTOGRAM_ROWS)
    largest = max(max(counts) for _, counts in bins)
    for values, counts in bins:
        cells = [
            cell for count in counts for cell in (str(count), _bar(count / max(largest, 1), width))
        ]
        table.add_row(values, *cells)
    return table


def class_table(classes: Sequence[Mapping[str, Any]], console_width: int) -> Table:
    """One row per class, most training positives first, with a bar if there is enough space.

    Args:
        classes: the entry `classes` of a summary.
        console_width: in characters.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    ranked = sorted(classes, key=lambda entry: -entry["train"])
    columns = _class_columns(ranked)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for title in columns:
        table.add_column(title, justify="left" if title == "class" else "right", overflow="fold")
    width = _bar_width(columns, console_width)
    if width:
        title = "train, log scale" if width >= 16 else "log" if width < 9 else "log scale"
        table.add_column(title, no_wrap=True, width=width)
    largest = math.log1p(ranked[0]["train"]) or 1.0
    for entry, row in zip(ranked, zip(*columns.values(), strict=True), strict=True):
        style = _SHOT_STYLES[entry["shot"]]
        cells: list[str | Text] = [row[0], Text(row[1], style), *row[2:]]
        if width:
            cells.append(Text(_bar(math.log1p(entry["train"]) / largest, width), style))
        table.add_row(*cells)
    return table


def _class_columns(classes: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Title -> one text per class."""
    columns = {
        "class": [entry["name"] for entry in classes],
        "shot": [entry["shot"] for entry in classes],
    }
    counts = {"train": "train", "observed": "observed", "test": "test"}
    rates = {"known": "observed_rate", "kept": "positives_kept", "false": "candidate_noise"}
    has_report = classes[0]["target"] is not None
    tail = {"before": "available", "target": "target"} if has_report else {}
    columns |= {title: [str(entry[key]) for entry in classes] for title, key in counts.items()}
    columns |= {title: [_text(entry[key]) for entry in classes] for title, key in rates.items()}
    columns |= {title: [str(entry[key]) for entry in classes] for title, key in tail.items()}
    return columns


def _bar_width(columns: Mapping[str, list[str]], console_width: int) -> int:
    """The characters left for the bars; 0 if they are too few."""
    from rich.cells import cell_len

    used = sum(max(map(cell_len, [title, *texts])) + 2 for title, texts in columns.items())
    width = min(_CLASS_BAR, console_width - used - 5)
    return width if width >= _SHORTEST_BAR else 0
