"""`benchkit show` and `benchkit verify`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from benchkit import split_file
from benchkit.records import SHOT_NAMES
from benchkit.split_file import Split
from benchkit.terminal import page
from splits import regimes, statistics


def summary(split: Split, prints: dict[str, str]) -> dict[str, Any]:
    """Everything `show` knows, as plain JSON values."""
    train = split.parts["train"]
    assert train.observed is not None
    rates = regimes.observed_rates(train.true, train.observed)
    test_positives = (split.parts["test"].true == 1).sum(0)
    return {
        "name": split.name,
        "fingerprint": prints,
        "recipe": split.recipe,
        "thresholds": split.thresholds,
        "sizes": {name: len(part.ids) for name, part in split.parts.items()},
        "features": _features(split),
        "shot_groups": {
            name: int((split.shot == group).sum()) for group, name in enumerate(SHOT_NAMES)
        },
        "label_cardinality": statistics.cardinality(train.true),
        "imbalance_ratio": _number(statistics.imbalance_ratio(split.train_count)),
        "rates": {
            name: _number(rates[name]) for name in ("observed", "positives_kept", "candidate_noise")
        },
        "classes_without_test_positives": int((test_positives == 0).sum()),
        "classes": [
            {
                "name": name,
                "shot": SHOT_NAMES[split.shot[c]],
                "train": int(split.train_count[c]),
                "observed": int(split.observed_count[c]),
                "test": int(test_positives[c]),
                "observed_rate": _number(rates["observed_by_class"][c]),
                "positives_kept": _number(rates["positives_kept_by_class"][c]),
                "candidate_noise": _number(rates["candidate_noise_by_class"][c]),
            }
            for c, name in enumerate(split.class_names)
        ],
        "provenance": split.provenance,
    }


def _features(split: Split) -> dict[str, Any] | None:
    features = split.parts["train"].features
    if features is None:
        return None
    return {"views": features.shape[1], "dim": features.shape[2], "type": str(features.dtype)}


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def show(file: Path, as_json: bool) -> None:
    """Show what a split file holds: recipe, sizes, shot groups, counts, observed rates."""
    split = split_file.read(file)
    found = summary(split, split_file.stored_fingerprints(file))
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    console = page()
    _print_head(console, found)
    _print_classes(console, found["classes"])


def _print_head(console: Console, found: dict[str, Any]) -> None:
    grid = Table.grid(padding=(0, 2))
    groups, rates = found["shot_groups"], found["rates"]
    thresholds, features = found["thresholds"], found["features"]
    seed = found["provenance"].get("seed")
    rows = {
        "split": found["name"],
        "fingerprint": found["fingerprint"]["both"],
        "images": ", ".join(f"{count} {name}" for name, count in found["sizes"].items()),
        "shot groups": ", ".join(f"{count} {name}" for name, count in groups.items())
        + f" (many >= {thresholds['many']}, few < {thresholds['few']}, "
        + f"{thresholds['reference']} counts)",
        "labels per image": f"{found['label_cardinality']:.3f}",
        "max / min count": _text(found["imbalance_ratio"], "{:.1f}"),
        "regime": found["recipe"]["labels"]["regime"],
        "observed labels": _text(rates["observed"]),
        "positives kept": _text(rates["positives_kept"]),
        "false candidates": _text(rates["candidate_noise"]),
        "features": "none"
        if features is None
        else f"{features['views']} x {features['dim']} {features['type']}",
        "recipe": json.dumps(found["recipe"], sort_keys=True),
        "seed": str(seed),
        "no test positive": f"{found['classes_without_test_positives']} classes",
    }
    for name, value in rows.items():
        grid.add_row(name, value)
    console.print(grid)


def _text(value: float | None, form: str = "{:.1%}") -> str:
    return "–" if value is None else form.format(value)


def _print_classes(console: Console, classes: list[dict[str, Any]]) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("class")
    for title in ("shot", "train", "observed", "test", "known", "kept", "false"):
        table.add_column(title, justify="right")
    for entry in sorted(classes, key=lambda entry: -entry["train"]):
        table.add_row(
            entry["name"],
            entry["shot"],
            str(entry["train"]),
            str(entry["observed"]),
            str(entry["test"]),
            *(_text(entry[k]) for k in ("observed_rate", "positives_kept", "candidate_noise")),
        )
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
