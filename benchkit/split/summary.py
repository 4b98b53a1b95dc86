"""Counts and rates of a split: the values behind `benchkit show` and its drawing.

Label matrices may be sparse and too large to be dense. Two sparse matrices are compared at their
stored labels, others in blocks of rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchkit.base.errors import BenchkitError
from benchkit.split import metadata
from benchkit.split.model import Split
from splits import labels as matrices
from splits import noise, statistics
from splits.labels import Labels, SparseLabels
from splits.shots import SHOT_NAMES

_ENTRIES = 1 << 22  # entries of a label matrix that are dense at a time


def summary(split: Split, fingerprints: Mapping[str, str]) -> dict[str, Any]:
    """Everything that `benchkit show` prints, as JSON values.

    Args:
        split: the split. Only the shape and type of its features are used.
        fingerprints: its fingerprints.

    Returns:
        A dictionary, described in `docs/show.md`.

    Raises:
        BenchkitError: the long-tail report in the provenance is damaged.
    """
    train = split.parts["train"]
    assert train.observed is not None  # checked by `read`
    cells = cross_counts(train.true, train.observed)
    rates = statistics.observed_rates(train.true, train.observed)
    per_image = {
        "true": cardinality_histogram(train.true),
        "observed": cardinality_histogram(train.observed),
    }
    test_positives = matrices.counts(split.parts["test"].true, 1)
    return {
        "name": split.name,
        "fingerprint": dict(fingerprints),
        "recipe": split.recipe,
        "thresholds": split.thresholds,
        "sizes": {name: len(part.ids) for name, part in split.parts.items()},
        "features": _features(split),
        "shot_groups": {
            name: int((split.shot == group).sum()) for group, name in enumerate(SHOT_NAMES)
        },
        "label_cardinality": _mean(per_image["true"]),
        "observed_cardinality": _mean(per_image["observed"]),
        "cardinality": {kind: counts.tolist() for kind, counts in per_image.items()},
        "imbalance_ratio": _number(statistics.imbalance_ratio(split.train_count)),
        "rates": {
            name: _number(rates[name]) for name in ("observed", "positives_kept", "candidate_noise")
        },
        "shares": _plain(_shares(cells.sum(0))),
        "noise": _plain(_estimates(train.observed, split)),
        "long_tail_report": split.provenance.get("long_tail_report"),
        "classes_without_test_positives": int((test_positives == 0).sum()),
        "classes": _classes(split, rates, _shares(cells), test_positives),
        "provenance": split.provenance,
    }


def _estimates(observed: Labels, split: Split) -> dict[str, float]:
    """Noise estimated from the observed labels alone."""
    regime = split.regime
    return noise.estimate(observed, regime, by_class=regime.by_class is not None)


def cross_counts(first: Labels, second: Labels) -> np.ndarray:
    """Count each pair of codes in two label matrices of one shape.

    Args:
        first: int8 [N, C], dense or sparse.
        second: the same shape.

    Returns:
        int64 [C, 3, 3], indexed by the codes: [c, 1, -1] is the number of images that are positive
        for class c in the first matrix and unknown in the second.
    """
    rows, classes = first.shape
    if isinstance(first, SparseLabels) and isinstance(second, SparseLabels):
        return _sparse_counts(first, second)
    cells = np.zeros(classes * 16, np.int64)
    offsets = np.arange(classes) * 16
    step = max(1, _ENTRIES // classes)
    for start in range(0, rows, step):
        block = np.arange(start, min(start + step, rows))
        one = matrices.dense(matrices.take(first, block)) & 3  # the codes 0, 1, -1 as 0, 1, 3
        two = matrices.dense(matrices.take(second, block)) & 3
        pairs = (one << 2 | two) + offsets
        cells += np.bincount(pairs.reshape(-1), minlength=classes * 16)
    return _by_code(cells)


def _sparse_counts(first: SparseLabels, second: SparseLabels) -> np.ndarray:
    """`cross_counts` in time linear in the number of stored labels."""
    rows, classes = first.shape
    cells = np.zeros(classes * 16, np.int64)
    for _, columns, one, two in matrices.pairs(first, second):
        cells += np.bincount(((one & 3) << 2 | (two & 3)) + columns * 16, minlength=classes * 16)
    counts = _by_code(cells)
    counts[:, first.fill, second.fill] += rows - counts.sum((1, 2))
    return counts


def _by_code(cells: np.ndarray) -> np.ndarray:
    """Counts by pairs of 0, 1, 3, as counts by pairs of the codes 0, 1, -1: [C, 3, 3]."""
    codes = np.array([0, 1, 3])
    return cells.reshape(-1, 4, 4)[:, codes][:, :, codes]


def cardinality_histogram(labels: Labels) -> np.ndarray:
    """The number of images with 0, 1, 2, ... positives, int64 [largest number + 1]."""
    return np.bincount(np.diff(matrices.positives(labels).indptr))


def conditional_cooccurrence(labels: Labels, classes: np.ndarray) -> np.ndarray:
    """The conditional co-occurrence of classes.

        P(j | i) = M_ij / M_ii

    M_ij is the number of images that are positive for both classes.

    Args:
        labels: int8 [N, C].
        classes: column numbers [K].

    Returns:
        float64 [K, K], NaN on the diagonal and in the rows of classes without positives.
    """
    positives = matrices.positives(labels)[:, classes]
    cooccurrence = (positives.T @ positives).toarray().astype(np.float64)
    counts = cooccurrence.diagonal().copy()
    np.fill_diagonal(cooccurrence, np.nan)
    counts[counts == 0] = np.nan
    return cooccurrence / counts[:, None]


def binned(histograms: Sequence[Sequence[int]], limit: int) -> list[tuple[str, list[int]]]:
    """Put histograms over 0, 1, 2, ... into at most `limit` common bins of equal width.

    Args:
        histograms: counts of the values 0, 1, 2, ...; lengths may differ.
        limit: the maximum number of bins.

    Returns:
        (the values of the bin as text, one count per histogram), in ascending order.
    """
    end = max(map(len, histograms))
    width = -(-end // limit)
    bins = []
    for start in range(0, end, width):
        last = start + width - 1
        counts = [sum(histogram[start : last + 1]) for histogram in histograms]
        bins.append((str(start) if width == 1 else f"{start}–{last}", counts))
    return bins


def _shares(cells: np.ndarray) -> dict[str, np.ndarray]:
    """The shares of five kinds of entries in a table of counts [..., true, observed].

    An observed label counts as false if the true one is known to be the opposite.
    """
    entries = cells.sum((-1, -2))
    false_positive, false_negative = cells[..., 0, 1], cells[..., 1, 0]
    return {
        "positive": _share(cells[..., :, 1].sum(-1) - false_positive, entries),
        "false_positive": _share(false_positive, entries),
        "negative": _share(cells[..., :, 0].sum(-1) - false_negative, entries),
        "false_negative": _share(false_negative, entries),
        "unknown": _share(cells[..., :, -1].sum(-1), entries),
    }


def _share(part: np.ndarray, total: np.ndarray) -> np.ndarray:
    shares = np.full(np.shape(total), np.nan)
    return np.divide(part, total, out=shares, where=np.asarray(total) > 0)


def _classes(
    split: Split, rates: statistics.Rates, shares: dict[str, np.ndarray], test_positives: np.ndarray
) -> list[dict[str, Any]]:
    tail, entries = _tail(split), []
    for c, name in enumerate(split.class_names):
        tail_counts = tail.get(name, {})
        entries.append(
            {
                "name": name,
                "shot": SHOT_NAMES[split.shot[c]],
                "available": tail_counts.get("available"),
                "target": tail_counts.get("target"),
                "train": int(split.train_count[c]),
                "observed": int(split.observed_count[c]),
                "test": int(test_positives[c]),
                "observed_rate": _number(rates["observed_by_class"][c]),
                "positives_kept": _number(rates["positives_kept_by_class"][c]),
                "candidate_noise": _number(rates["candidate_noise_by_class"][c]),
                "shares": _plain({kind: values[c] for kind, values in shares.items()}),
            }
        )
    return entries


def _tail(split: Split) -> dict[str, dict[str, int]]:
    """Class name -> available and target counts, from the long-tail report if there is one."""
    report = split.provenance.get("long_tail_report")
    if report is None:
        return {}
    counts = metadata.tail_counts(report)
    if counts is None:
        raise BenchkitError(
            f"the long-tail report of the split '{split.name}' is damaged; make the split again"
        )
    return counts


def _features(split: Split) -> dict[str, Any] | None:
    features = split.parts["train"].features
    if features is None:
        return None
    return {"views": features.shape[1], "dim": features.shape[2], "type": str(features.dtype)}


def _mean(histogram: np.ndarray) -> float | None:
    images = histogram.sum()
    return float(histogram @ np.arange(len(histogram)) / images) if images else None


def _plain(values: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in values.items()}


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
