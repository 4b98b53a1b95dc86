"""The columns of a leaderboard and where a run record keeps their values."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One column: its key in tables and CSV, its heading, and its place in `metrics`."""

    key: str
    title: str
    place: tuple[str, ...]


MAP_COLUMNS = (
    Column("total", "total", ("map",)),
    Column("many", "many", ("map_many",)),
    Column("medium", "medium", ("map_medium",)),
    Column("few", "few", ("map_few",)),
    Column("average", "average", ("map_groups_average",)),
)
F1_COLUMNS = (
    Column("micro_f1", "micro-F1", ("micro", "f1")),
    Column("macro_f1", "macro-F1", ("macro", "f1")),
)
COLUMNS = MAP_COLUMNS + F1_COLUMNS
