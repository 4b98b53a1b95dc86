"""The invariants of a split: its shapes, and the content that follows from other content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from benchkit.split.model import Part, Split, encode
from splits import labels as matrices
from splits import shots
from splits.consistency import contradictions
from splits.labels import SparseLabels


class _Array(Protocol):
    """An array in memory or in a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of its axes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its elements."""


_BLOCK = 1 << 18  # elements of features checked at a time, so that they stay in the cache
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, 2^64 over the golden ratio


def shape_problem(split: Split) -> str | None:
    """The first array whose shape, type or label codes are wrong, as a phrase; None if all fit.

    The other functions of this module may be called only for a split without such a problem.
    """
    classes = len(split.class_names)
    if not classes:
        return "it has no classes"
    for name in ("train", "test"):
        if name not in split.parts:
            return f"it has no group '{name}'"
    for name in ("train_count", "observed_count", "shot"):
        array = getattr(split, name)
        if array.shape != (classes,):
            return f"classes/{name} has shape {_shape(array)}, not [{classes}]"
        if array.dtype.kind not in "iu":
            return f"classes/{name} does not hold integers"
    if not np.isin(split.shot, (0, 1, 2)).all():
        return "classes/shot holds a group other than 0, 1 and 2"
    if (split.train_count < 0).any() or (split.observed_count < 0).any():
        return "a count of the classes is negative"
    for name, part in split.parts.items():
        problem = _part_problem(name, part, classes)
        if problem is not None:
            return problem
    return features_problem({name: part.features for name, part in split.parts.items()}, split)


def _part_problem(name: str, part: Part, classes: int) -> str | None:
    rows = len(part.ids)
    if name != "test" and part.observed is None:
        return f"it has no '{name}/observed'"
    if part.paths is not None and part.paths.shape != (rows,):
        return f"{name}/path has shape {_shape(part.paths)}, not [{rows}]"
    for kind, labels in (("true", part.true), ("observed", part.observed)):
        if labels is None:
            continue
        if labels.shape != (rows, classes):
            return f"{name}/{kind} has shape {_shape(labels)}, not [{rows}, {classes}]"
        if isinstance(labels, SparseLabels):
            continue  # its codes were checked when it was created
        if labels.dtype != np.int8 or (labels.size and (labels.min() < -1 or labels.max() > 1)):
            return f"{name}/{kind} holds a label outside {{-1, 0, 1}}"
    return None


def features_problem(features: Mapping[str, _Array | None], split: Split) -> str | None:
    """The first features whose shape or type is wrong, as a phrase; None if all fit.

    Args:
        features: part -> its features, loaded or not; None for a part without features.
        split: the split.
    """
    for name, array in features.items():
        rows = len(split.parts[name].ids)
        if array is None:
            continue
        if len(array.shape) != 3 or array.shape[0] != rows or 0 in array.shape[1:]:
            return f"{name}/features has shape {_shape(array)}, not [{rows}, V, D]"
        if array.dtype.kind != "f" or array.dtype.itemsize not in (2, 4):
            return f"{name}/features does not hold float16 or float32 numbers"
    kinds = {None if array is None else array.shape[1:] for array in features.values()}
    return "the features of its parts differ in shape" if len(kinds) > 1 else None


def _shape(array: _Array | SparseLabels) -> str:
    return str(list(array.shape))


def name_problems(split: Split) -> list[str]:
    """Check that class names and image ids are unique; one phrase per problem."""
    problems = []
    if len(set(split.class_names)) != len(split.class_names):
        problems.append("a class name occurs twice")
    if has_repeats(np.concatenate([part.ids for part in split.parts.values()])):
        problems.append("an image id occurs twice")
    return problems


def has_repeats(texts: np.ndarray) -> bool:
    """Whether a text occurs twice in an array [N].

    Equal texts have equal hashes. The texts themselves are compared only if two hashes are equal,
    because a set of texts takes several times as long.
    """
    encoded = encode(texts)
    columns = np.zeros((len(texts), -(-encoded.itemsize // 8)), np.uint64)
    columns.view(np.uint8)[:, : encoded.itemsize] = encoded.view(np.uint8).reshape(len(texts), -1)
    hashes = np.zeros(len(texts), np.uint64)
    for column in columns.T:
        hashes = (hashes ^ column) * _MULTIPLIER
        hashes ^= hashes >> np.uint64(29)
    hashes.sort()
    if (hashes[1:] != hashes[:-1]).all():
        return False
    return len(set(encoded.tolist())) != len(texts)


def label_problems(split: Split) -> list[str]:
    """Check counts and shot groups, and that observed labels obey their regime."""
    train = split.train
    assert train.observed is not None  # checked by `shape_problem`
    problems = []
    if not np.array_equal(matrices.counts(train.true, 1), split.train_count):
        problems.append("classes/train_count is not the number of true training positives")
    for name in ("train", "val"):
        part = split.parts.get(name)
        if part is not None and part.observed is not None:
            is_drawn = split.recipe["labels"].get("observed") is None
            broken = contradictions(part.true, part.observed, split.regime.kind, drawn=is_drawn)
            problems += [f"{name}: {problem}" for problem in broken]
    if not np.array_equal(matrices.counts(train.observed, 1), split.observed_count):
        problems.append("classes/observed_count is not the number of observed training positives")
    groups = shots.groups_of(split.train_count, split.observed_count, split.thresholds)
    if not np.array_equal(split.shot, groups):
        problems.append("classes/shot does not follow from the counts and the thresholds")
    return problems


def feature_problems(split: Split) -> list[str]:
    """Check that all features are finite."""
    return [
        f"{name}/features holds a value that is not finite"
        for name, part in split.parts.items()
        if part.features is not None and not is_finite(part.features)
    ]


def is_finite(features: np.ndarray) -> bool:
    """Whether no value is NaN or infinite, without an array of truth values of the same shape."""
    flat = features.reshape(-1)
    return all(
        np.isfinite(flat[start : start + _BLOCK]).all() for start in range(0, flat.size, _BLOCK)
    )
