"""NW-LT (also NW-MLT), the long-tailed NUS-WIDE of NDLP: what is public does not make a split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from splits.errors import InputError
from splits.published.core.contract import Published, PublishedRows, Tools
from splits.published.core.names import whole
from splits.source import Source

MISSING = (
    "neither its construction nor its label lists are public. The authors' repository names "
    "nw_lt_train.txt and nw_lt_test.txt and does not hold them. It holds the ids of the training "
    "images, the names of the 81 concepts and two pickles of class statistics: no test part, and "
    "no published size, class count or group to check a reconstruction against. Make a split of "
    "your own from NUS-WIDE (--long-tail pareto), and do not call it NW-LT."
)


def build(source: Source | None, files: Mapping[str, Path], tools: Tools) -> PublishedRows:
    """Refuse, and say what is missing."""
    raise InputError(f"NW-LT cannot be made: {MISSING}")


SPLITS = (
    Published(
        name="nw-lt",
        title="NW-LT",
        paper="NDLP, Pattern Recognition 2026",
        made="unavailable",
        needs=MISSING,
        roles={},
        figures=None,
        build=build,
        key=whole,
    ),
)
