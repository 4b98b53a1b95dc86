"""Run records as pandas frames."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from leaderboard.columns import COLUMNS
from leaderboard.record import Record

_BEFORE = ("run_id", "split", "regime", "method", "draws", "seed", "selection")
_AFTER = ("oracle", "wall_seconds", "hyperparameters", "recipe")


def runs(records: Iterable[Record]) -> pd.DataFrame:
    """One row per run, in the order of the records.

    Args:
        records: finished runs.

    Returns:
        The columns that `benchkit.read_records` describes; an undefined metric is NaN.
    """
    metrics = [column.key for column in COLUMNS]
    frame = pd.DataFrame(map(_row, records), columns=[*_BEFORE, *metrics, *_AFTER])
    frame[metrics] = frame[metrics].astype(float)
    return frame


def _row(record: Record) -> dict[str, Any]:
    arguments = record.arguments
    return {
        "run_id": record.run_id,
        "split": record.split.name,
        "regime": record.split.regime,
        "method": arguments.method,
        "draws": arguments.draws,
        "seed": arguments.seed,
        "selection": arguments.selection,
        **{column.key: column.value(record.metrics) for column in COLUMNS},
        "oracle": ", ".join(record.method.oracle),
        "wall_seconds": record.wall_seconds,
        "hyperparameters": dict(arguments.hyperparameters),
        "recipe": dict(arguments.recipe),
    }
