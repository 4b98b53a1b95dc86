"""`benchkit diff`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchkit.base.errors import BenchkitError
from benchkit.base.memory import shortage
from benchkit.base.terminal import page
from benchkit.base.text import one_line, printable_tree
from benchkit.cli.groups import Command
from benchkit.cli.types import FILE

if TYPE_CHECKING:
    from rich.console import Console

_ALARM = "bold red"
_LISTED_NAMES = 8
_NESTING = {
    "equal": "A and B observe the same {noun}",
    "a_in_b": "the {noun} observed in A are a subset of those in B",
    "b_in_a": "the {noun} observed in B are a subset of those in A",
    "neither": "neither is a subset of the other",
}
_FEATURES = {
    "equal": "equal",
    "neither": "neither split has any",
    "only_a": "only A has any",
    "only_b": "only B has any",
    "different_shapes": "different numbers of views or dimensions",
    "no_shared_image": "different, and no image is shared",
    "equal_where_shared": "equal on the {images} shared images",
    "differ": "different on the {images} shared images, by {max_difference:.3g} at most",
}


@click.command(cls=Command)
@click.argument("a", metavar="A.h5", type=FILE)
@click.argument("b", metavar="B.h5", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print all values as JSON.")
def diff(a: Path, b: Path, as_json: bool) -> None:
    """Compare two split files.

    Shows the differences of recipes, classes, images, labels and features. Images are matched by id
    and classes by name. Two files contain the same split if their fingerprints are equal. A file
    whose labels differ from their fingerprint is refused; `benchkit verify` also checks features.

    \b
    Exit codes, as for diff:
      0  the same split
      1  different splits
      2  a wrong call, or a file that cannot be read

    \b
    Examples:
      benchkit diff a.h5 b.h5
      benchkit diff a.h5 b.h5 --json
    """  # noqa: D301 (click looks for the backspace itself)
    try:
        comparison = {"files": {"a": str(a), "b": str(b)}, **_compare(a, b)}
    except (BenchkitError, OSError, MemoryError) as error:
        # Exit code 1 means that two readable splits differ.
        message = shortage(error) or str(error)
        if isinstance(error, OSError) and error.filename is not None:
            message = f"{error.filename}: {error.strerror}"
        click.echo(one_line(f"error: {message}"), err=True)
        raise click.exceptions.Exit(2) from None
    if as_json:
        click.echo(json.dumps(comparison, indent=1))
    else:
        print_comparison(page(), comparison)
    if not comparison["identical"]:
        raise click.exceptions.Exit(1)


def _compare(a: Path, b: Path) -> dict[str, Any]:
    from benchkit.split import diff as split_diff
    from benchkit.split import file as split_file

    fingerprints = [split_file.stored_fingerprints(path) for path in (a, b)]
    # Features are most of a file, and need not be read if their fingerprints are equal.
    needed = fingerprints[0]["features"] != fingerprints[1]["features"]
    sides = [
        split_diff.Side(split_file.read(path, features=needed), stored)
        for path, stored in zip((a, b), fingerprints, strict=True)
    ]
    return split_diff.compare(*sides)


def print_comparison(console: Console, comparison: Mapping[str, Any]) -> None:
    """Print a comparison as text.

    Args:
        console: where to print.
        comparison: from `benchkit.split.diff.compare`.
    """
    from rich.table import Table

    comparison = printable_tree(comparison)  # names from the files may hold terminal escapes
    _print_leaks(console, comparison["leaks"])
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in _overview(comparison).items():
        grid.add_row(name, value)
    console.print(grid)
    for title in ("recipe", "provenance"):
        _print_differences(console, title, comparison[title])
    _print_images(console, comparison)
    _print_shots(console, comparison["shots"])


def _print_leaks(console: Console, leaks: list[dict[str, Any]]) -> None:
    from rich.text import Text

    for leak in leaks:
        a, b, images = leak["a"], leak["b"], leak["images"]
        trained, tested = ("A", "B") if b == "test" else ("B", "A")
        examples = _listed(leak["examples"], images)
        text = (
            f"LEAK: {images} images are in A's {a} part and in B's {b} part ({examples}); a model "
            f"trained or selected on {trained} must not be tested on {tested}"
        )
        console.print(Text(text, _ALARM))


def _listed(texts: Sequence[str], total: int) -> str:
    """Texts in one line, with an ellipsis if there are more of them."""
    return ", ".join(texts) + (", …" if total > len(texts) else "")


def _overview(comparison: Mapping[str, Any]) -> dict[str, str]:
    equal = comparison["equal"]
    verdict = "the same split" if comparison["identical"] else "different splits"
    if not comparison["identical"]:
        parts = [
            f"{kind} {'equal' if equal[kind] else 'differ'}" for kind in ("labels", "features")
        ]
        verdict += f": {', '.join(parts)}"
    return {
        "A": f"{comparison['a']['name']}  {comparison['a']['fingerprint']['both']}",
        "B": f"{comparison['b']['name']}  {comparison['b']['fingerprint']['both']}",
        "verdict": verdict,
        **_source_line(comparison),
        "classes": _class_line(comparison["classes"]),
        "true labels": _true_line(comparison["true_labels"]),
        "observed labels": _observed_line(comparison["observed"]),
        **_nesting_lines(comparison["observed"]),
        "features": _FEATURES[comparison["features"]["status"]].format_map(comparison["features"]),
    }


def _source_line(comparison: Mapping[str, Any]) -> dict[str, str]:
    if comparison["same_source"]:
        return {}
    return {"note": "the sources differ; images with equal ids are treated as the same images"}


def _class_line(classes: dict[str, Any]) -> str:
    text = f"{classes['shared']} shared"
    for side in ("a", "b"):
        names = classes[f"only_{side}"]
        if names:
            listed = _listed(names[:_LISTED_NAMES], len(names))
            text += f"; {len(names)} only in {side.upper()}: {listed}"
    return text if classes["same_order"] else f"{text}; in a different order"


def _true_line(true: dict[str, Any]) -> str:
    if not true["entries"]:
        return "no entries are shared"
    if not true["different"]:
        return f"equal in all {true['entries']} shared entries"
    examples = [f"{e['image']}/{e['class']} {e['a']} → {e['b']}" for e in true["examples"]]
    return (
        f"{true['different']} of {true['entries']} shared entries differ, in {true['images']} "
        f"images and {true['classes']} classes ({_listed(examples, true['different'])})"
    )


def _observed_line(observed: dict[str, Any]) -> str:
    if not observed["entries"]:
        return "no entries are shared"
    text = (
        f"of {observed['entries']} shared entries, {observed['same']} are equal, "
        f"{observed['only_a']} are observed only in A, {observed['only_b']} only in B, "
        f"{observed['different']} differ, {observed['unknown_in_both']} are unknown in both"
    )
    if observed["agreement"] is not None:
        text += f"; agreement where both are observed {observed['agreement']:.2%}"
    return text


def _nesting_lines(observed: dict[str, Any]) -> dict[str, str]:
    if observed["nesting"] is None:
        return {}
    return {
        "nesting": _NESTING[observed["nesting"]].format(noun="labels"),
        "of positives": _NESTING[observed["positives_nesting"]].format(noun="positives"),
    }


def _print_differences(console: Console, title: str, rows: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.table import Table

    if not rows:
        return
    table = Table(box=box.SIMPLE_HEAD)
    for head in (title, "A", "B"):
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(row["key"], _value_text(row["a"]), _value_text(row["b"]))
    console.print(table)


def _value_text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _print_images(console: Console, comparison: Mapping[str, Any]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("images")
    for title in ("A", "B", "shared", "only A", "only B"):
        table.add_column(title, justify="right")
    for name, counts in comparison["images"].items():
        table.add_row(name, *map(str, counts.values()))
    for move in comparison["moved"]:
        style = _ALARM if move in comparison["leaks"] else ""
        title = f"{move['a']} in A, {move['b']} in B"
        table.add_row(Text(title, style), "", "", Text(str(move["images"]), style))
    console.print(table)


def _print_shots(console: Console, shots: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.table import Table

    if not shots:
        return
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("shot group changed")
    for title in ("A", "train", "B", "train"):
        table.add_column(title, justify="right")
    for row in shots:
        table.add_row(row["class"], row["a"], str(row["train_a"]), row["b"], str(row["train_b"]))
    console.print(table)
