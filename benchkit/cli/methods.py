"""`benchkit methods`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from baselines.core import descriptions, ledger
from baselines.core.info import REGIMES, MethodInfo
from baselines.core.ledger import LedgerRow
from benchkit.base.terminal import page, wrong_call
from benchkit.cli.groups import Command
from benchkit.cli.streams import protected
from benchkit.cli.types import FILE

if TYPE_CHECKING:
    from rich.table import Table

    from baselines.core import Method

NOT_VERIFIED = "not verified"


@click.command(cls=Command)
@click.argument("key", required=False)
@click.option(
    "--plugin",
    "plugins",
    type=FILE,
    multiple=True,
    help="A Python file that defines more methods. May be repeated.  [default: none]",
)
@click.option(
    "--ledger",
    "show_ledger",
    is_flag=True,
    help="Show how each method was verified, and where it deviates from its paper or code.",
)
def methods(key: str | None, plugins: tuple[Path, ...], show_ledger: bool) -> None:
    """List the methods, or describe one: paper, equation, hyperparameters, oracles.

    With --ledger, show how the methods were verified instead.

    \b
    Examples:
      benchkit methods
      benchkit methods asl
      benchkit methods --plugin my_method.py my-key
    """  # noqa: D301 (click looks for the backspace itself)
    if key is not None and "," in key:
        raise click.UsageError(f"'{key}' names several methods; describe one at a time")
    rows = ledger.read()
    with protected():
        extra = _plugin_methods(plugins)
    if key is None:
        infos = [*descriptions.read().values(), *(method.info for method in extra.values())]
        page().print(_ledger_table(infos, rows) if show_ledger else _list(infos))
        return
    from baselines.core import registry  # imports torch

    with wrong_call(ValueError):
        method = registry.get(key, extra)
    if show_ledger:
        page().print(_ledger_table([method.info], rows))
    else:
        with protected():  # `defaults_for` may be a plugin's
            text = describe(method, rows.get(key))
        click.echo(text)


def _plugin_methods(plugins: Iterable[Path]) -> dict[str, type[Method]]:
    methods: dict[str, type[Method]] = {}
    for path in plugins:
        from baselines.core import registry  # imports torch
        from benchkit.training.guard import own_settings

        with own_settings(path.name, refuse=False):
            methods |= registry.load_plugin(path)
    return methods


def _list(infos: Iterable[MethodInfo]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for title in ("key", "title", "year", "unknown labels", "regimes", "oracle"):
        table.add_column(title)
    for info in infos:
        table.add_row(
            info.key,
            info.title,
            str(info.year),
            info.unknown,
            ", ".join(info.regimes) or "all",
            ", ".join(info.oracle) or "–",
        )
    return table


def describe(method: type[Method], row: LedgerRow | None) -> str:
    """A method as text.

    Args:
        method: the class.
        row: its row of the ledger, or None if it was not verified.
    """
    from baselines.core import hyperparameters

    info = method.info
    lines = [
        f"{info.key}: {info.title} ({info.year})",
        _paragraph("paper", info.paper),
        "equation",
        textwrap.indent(textwrap.dedent(info.equation).strip(), "    "),
        _paragraph("unknown", f"labels are {info.unknown}"),
        _paragraph("regimes", ", ".join(info.regimes) or "all"),
        _paragraph("needs", ", ".join(info.needs) or "only the batch"),
        _paragraph("oracle", ", ".join(info.oracle) or "none (with the default hyperparameters)"),
        _paragraph("verified", f"{row.source}: {row.reference}" if row else NOT_VERIFIED),
    ]
    if row:
        lines.append(_paragraph("tolerance", row.tolerance))
        lines.append(_paragraph("deviations", row.deviations))
    if info.finding:
        lines.append(_paragraph("measured", info.finding))
    entries = hyperparameters.describe(method.Hyper)
    lines.append("hyperparameters" + ("" if entries else ": none"))
    for entry in entries:
        lines += _hyperparameter(info.key, entry)
        lines += _other_defaults(method, entry["name"])
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


def _other_defaults(method: type[Method], name: str) -> list[str]:
    """The default values of a hyperparameter that depend on the label regime."""
    regimes_of: dict[Any, list[str]] = {}
    for regime in REGIMES:
        defaults = method.defaults_for(regime)
        if name in defaults:
            regimes_of.setdefault(defaults[name], []).append(regime)
    return [
        f"        default in {', '.join(regimes)}: {value}" for value, regimes in regimes_of.items()
    ]


def _ledger_table(infos: Iterable[MethodInfo], rows: dict[str, LedgerRow]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_lines=True)
    table.add_column("method", no_wrap=True)
    for title, share in (("verified against", 6), ("tolerance", 3), ("known deviations", 8)):
        table.add_column(title, ratio=share, overflow="fold")
    for info in infos:
        row = rows.get(info.key)
        if row is None:
            table.add_row(info.key, NOT_VERIFIED, "–", "–")
        else:
            reference = f"{row.source}: {row.reference}"
            table.add_row(info.key, reference, row.tolerance, row.deviations)
    return table
