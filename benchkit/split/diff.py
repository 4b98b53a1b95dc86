"""Compare two splits: recipes, classes, images, labels and features.

Images are matched by id and classes by name, so the order of rows and columns does not matter. Two
sparse label matrices are compared at their stored labels, others in blocks of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchkit.split.model import PARTS, Part, Split
from benchkit.split.summary import cross_counts
from splits import labels as matrices
from splits.labels import Labels, SparseLabels
from splits.shots import SHOT_NAMES

_EXAMPLES = 5
_ENTRIES = 1 << 22  # entries of a label or feature matrix that are dense at a time
_MISSING = "(absent)"


@dataclass(frozen=True)
class Side:
    """One of the two splits.

    Attributes:
        split: the split.
        fingerprints: its fingerprints, `labels`, `features` and `both`.
    """

    split: Split
    fingerprints: Mapping[str, str]


@dataclass(frozen=True)
class _Shared:
    """The images that part `a` of split A and part `b` of split B share, as rows of both."""

    a: str
    b: str
    rows_a: np.ndarray
    rows_b: np.ndarray


def compare(a: Side, b: Side) -> dict[str, Any]:
    """Compare two splits.

    Args:
        a: the first split.
        b: the second split. Features are compared if both splits have them in memory.

    Returns:
        JSON values, described in `docs/show.md`.
    """
    first, second = a.split, b.split
    shared = _shared_images(first, second)
    columns = _columns(first, second)
    comparison: dict[str, Any] = {
        "identical": a.fingerprints["both"] == b.fingerprints["both"],
        "a": {"name": first.name, "fingerprint": dict(a.fingerprints)},
        "b": {"name": second.name, "fingerprint": dict(b.fingerprints)},
        "equal": {
            "name": first.name == second.name,
            **{
                kind: a.fingerprints[kind] == b.fingerprints[kind]
                for kind in ("labels", "features")
            },
        },
        "recipe": differences(_recipe(first), _recipe(second)),
        "provenance": differences(_provenance(first), _provenance(second)),
        "same_source": _source(first) == _source(second),
        "classes": _classes(first, second),
        "images": _images(first, second, shared),
        "moved": _moved(first, shared),
        "true_labels": _true_labels(first, second, shared, columns),
        "observed": _observed(first, second, shared, columns),
        "shots": _shots(first, second, columns),
        "features": _features(a, b, shared),
    }
    comparison["leaks"] = [move for move in comparison["moved"] if "test" in (move["a"], move["b"])]
    return comparison


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The differences of two nested dictionaries.

    Args:
        a: name -> value, list or dictionary.
        b: the same.

    Returns:
        One entry {key, a, b} per leaf that differs. The key is a dotted path; a missing leaf is
        "(absent)".
    """
    flat_a, flat_b = dict(_flat(a)), dict(_flat(b))
    pairs = {
        key: (flat_a.get(key, _MISSING), flat_b.get(key, _MISSING))
        for key in sorted(flat_a.keys() | flat_b.keys())
    }
    return [{"key": key, "a": x, "b": y} for key, (x, y) in pairs.items() if x != y]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _recipe(split: Split) -> dict[str, Any]:
    return {**split.recipe, "thresholds": split.thresholds}


def _provenance(split: Split) -> dict[str, Any]:
    """The provenance without the long-tail report, which follows from the labels."""
    return {key: value for key, value in split.provenance.items() if key != "long_tail_report"}


def _source(split: Split) -> tuple[Any, Any]:
    return split.recipe["labels"].get("source"), split.provenance.get("sources")


# ----------------------------------------------------------------------------- images, classes


def _shared_images(a: Split, b: Split) -> list[_Shared]:
    ids_a, parts_a, rows_a = _all_images(a)
    ids_b, parts_b, rows_b = _all_images(b)
    _, at_a, at_b = np.intersect1d(ids_a, ids_b, return_indices=True)
    shared = []
    for p, part_a in enumerate(a.parts):
        for q, part_b in enumerate(b.parts):
            both = (parts_a[at_a] == p) & (parts_b[at_b] == q)
            if both.any():
                shared.append(_Shared(part_a, part_b, rows_a[at_a[both]], rows_b[at_b[both]]))
    return shared


