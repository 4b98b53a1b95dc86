"""`benchkit methods`."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.table import Table

from baselines.core import Method, hyperparameters, registry
from benchkit.terminal import page, wrong_call


@click.command()
@click.argument("key", required=False)
@click.option(
    "--plugin",
    "plugins",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A Python file with more methods.",
)
def methods(key: str | None, plugins: tuple[Path, ...]) -> None:
    """List the methods, or describe one: paper, equation, hyperparameters, what it may see."""
    extra: dict[str, type[Method]] = {}
    for path in plugins:
        extra |= registry.load_plugin(path)
    if key is not None:
        with wrong_call(ValueError):
            method = registry.get(key, extra)
        click.echo(describe(method))
        return
    table = Table(box=box.SIMPLE_HEAD)
    for title in ("key", "title", "year", "unknown labels", "regimes", "oracle"):
        table.add_column(title)
    for method in (registry.builtin() | extra).values():
        info = method.info
        table.add_row(
            info.key,
            info.title,
            str(info.year),
            info.unknown,
            ", ".join(info.regimes) or "all",
            ", ".join(method().oracle()) or "–",
        )
    page().print(table)


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
    ]
    if info.differs:
        wrapped = textwrap.fill(info.differs, 96, subsequent_indent=" " * 12)
        lines.append(f"differs     {wrapped}")
    entries = hyperparameters.describe(method.Hyper)
    lines.append("hyperparameters" + ("" if entries else ": none"))
    for entry in entries:
        lines += _hyperparameter(info.key, entry)
    return "\n".join(lines)


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
