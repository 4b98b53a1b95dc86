"""`benchkit show` and `benchkit verify`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from benchkit.base.errors import BenchkitError
from benchkit.base.terminal import log, page, wrong_call
from benchkit.split import file as split_file
from benchkit.split import summary as split_summary

_SHOT_STYLES = {"many": "blue", "medium": "yellow", "few": "magenta"}
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_HISTOGRAM_ROWS = 16
_HISTOGRAM_BAR = 30
_CLASS_BAR = 24
_SHORTEST_BAR = 6


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option(
    "--draw",
    type=click.Path(path_type=Path),
    metavar="FILE.png|FILE.svg",
    help="Also draw class counts, observed labels, cardinality and co-occurrence.",
)
def show(file: Path, as_json: bool, draw: Path | None) -> None:
    """Show what a split file holds: recipe, sizes, shot groups, counts, observed rates.

    Bars stand for training positives on a logarithmic scale, in the colours of the shot groups.
    """
    if draw is not None:
        # matplotlib takes its time, and only a drawing needs it.
        from benchkit.split import drawing as split_drawing

        with wrong_call(BenchkitError):
            split_drawing.check_suffix(draw)
    split = split_file.read(file)
    found = split_summary.summary(split, split_file.stored_fingerprints(file))
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        console = page()
        _print_head(console, found)
        _print_cardinality(console, found["cardinality"])
        _print_classes(console, found["classes"])
    if draw is not None:
        split_drawing.draw(split, found, draw, log)
        log(f"wrote {draw}")


def _print_head(console: Console, found: dict[str, Any]) -> None:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    groups, rates = found["shot_groups"], found["rates"]
    thresholds, features = found["thresholds"], found["features"]
    seed = found["provenance"].get("seed")
    reading = found["provenance"].get("source_options")
    rows = {
        "split": found["name"],
        "fingerprint": found["fingerprint"]["both"],
        "images": ", ".join(f"{count} {name}" for name, count in found["sizes"].items()),
        "shot groups": ", ".join(f"{count} {name}" for name, count in groups.items())
        + f" (many >= {thresholds['many']}, few < {thresholds['few']}, "
        + f"{thresholds['reference']} counts)",
        "labels per image": _text(found["label_cardinality"], "{:.3f}")
        + ", observed "
        + _text(found["observed_cardinality"], "{:.3f}"),
        "max / min count": _text(found["imbalance_ratio"], "{:.1f}"),
        "regime": found["recipe"]["labels"]["regime"],
        "observed labels": _text(rates["observed"]),
        "positives kept": _text(rates["positives_kept"]),
        "false candidates": _text(rates["candidate_noise"]),
        "estimated back": _estimated(found["noise"]) or "–",
        **_long_tail(found["long_tail_report"]),
        "features": "none"
        if features is None
        else f"{features['views']} x {features['dim']} {features['type']}",
        "recipe": json.dumps(found["recipe"], sort_keys=True),
        **({} if reading is None else {"source": _reading(reading)}),
        "seed": str(seed),
        "no test positive": f"{found['classes_without_test_positives']} classes",
    }
    for name, value in rows.items():
        grid.add_row(name, value)
    console.print(grid)


def _reading(options: dict[str, Any]) -> str:
    """The kind of a source and the options that it was read with."""
    words = [
        f"{key}={_plain(value)}" for key, value in options.items() if key != "kind" and value != ""
    ]
    return f"{options.get('kind')}: {', '.join(words)}" if words else str(options.get("kind"))


def _plain(value: Any) -> str:
    """A value as it is written on the command line."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _estimated(noise: dict[str, float | None]) -> str:
    """What was inferred of the true labels from the observed ones alone."""
    rates = ("noise_rate", "false_candidates", "positives_per_image")
    return ", ".join(
        f"{name.replace('_', ' ')} {_text(noise[name], '{:.3f}')}"
        for name in rates
        if name in noise
    )


def _long_tail(report: dict[str, Any] | None) -> dict[str, str]:
    if report is None:
        return {}
    missed, drift = len(report["not_met"]), report["cooccurrence_drift"]
    text = f"{missed} of {len(report['classes'])} targets not met, co-occurrence drift {drift:.3f}"
    return {"long tail": text}


def _text(value: float | None, form: str = "{:.1%}") -> str:
    return "–" if value is None else form.format(value)


def _bar(share: float, width: int) -> str:
    """A bar in eighths of a character; a share above 0 is never without a trace."""
    eighths = max(round(share * width * 8), 1 if share > 0 else 0)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _print_cardinality(console: Console, histograms: dict[str, list[int]]) -> None:
    """Images by their number of positive labels."""
    width = min(_HISTOGRAM_BAR, console.width // 2 - 20)  # beside the numbers
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("labels", justify="right")
    for what in histograms:
        table.add_column(what, justify="right")
        table.add_column("", no_wrap=True, width=width)
    bins = split_summary.binned(list(histograms.values()), _HISTOGRAM_ROWS)
    largest = max(max(counts) for _, counts in bins)
    for values, counts in bins:
        cells = [
            cell for count in counts for cell in (str(count), _bar(count / max(largest, 1), width))
        ]
        table.add_row(values, *cells)
    console.print(table)


def _print_classes(console: Console, classes: list[dict[str, Any]]) -> None:
    """One row per class, with a bar as long as the names and numbers leave room for."""
    reported = classes[0]["target"] is not None
    tail = {"available": "before", "target": "target"} if reported else {}
    titles = ["class", "shot", "train", "observed", "test", "known", "kept", "false"]
    titles += tail.values()
    ranked = sorted(classes, key=lambda entry: -entry["train"])
    rows = [
        [
            entry["name"],
            entry["shot"],
            *(str(entry[what]) for what in ("train", "observed", "test")),
            *(_text(entry[k]) for k in ("observed_rate", "positives_kept", "candidate_noise")),
            *(str(entry[what]) for what in tail),
        ]
        for entry in ranked
    ]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for title in titles:
        justify: JustifyMethod = "left" if title == "class" else "right"
        table.add_column(title, justify=justify, overflow="fold")
    taken = sum(max(map(cell_len, column)) + 2 for column in zip(titles, *rows, strict=True))
    width = min(_CLASS_BAR, console.width - taken - 5)
    if width >= _SHORTEST_BAR:
        title = "train, log scale" if width >= 16 else "log" if width < 9 else "log scale"
        table.add_column(title, no_wrap=True, width=width)
    top = math.log1p(ranked[0]["train"]) or 1.0
    for entry, row in zip(ranked, rows, strict=True):
        style = _SHOT_STYLES[entry["shot"]]
        cells: list[str | Text] = [row[0], Text(row[1], style), *row[2:]]
        if width >= _SHORTEST_BAR:
            cells.append(Text(_bar(math.log1p(entry["train"]) / top, width), style))
        table.add_row(*cells)
    console.print(table)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
def verify(file: Path) -> None:
    """Recompute a split file's fingerprint and check every invariant; exit 1 if one fails."""
    problems = split_file.verify(file)
    for problem in problems:
        click.echo(f"{file}: {problem}", err=True)
    if problems:
        raise click.exceptions.Exit(1)
    click.echo(f"{file}: complete, {split_file.stored_fingerprints(file)['both']}")
