"""NW-LT (also NW-MLT), the long-tailed NUS-WIDE of NDLP, which cannot be made from public data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from splits.errors import InputError
from splits.published.core.contract import Published, PublishedRows, Tools
from splits.published.core.names import unchanged
from splits.source import Source

MISSING = (
    "neither its construction nor its label lists are public. The authors' repository refers to "
    "nw_lt_train.txt and nw_lt_test.txt but does not contain them. It has the ids of the training "
    "images, the names of the 81 concepts and two pickles of class statistics, but no test part "
    "and no size, class count or group to check a reconstruction. Make your own split from "
    "NUS-WIDE with --long-tail pareto, and do not call it NW-LT."
)


def build(source: Source | None, files: Mapping[str, Path], tools: Tools) -> PublishedRows:
    """Raise an error that names the missing data."""
    raise InputError(f"NW-LT is not available: {MISSING}")


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
        key=unchanged,
    ),
)
