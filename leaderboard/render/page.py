"""The HTML page: tables, plots and the details of every row in one file that works offline."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from leaderboard.columns import COLUMNS, F1_COLUMNS, MAP_COLUMNS
from leaderboard.labels import shown
from leaderboard.marks import percent
from leaderboard.render.text import DASH, caption, cell_text, printable, row_name, visible
from leaderboard.row import Cell, Row
from leaderboard.table import Table

_TEMPLATES = Path(__file__).parent.parent / "templates"


@dataclass(frozen=True)
class _Figure:
    title: str
    text: str
    svg: Markup


def html(tables: Sequence[Table], *, title: str = "Leaderboard") -> str:
    """Write the tables as one self-contained page.

    Args:
        tables: the tables, in order; each becomes a section.
        title: the heading of the page.

    Returns:
        The page. It loads no other files and runs no scripts. The same tables always give the same
        text.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        finalize=_finalized,
    )
    environment.filters.update(
        cell_text=cell_text, row_name=row_name, caption=caption, seconds=_seconds
    )
    runs = sum(len(row.records) for table in tables for row in table.rows)
    return environment.get_template("page.html").render(
        title=title,
        summary=_summary(tables, runs),
        sections=[_section(table, f"t{at}") for at, table in enumerate(tables, start=1)],
        dash=DASH,
    )


def _finalized(value: object) -> object:
    """A value of the template without invisible characters; escaping its tags comes later."""
    is_plain = isinstance(value, str) and not isinstance(value, Markup)
    return printable(str(value)) if is_plain else value


def best_row(table: Table) -> Row | None:
    """The first ranked row with a total; `None` if there is none."""
    rows = (row for row in table.rows if row.is_ranked and row.cells["total"].mean is not None)
    return next(rows, None)


def _summary(tables: Sequence[Table], runs: int) -> str:
    methods = len({row.method.key for table in tables for row in table.rows})
    parts = ((methods, "method"), (runs, "run"), (len(tables), "table"))
    return ", ".join(f"{count:,} {noun if count == 1 else noun + 's'}" for count, noun in parts)


def _section(table: Table, name: str) -> Mapping[str, object]:
    return {
        "id": name,
        "table": table,
        "map_columns": MAP_COLUMNS,
        "f1_columns": F1_COLUMNS,
        "columns": COLUMNS,
        "has_spread": any(len(row.seeds) > 1 for row in table.rows),
        "figures": _figures(table, name),
        "details": [_details(row) for row in table.rows],
    }


def _figures(table: Table, name: str) -> list[_Figure]:
    # Importing matplotlib takes most of a second, and only this format needs it.
    from leaderboard.render.plots import ap_plot, count_plot, shot_plot

    figures = [
        _Figure(
            "Shot groups",
            "Mean over seeds; error bars are one sample standard deviation.",
            Markup(shot_plot(table, f"{name}-shots")),
        ),
        _Figure(
            "Class counts",
            "Training positives per class on a logarithmic axis: true (bars) and observed (dots).",
            Markup(count_plot(table, f"{name}-counts")),
        ),
    ]
    row = best_row(table)
    if row is not None:
        figures.append(
            _Figure(
                f"AP per class: {visible(row.label)}",
                "The best ranked row, mean over seeds, one dot per class.",
                Markup(ap_plot(table, row, f"{name}-ap")),
            )
        )
    return figures


def _details(row: Row) -> Mapping[str, object]:
    arguments = row.arguments
    return {
        "row": row,
        "facts": _facts(row),
        "hyperparameters": _shown_values(arguments.hyperparameters),
        "recipe": _shown_values(arguments.recipe),
        "runs": [(record, _total(record.metrics.map)) for record in row.records],
        "commands": "\n".join(shlex.join(record.command) for record in row.records),
    }


def _shown_values(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, shown(value)) for name, value in sorted(values.items())]


def _facts(row: Row) -> list[tuple[str, str]]:
    method = row.method
    versions = {
        ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
        for versions in (record.environment.versions for record in row.records)
    }
    paper = ", ".join(str(part) for part in (method.paper, method.year) if part)
    declared = [
        ("scale of the scores", method.scale),
        ("note", method.note),
        ("head", "the method's own; the recipe's is not used" if method.own_head else ""),
    ]
    return [
        ("paper", paper or DASH),
        ("kind", method.kind),
        ("method version", row.arguments.method_version),
        ("oracle", ", ".join(mark.replace("_", " ") for mark in method.oracle) or "none"),
        *_search_facts(row),
        *((name, text) for name, text in declared if text),
        ("versions", "; ".join(sorted(versions - {""})) or DASH),
    ]


def _search_facts(row: Row) -> list[tuple[str, str]]:
    """How the setting of a tuned row was chosen."""
    search = row.arguments.search
    if not search:
        return []
    return [
        ("budget", row.budget),
        (
            "search",
            f"{search['protocol']}: draw {search['draw']}, chosen by {search['select']} (mean over "
            f"seeds, {search['seeds']} per draw)",
        ),
    ]


def _total(value: float | None) -> str:
    return cell_text(Cell(None, None)) if value is None else percent(value)


def _seconds(value: float) -> str:
    if value < 120:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    if minutes < 120:
        return f"{minutes} min {seconds} s"
    return f"{minutes // 60} h {minutes % 60} min"
