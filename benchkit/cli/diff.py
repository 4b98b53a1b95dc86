"""`benchkit diff`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchkit.base.errors import BenchkitError
from benchkit.base.terminal import page
from benchkit.split import diff as split_diff
from benchkit.split import file as split_file

_ALARM = "bold red"
_NAMED = 8
_NESTING = {
    "equal": "A and B {verb} the same",
    "a_in_b": "what A {verb}s is inside what B {verb}s",
    "b_in_a": "what B {verb}s is inside what A {verb}s",
    "neither": "neither is inside the other",
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


@click.command()
@click.argument("a", metavar="A.h5", type=click.Path(path_type=Path))
@click.argument("b", metavar="B.h5", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def diff(a: Path, b: Path, as_json: bool) -> None:
    """Show what two split files share: recipes, classes, images, labels, features.

    Images are matched by id and classes by name. Files are the same split where their fingerprints
    are equal; `benchkit verify` tells whether a file's fingerprint is its own.

    \b
    Exit codes, as those of diff:
      0  the same split
      1  different splits
      2  a wrong call, or a file that cannot be read
    """  # noqa: D301 - click looks for the character, not for its escape
    try:
        found = {"files": {"a": str(a), "b": str(b)}, **_compare(a, b)}
    except (BenchkitError, OSError) as error:
        # 1 is taken: it says that two readable splits differ.
        click.echo(f"error: {error}", err=True)
        raise click.exceptions.Exit(2) from None
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        _print(page(), found)
    if not found["identical"]:
        raise click.exceptions.Exit(1)


def _compare(a: Path, b: Path) -> dict[str, Any]:
    fingerprints = [split_file.stored_fingerprints(path) for path in (a, b)]
    # Features are the bulk of a file, and equal fingerprints say all there is to say.
    needed = fingerprints[0]["features"] != fingerprints[1]["features"]
    sides = [
        split_diff.Side(split_file.read(path, features=needed), stored)
        for path, stored in zip((a, b), fingerprints, strict=True)
    ]
    return split_diff.compare(*sides)


def _print(console: Console, found: dict[str, Any]) -> None:
    _print_leaks(console, found["leaks"])
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in _lines(found).items():
        grid.add_row(name, value)
    console.print(grid)
    for title in ("recipe", "provenance"):
        _print_differences(console, title, found[title])
    _print_images(console, found)
    _print_shots(console, found["shots"])


def _print_leaks(console: Console, leaks: list[dict[str, Any]]) -> None:
    for leak in leaks:
        a, b, images = leak["a"], leak["b"], leak["images"]
        learnt, tested = ("A", "B") if b == "test" else ("B", "A")
        some = ", ".join(leak["examples"]) + (", …" if images > len(leak["examples"]) else "")
        text = (
            f"LEAK: {images} images are in A's {a} part and in B's {b} part ({some}); what was "
            f"trained or selected on {learnt} must not be tested on {tested}"
        )
        console.print(Text(text, _ALARM))


def _lines(found: dict[str, Any]) -> dict[str, str]:
    equal = found["equal"]
    verdict = "the same split" if found["identical"] else "different splits"
    if not found["identical"]:
        parts = [
            f"{kind} {'equal' if equal[kind] else 'differ'}" for kind in ("labels", "features")
        ]
        verdict += f": {', '.join(parts)}"
    return {
        "A": f"{found['a']['name']}  {found['a']['fingerprint']['both']}",
        "B": f"{found['b']['name']}  {found['b']['fingerprint']['both']}",
        "verdict": verdict,
        **_source_line(found),
        "classes": _class_line(found["classes"]),
        "true labels": _true_line(found["true_labels"]),
        "observed labels": _observed_line(found["observed"]),
        **_nesting_lines(found["observed"]),
        "features": _FEATURES[found["features"]["status"]].format_map(found["features"]),
    }


def _source_line(found: dict[str, Any]) -> dict[str, str]:
    if found["same_source"]:
        return {}
    return {"note": "the sources differ; images with equal ids are taken for the same images"}


def _class_line(classes: dict[str, Any]) -> str:
    text = f"{classes['shared']} shared"
    for side in ("a", "b"):
        names = classes[f"only_{side}"]
        if names:
            some = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
            text += f"; {len(names)} only in {side.upper()}: {some}"
    return text if classes["same_order"] else f"{text}; in another order"


def _true_line(true: dict[str, Any]) -> str:
    if not true["entries"]:
        return "nothing is shared"
    if not true["different"]:
        return f"equal in all {true['entries']} shared entries"
    some = ", ".join(f"{e['image']}/{e['class']} {e['a']} → {e['b']}" for e in true["examples"])
    return (
        f"{true['different']} of {true['entries']} shared entries differ, in {true['images']} "
        f"images and {true['classes']} classes ({some}{', …' if true['different'] > 5 else ''})"
    )


def _observed_line(observed: dict[str, Any]) -> str:
    if not observed["entries"]:
        return "nothing is shared"
    text = (
        f"of {observed['entries']} shared entries {observed['same']} are the same, "
        f"{observed['only_a']} are seen only in A, {observed['only_b']} only in B, "
        f"{observed['different']} differ, {observed['unknown_in_both']} are unknown in both"
    )
    if observed["agreement"] is not None:
        text += f"; agreement where both see {observed['agreement']:.2%}"
    return text


def _nesting_lines(observed: dict[str, Any]) -> dict[str, str]:
    if observed["nesting"] is None:
        return {}
    return {
        "nesting": _NESTING[observed["nesting"]].format(verb="observe"),
        "of positives": _NESTING[observed["positives_nesting"]].format(verb="show"),
    }


def _print_differences(console: Console, title: str, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    table = Table(box=box.SIMPLE_HEAD)
    for head in (title, "A", "B"):
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(row["key"], _word(row["a"]), _word(row["b"]))
    console.print(table)


def _word(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _print_images(console: Console, found: dict[str, Any]) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("images")
    for title in ("A", "B", "shared", "only A", "only B"):
        table.add_column(title, justify="right")
    for name, counts in found["images"].items():
        table.add_row(name, *map(str, counts.values()))
    for move in found["moved"]:
        style = _ALARM if move in found["leaks"] else ""
        words = f"{move['a']} in A, {move['b']} in B"
        table.add_row(Text(words, style), "", "", Text(str(move["images"]), style))
    console.print(table)


def _print_shots(console: Console, shots: list[dict[str, Any]]) -> None:
    if not shots:
        return
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("shot group changed")
    for title in ("A", "train", "B", "train"):
        table.add_column(title, justify="right")
    for row in shots:
        table.add_row(row["class"], row["a"], str(row["train_a"]), row["b"], str(row["train_b"]))
    console.print(table)
