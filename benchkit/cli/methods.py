"""`benchkit methods`."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.table import Table

from baselines.core import Method, MethodInfo, hyperparameters, registry
from benchkit.base.terminal import page, wrong_call

LEDGER = """\
# Verification ledger

What each method is held to. Written by `benchkit methods --ledger --format markdown`; a test
compares this page with what the command prints.

- **authors' code**: the expected numbers were computed by the published code at the given commit;
- **equations**: by hand, or by an implementation of the equations that shares nothing with ours;
- **reconstruction**: the same for a form that no one has published, or that is only described.

The tolerance is relative, on value and gradient, in float64 unless it says otherwise. A row without
a test reads "not verified".

| method | held to | tolerance | known deviations | tests |
|---|---|---|---|---|
"""


@click.command()
@click.argument("key", required=False)
@click.option(
    "--plugin",
    "plugins",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A Python file with more methods.",
)
@click.option(
    "--ledger", is_flag=True, help="What each method was verified against, and how it deviates."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["terminal", "markdown"]),
    help="How the ledger is written.  [default: terminal]",
)
def methods(key: str | None, plugins: tuple[Path, ...], ledger: bool, form: str | None) -> None:
    """List the methods, or describe one: paper, equation, hyperparameters, what it may see."""
    if form and not ledger:
        raise click.UsageError("--format is for the ledger; add --ledger")
    extra: dict[str, type[Method]] = {}
    for path in plugins:
        extra |= registry.load_plugin(path)
    if key is None:
        chosen = list((registry.builtin() | extra).values())
    else:
        with wrong_call(ValueError):
            chosen = [registry.get(key, extra)]
    if ledger:
        infos = [method.info for method in chosen]
        if form == "markdown":
            click.echo(ledger_markdown(infos), nl=False)
        else:
            page().print(_ledger_table(infos))
    elif key is not None:
        click.echo(describe(chosen[0]))
    else:
        page().print(_list(chosen))


def _list(chosen: Iterable[type[Method]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for title in ("key", "title", "year", "unknown labels", "regimes", "oracle"):
        table.add_column(title)
    for method in chosen:
        info = method.info
        table.add_row(
            info.key,
            info.title,
            str(info.year),
            info.unknown,
            ", ".join(info.regimes) or "all",
            ", ".join(method().oracle()) or "–",
        )
    return table


def describe(method: type[Method]) -> str:
    """One method as text."""
    info = method.info
    oracle = ", ".join(method().oracle()) or "nothing hidden (with its defaults)"
    lines = [
        f"{info.key}: {info.title} ({info.year})",
        f"paper       {info.paper}",
        "equation",
        textwrap.indent(textwrap.dedent(info.equation).strip(), "    "),
        f"unknown     labels are {info.unknown}",
        f"regimes     {', '.join(info.regimes) or 'all'}",
        f"needs       {', '.join(info.needs) or 'a batch'}",
        f"may see     {oracle}",
        _paragraph("held to", _held_to(info)),
    ]
    if info.evidence:
        lines.append(_paragraph("tolerance", info.tolerance))
    if info.differs:
        lines.append(_paragraph("differs", info.differs))
    entries = hyperparameters.describe(method.Hyper)
    lines.append("hyperparameters" + ("" if entries else ": none"))
    for entry in entries:
        lines += _hyperparameter(info.key, entry)
    return "\n".join(lines)


def _paragraph(name: str, text: str) -> str:
    return textwrap.fill(
        text, 100, initial_indent=f"{name:12}", subsequent_indent=" " * 12, break_on_hyphens=False
    )


def _hyperparameter(key: str, entry: dict[str, Any]) -> list[str]:
    lines = [f"    --set {key}.{entry['name']}={entry['default']}"]
    lines.append(textwrap.indent(textwrap.fill(entry["help"], 90), " " * 8))
    if entry.get("choices"):
        lines.append(f"        choices: {', '.join(map(str, entry['choices']))}")
    if entry.get("search"):
        lines.append(f"        search: {', '.join(map(str, entry['search']))}")
    if entry.get("paper"):
        values = ", ".join(f"{name} {value}" for name, value in entry["paper"].items())
        lines.append(f"        papers: {values}")
    return lines


# ----------------------------------------------------------------------------- the ledger


def _held_to(info: MethodInfo) -> str:
    """Where the expected numbers come from; nothing counts as verified without a test."""
    return f"{info.source}: {info.reference}" if info.evidence else "not verified"


def _ledger_table(infos: Iterable[MethodInfo]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_lines=True)
    table.add_column("method", no_wrap=True)
    for title, share in (("held to", 6), ("tolerance", 3), ("known deviations", 8)):
        table.add_column(title, ratio=share, overflow="fold")
    for info in infos:
        tolerance = info.tolerance if info.evidence else ""
        table.add_row(info.key, _held_to(info), tolerance or "–", info.differs or "–")
    return table


def ledger_markdown(infos: Iterable[MethodInfo]) -> str:
    """The page `docs/ledger.md`: one row per method."""
    rows = []
    for info in infos:
        tolerance = info.tolerance if info.evidence else ""
        tests = "<br>".join(f"`{node}`" for node in info.evidence)
        words = (_held_to(info), tolerance or "–", info.differs or "–")
        rows.append(" | ".join((f"| `{info.key}`", *map(_cell, words), (tests or "–") + " |\n")))
    return LEDGER + "".join(rows)


def _cell(text: str) -> str:
    """Text in which no character means anything to a Markdown table."""
    return re.sub(r"([\\|*<>`])", r"\\\1", " ".join(text.split()))
