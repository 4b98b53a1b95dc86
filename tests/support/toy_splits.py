"""Splits of small sources, with unknown and sparsely stored labels."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from benchkit.split.build import build
from benchkit.split.features import source_features
from benchkit.split.model import Split
from benchkit.split.options import Options
from splits.labels import SparseLabels
from splits.regimes import Regime
from splits.source import Source


def build_split(source: Source, *, regime: str = "full", **options: Any) -> Split:
    """A split with shot groups at 10 and 5; `options` are those of `benchkit.split.options`."""
    parsed = Options(**{"many": 10, "few": 5, "regime": Regime.parse(regime), **options})
    return build(source, parsed, source_features(source), "toy")


def with_unknown_labels(source: Source) -> Source:
    """The same source with a quarter of its labels unknown."""
    labels = np.array(source.labels)
    labels[np.arange(labels.size).reshape(labels.shape) % 4 == 1] = -1
    return dataclasses.replace(source, labels=labels)


def stored_sparsely(source: Source, fill: int) -> Source:
    """The same source with sparse labels."""
    return dataclasses.replace(source, labels=SparseLabels.from_dense(source.labels, fill))


def assert_same_split(one: Split, two: Split, features: bool = True) -> None:
    """Equal in values, shapes and types, field by field."""
    assert (one.name, one.class_names) == (two.name, two.class_names)
    for name in ("recipe", "thresholds", "provenance"):
        assert getattr(one, name) == getattr(two, name)
    for name in ("train_count", "observed_count", "shot"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), strict=True)
    assert list(one.parts) == list(two.parts)
    for name, part in one.parts.items():
        other = two.parts[name]
        for field in ("ids", "paths", "true", "observed", *(["features"] if features else [])):
            mine, theirs = getattr(part, field), getattr(other, field)
            if mine is None:
                assert theirs is None
            elif field in ("ids", "paths"):
                assert mine.tolist() == theirs.tolist()
            elif isinstance(mine, SparseLabels):
                assert mine.shape == theirs.shape
                for key, array in mine.arrays().items():
                    np.testing.assert_array_equal(array, theirs.arrays()[key], strict=True)
            else:
                np.testing.assert_array_equal(mine, theirs, strict=True)
