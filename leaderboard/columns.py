"""The columns of a leaderboard. A new column is one entry here."""

from dataclasses import dataclass
from operator import attrgetter

from leaderboard.record import Metrics


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        key: its name in tables and CSV files.
        title: its heading.
        attribute: its value in `Metrics`, such as `micro.f1`.
    """

    key: str
    title: str
    attribute: str

    def value(self, metrics: Metrics) -> float | None:
        """The value of a run as a fraction; None if it is undefined."""
        value: float | None = attrgetter(self.attribute)(metrics)
        return value


MAP_COLUMNS = (
    Column("total", "total", "map"),
    Column("many", "many", "map_many"),
    Column("medium", "medium", "map_medium"),
    Column("few", "few", "map_few"),
    Column("average", "average", "map_groups_average"),
)
F1_COLUMNS = (
    Column("micro_f1", "micro-F1", "micro.f1"),
    Column("macro_f1", "macro-F1", "macro.f1"),
)
COLUMNS = MAP_COLUMNS + F1_COLUMNS
