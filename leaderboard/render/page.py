"""One HTML file that works offline: tables, plots and the details of every row."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from leaderboard.columns import COLUMNS, F1_COLUMNS, MAP_COLUMNS
from leaderboard.labels import shown
from leaderboard.marks import percent
from leaderboard.render.text import DASH, caption, cell_text, row_name
from leaderboard.table import Cell, Row, Table

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
        title: heading of the page.

    Returns:
        The page. It loads nothing from anywhere, runs no script, and the same tables always give
        the same text.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
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


def best_row(table: Table) -> Row | None:
    """The first row that competes and has a total; `None` if there is none."""
    rows = (row for row in table.rows if not row.is_oracle and row.cells["total"].mean is not None)
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
        "figures": _figures(table, name),
        "details": [_details(row) for row in table.rows],
    }


def _figures(table: Table, name: str) -> list[_Figure]:
    # matplotlib takes most of a second to import, which a terminal table need not wait for.
    from leaderboard.render.plots import ap_plot, count_plot, shot_plot

    figures = [
        _Figure(
            "Shot groups",
            "Mean over seeds, whiskers one sample standard deviation.",
            Markup(shot_plot(table, f"{name}-shots")),
        ),
        _Figure(
            "Class counts",
            "True training positives per class on a logarithmic axis.",
            Markup(count_plot(table, f"{name}-counts")),
        ),
    ]
    row = best_row(table)
    if row is not None:
        figures.append(
            _Figure(
                f"AP per class: {row.label}",
                "The best row that is no oracle, mean over seeds, one dot per class.",
                Markup(ap_plot(table, row, f"{name}-ap")),
            )
        )
    return figures


def _details(row: Row) -> Mapping[str, object]:
    science = row.records[0].science
    return {
        "row": row,
        "facts": _facts(row),
        "hyperparameters": [(key, shown(v)) for key, v in sorted(science.hyperparameters.items())],
        "recipe": [(key, shown(value)) for key, value in sorted(science.recipe.items())],
        "runs": [(record, _total(record.metrics.values["total"])) for record in row.records],
        "commands": "\n".join(shlex.join(record.command) for record in row.records),
    }


def _facts(row: Row) -> list[tuple[str, str]]:
    method = row.method
    versions = {
        ", ".join(f"{name} {version}" for name, version in sorted(record.versions.items()))
        for record in row.records
    }
    paper = ", ".join(str(part) for part in (method.paper, method.year) if part)
    return [
        ("paper", paper or DASH),
        ("kind", method.kind),
        ("method version", str(row.records[0].science.values["method_version"])),
        ("oracle", ", ".join(mark.replace("_", " ") for mark in method.oracle) or "nothing"),
        ("versions", "; ".join(sorted(versions - {""})) or DASH),
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