def _all_images(split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The id of each image in the split, the position of its part, and its row in the part."""
    ids = [part.ids for part in split.parts.values()]
    sizes = [len(part) for part in ids]
    rows = np.concatenate([np.arange(size) for size in sizes])
    return np.concatenate(ids), np.repeat(np.arange(len(ids)), sizes), rows


def _columns(a: Split, b: Split) -> tuple[np.ndarray, np.ndarray]:
    """The columns of the shared classes in A and in B, in A's order."""
    columns = {name: c for c, name in enumerate(b.class_names)}
    pairs = [(c, columns[name]) for c, name in enumerate(a.class_names) if name in columns]
    both = np.array(pairs, np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _classes(a: Split, b: Split) -> dict[str, Any]:
    names_a, names_b = set(a.class_names), set(b.class_names)
    order_a = [name for name in a.class_names if name in names_b]
    return {
        "shared": len(order_a),
        "only_a": [name for name in a.class_names if name not in names_b],
        "only_b": [name for name in b.class_names if name not in names_a],
        "same_order": order_a == [name for name in b.class_names if name in names_a],
    }


def _images(a: Split, b: Split, shared: list[_Shared]) -> dict[str, dict[str, int]]:
    """Per part: the images in both parts, and those that the other split does not have at all."""
    images = {}
    for name in PARTS:
        if name not in a.parts and name not in b.parts:
            continue
        in_a, in_b = (len(s.parts[name].ids) if name in s.parts else 0 for s in (a, b))
        images[name] = {
            "a": in_a,
            "b": in_b,
            "shared": sum(len(s.rows_a) for s in shared if s.a == s.b == name),
            "only_a": in_a - sum(len(s.rows_a) for s in shared if s.a == name),
            "only_b": in_b - sum(len(s.rows_b) for s in shared if s.b == name),
        }
    return images


def _moved(a: Split, shared: list[_Shared]) -> list[dict[str, Any]]:
    """Images that are in one part of A and in another part of B."""
    return [
        {
            "a": s.a,
            "b": s.b,
            "images": len(s.rows_a),
            "examples": a.parts[s.a].ids[s.rows_a[:_EXAMPLES]].tolist(),
        }
        for s in shared
        if s.a != s.b
    ]


# ----------------------------------------------------------------------------- labels


def _blocks(
    a: Labels,
    b: Labels,
    rows: tuple[np.ndarray, np.ndarray],
    columns: tuple[np.ndarray, np.ndarray],
) -> Iterator[tuple[np.ndarray, np.ndarray, slice]]:
    """Dense blocks of two matrices over their shared rows and columns."""
    step = max(1, _ENTRIES // max(a.shape[1], b.shape[1]))
    for start in range(0, len(rows[0]), step):
        piece = slice(start, start + step)
        yield (
            matrices.dense(matrices.take(a, rows[0][piece]))[:, columns[0]],
            matrices.dense(matrices.take(b, rows[1][piece]))[:, columns[1]],
            piece,
        )


def _aligned(
    a: Labels,
    b: Labels,
    rows: tuple[np.ndarray, np.ndarray],
    columns: tuple[np.ndarray, np.ndarray],
) -> tuple[SparseLabels, SparseLabels] | None:
    """Two sparse matrices over their shared rows and columns; None if one is dense."""
    if isinstance(a, SparseLabels) and isinstance(b, SparseLabels) and len(columns[0]):
        return a.rows(rows[0]).columns(columns[0]), b.rows(rows[1]).columns(columns[1])
    return None


def _different_entries(
    a: Labels,
    b: Labels,
    rows: tuple[np.ndarray, np.ndarray],
    columns: tuple[np.ndarray, np.ndarray],
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Rows and columns among the shared ones, and the codes in A and B, in blocks of rows."""
    sparse = _aligned(a, b, rows, columns)
    if sparse is not None and sparse[0].fill == sparse[1].fill:
        for row, column, x, y in matrices.pairs(*sparse):
            differs = x != y
            yield row[differs], column[differs], x[differs], y[differs]
        return
    for x, y, piece in _blocks(a, b, rows, columns):
        row, column = np.nonzero(x != y)
        yield row + piece.start, column, x[row, column], y[row, column]


def _true_labels(
    a: Split, b: Split, shared: list[_Shared], columns: tuple[np.ndarray, np.ndarray]
) -> dict[str, Any]:
    """The differences of the true labels of shared images and classes."""
    entries = different = images = 0
    touched = np.zeros(len(columns[0]), bool)
    examples: list[dict[str, Any]] = []
    for s in shared:
        one, two = a.parts[s.a], b.parts[s.b]
        entries += len(s.rows_a) * len(columns[0])
        blocks = _different_entries(one.true, two.true, (s.rows_a, s.rows_b), columns)
        for row, column, x, y in blocks:
            different += len(row)
            images += len(np.unique(row))
            touched[column] = True
            for at in range(min(len(row), _EXAMPLES - len(examples))):
                examples.append(
                    {
                        "image": str(one.ids[s.rows_a[row[at]]]),
                        "class": a.class_names[columns[0][column[at]]],
                        "a": int(x[at]),
                        "b": int(y[at]),
                    }
                )
    return {
        "entries": entries,
        "different": different,
        "images": images,
        "classes": int(touched.sum()),
        "examples": examples,
    }


def _observed(
    a: Split, b: Split, shared: list[_Shared], columns: tuple[np.ndarray, np.ndarray]
) -> dict[str, Any]:
    """The agreement of the observed labels of shared images and classes."""
    cells = np.zeros((3, 3), np.int64)  # indexed by the codes in A and in B
    for s in shared:
        one, two = a.parts[s.a].observed, b.parts[s.b].observed
        if one is None or two is None or not len(columns[0]):
            continue
        sparse = _aligned(one, two, (s.rows_a, s.rows_b), columns)
        if sparse is not None:
            cells += cross_counts(*sparse).sum(0)
            continue
        for x, y, _ in _blocks(one, two, (s.rows_a, s.rows_b), columns):
            cells += cross_counts(x, y).sum(0)
    same = int(cells[0, 0] + cells[1, 1])
    different = int(cells[0, 1] + cells[1, 0])
    only_a, only_b = int(cells[:2, -1].sum()), int(cells[-1, :2].sum())
    return {
        "entries": int(cells.sum()),
        "same": same,
        "only_a": only_a,
        "only_b": only_b,
        "different": different,
        "unknown_in_both": int(cells[-1, -1]),
        "agreement": same / (same + different) if same + different else None,
        "nesting": _nesting(only_a + different, only_b + different, cells),
        "positives_nesting": _nesting(
            int(cells[1].sum() - cells[1, 1]), int(cells[:, 1].sum() - cells[1, 1]), cells
        ),
    }


def _nesting(outside_b: int, outside_a: int, cells: np.ndarray) -> str | None:
    """How two sets nest.

    Args:
        outside_b: the size of A without B.
        outside_a: the size of B without A.
        cells: the counts of all entries; without entries the answer is None.
    """
    if not cells.sum():
        return None
    if not outside_b and not outside_a:
        return "equal"
    return "a_in_b" if not outside_b else "b_in_a" if not outside_a else "neither"


def _shots(
    a: Split, b: Split, columns: tuple[np.ndarray, np.ndarray]
) -> list[dict[str, str | int]]:
    """The shared classes whose shot groups differ."""
    return [
        {
            "class": a.class_names[one],
            "a": SHOT_NAMES[a.shot[one]],
            "b": SHOT_NAMES[b.shot[two]],
            "train_a": int(a.train_count[one]),
            "train_b": int(b.train_count[two]),
        }
        for one, two in zip(*columns, strict=True)
        if a.shot[one] != b.shot[two]
    ]


# ----------------------------------------------------------------------------- features


def _features(a: Side, b: Side, shared: list[_Shared]) -> dict[str, Any]:
    """Whether the features agree, and the largest difference over the shared images."""
    with_a, with_b = (
        next((part.features for part in side.split.parts.values()), None) for side in (a, b)
    )
    nothing: dict[str, Any] = {"images": 0, "max_difference": None}
    if a.fingerprints["features"] == b.fingerprints["features"]:
        return {"status": "equal", **nothing}
    if with_a is None or with_b is None:
        status = "neither" if with_a is with_b else "only_b" if with_a is None else "only_a"
        return {"status": status, **nothing}
    if with_a.shape[1:] != with_b.shape[1:]:
        return {"status": "different_shapes", **nothing}
    images = sum(len(s.rows_a) for s in shared)
    if not images:
        return {"status": "no_shared_image", **nothing}
    largest = max(_largest_difference(a.split.parts[s.a], b.split.parts[s.b], s) for s in shared)
    return {
        "status": "equal_where_shared" if largest == 0 else "differ",
        "images": images,
        "max_difference": largest if np.isfinite(largest) else None,
    }


def _largest_difference(one: Part, two: Part, shared: _Shared) -> float:
    assert one.features is not None and two.features is not None  # all parts have features, or none
    step = max(1, _ENTRIES // max(1, one.features[:1].size))
    largest = 0.0
    for start in range(0, len(shared.rows_a), step):
        x = one.features[shared.rows_a[start : start + step]].astype(np.float64)
        y = two.features[shared.rows_b[start : start + step]]
        largest = max(largest, float(np.abs(x - y).max(initial=0.0)))
    return largest
