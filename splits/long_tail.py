"""Long-tailed subsets: images selected so that the class counts follow decreasing targets.

`pareto_targets` and `exponential_targets` give the target at each rank. Two samplers use the same
targets and the same order of classes: `sample`, whose draws are keyed by image id and class name,
and `sample_dbl`, which reproduces the published generator bit for bit. `report` compares the
subset with its targets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypedDict

import numpy as np

from splits.errors import InputError
from splits.labels import Labels, positives, take
from splits.numbers import Uniform
from splits.statistics import check_labels, class_counts, cooccurrence

_MAX_COUNT = 10**15
"""The largest count of a class: more images than exist, and exact as a floating-point number."""

PythonSample = Callable[[Sequence[int], int], list[int]]


class ClassReport(TypedDict):
    """The target of a class, its count in the subset, and its count in the source."""

    name: str
    target: int
    achieved: int
    available: int


class Report(TypedDict):
    """A comparison of a subset with its targets; see `report`."""

    classes: list[ClassReport]
    not_met: list[str]
    cooccurrence_drift: float


def pareto_targets(
    num_classes: int,
    *,
    b: float = 6.0,
    maximum: int = 800,
    minimum: int = 1,
    tail_quantile: float = 0.99,
) -> np.ndarray:
    """The target number of images of the class at each rank, from a Pareto distribution.

        t_i = trunc((maximum - minimum) x_i^-(b+1) + minimum)

    with x_0 .. x_{C-1} evenly spaced from 1 to (1 - tail_quantile)^(-1/b), the quantile of a
    Pareto distribution with shape b.

    Args:
        num_classes: C >= 1.
        b: the shape; a larger one gives a steeper head.
        maximum: the target of the first class.
        minimum: the limit of the targets, at least 0.
        tail_quantile: the quantile of the last class, in (0, 1).

    Returns:
        int64 [C], not increasing.

    Raises:
        InputError: a parameter outside its range.

    Source: Wu et al., ECCV 2020; their code divides the density by b, so the first target is
    exactly `maximum`.
    """
    if num_classes < 1:
        raise InputError(f"Long-tailed targets need at least one class, not {num_classes}.")
    if not 0 < b < float("inf"):
        raise InputError(f"The Pareto shape b must be a number above 0, not {b}.")
    if not 0 <= minimum <= maximum <= _MAX_COUNT:
        raise InputError(
            f"Long-tailed targets need 0 <= minimum <= maximum <= {_MAX_COUNT}, not minimum "
            f"{minimum} and maximum {maximum}."
        )
    if not 0 < tail_quantile < 1:
        raise InputError(f"The tail quantile must be in (0, 1), not {tail_quantile}.")
    with np.errstate(over="ignore"):
        last = np.float64(1.0 - tail_quantile) ** (-1.0 / b)
    if not np.isfinite(last):
        raise InputError(f"The Pareto shape b = {b} is too small: its quantiles overflow.")
    x = np.linspace(1.0, last, num_classes)
    return ((maximum - minimum) * x ** -(b + 1.0) + minimum).astype(np.int64)


def exponential_targets(
    num_classes: int, *, imbalance_ratio: float = 100.0, maximum: int = 800
) -> np.ndarray:
    """The target number of images of the class at each rank, decreasing exponentially.

        t_i = trunc(maximum * imbalance_ratio^(-i / (C - 1)))

    Args:
        num_classes: C >= 1; a single class gets the maximum.
        imbalance_ratio: the target of the first class over that of the last, at least 1.
        maximum: the target of the first class, at least `imbalance_ratio`.

    Returns:
        int64 [C], not increasing, at least 1.

    Raises:
        InputError: a parameter outside its range.

    Source: CIFAR-LT (Cao et al., NeurIPS 2019).
    """
    if num_classes < 1:
        raise InputError(f"Long-tailed targets need at least one class, not {num_classes}.")
    if not 1 <= imbalance_ratio <= maximum <= _MAX_COUNT:
        raise InputError(
            f"Exponential targets need 1 <= imbalance ratio <= maximum <= {_MAX_COUNT}, so that "
            f"the last class keeps an image, not ratio {imbalance_ratio} and maximum {maximum}."
        )
    rank = np.arange(num_classes) / max(num_classes - 1, 1)
    # 800 * 100^-1 is 8, but the floating-point product may be just below it.
    return np.floor(maximum * imbalance_ratio**-rank * (1 + 1e-12)).astype(np.int64)


def visit_order(labels: Labels) -> np.ndarray:
    """The order in which the samplers visit the classes: the most co-occurring first.

        s_j = sum_i P(j | i) = sum_i M_ij / M_ii,  descending; ties by class index

    with M the co-occurrence counts. A class without positives adds nothing and is the last.

    Args:
        labels: int8 [N, C], dense or sparse.

    Returns:
        int64 [C], the class index at each rank.

    Raises:
        InputError: not a label matrix.

    Source: Wu et al., ECCV 2020, as in the authors' code; class frequencies are not used.
    """
    check_labels(labels)
    together = cooccurrence(labels)
    counts = np.maximum(np.diag(together), 1)  # a row of zeros stays a row of zeros
    score = (together / counts[:, None]).sum(axis=0)
    return np.argsort(-score, kind="stable").astype(np.int64)


def sample(labels: Labels, targets: np.ndarray, add: Uniform, remove: Uniform) -> np.ndarray:
    """Select a long-tailed subset of images, with draws keyed by names instead of row order.

    The classes are visited once, in `visit_order`. With n the number of images of the class that
    are selected so far and t its target,

        n < t: add the t - n images of the class outside the set with the smallest add(image, class)
        n > t: drop the n - t images of the class inside the set with the smallest remove(image,
               class)

    Every image brings all its labels and no class is visited twice, so the final counts can be
    above or below the targets. If a class has too few images, all of them are added. The result
    does not depend on the order of the rows.

    Args:
        labels: int8 [N, C], dense or sparse; unknown labels count as not positive.
        targets: integers [C], the target at each rank of the order.
        add: uniform numbers `(rows, columns) -> float64`, keyed by image id and class name.
        remove: the same from another stream.

    Returns:
        int64 rows, ascending.

    Raises:
        InputError: not a label matrix, or not one target >= 0 per class.

    Source: the greedy selection of Wu et al., ECCV 2020.
    """
    visits, columns = _visits(labels, targets), positives(labels).tocsc()
    selected = np.zeros(labels.shape[0], bool)
    for label, target in visits:
        members = columns.indices[columns.indptr[label] : columns.indptr[label + 1]]
        inside = selected[members]
        need = target - np.count_nonzero(inside)
        if need == 0:
            continue
        pool = members[inside != (need > 0)]
        numbers = (add if need > 0 else remove)(pool, np.full(len(pool), label))
        drawn = pool[np.argsort(numbers, kind="stable")[: abs(need)]]
        selected[drawn] = need > 0
    return np.flatnonzero(selected)


def sample_dbl(
    labels: Labels, targets: np.ndarray, python_sample: PythonSample, *, cap: bool
) -> np.ndarray:
    """Select a long-tailed subset of images exactly as the published generator does.

    The rule is that of `sample` with CPython's sequential `random.sample` as the draw. The
    published lists depend on the order in which CPython iterates over sets of small integers, so
    the same result needs: rows in the order of the source; for each class one set of all its rows,
    built in ascending order, and one set of its selected rows, which is kept throughout and changed
    in place, row by row in the order drawn (`add`, `remove`); an addition draws from
    `tuple(all - selected)`, a removal from `tuple(selected)`.

    Args:
        labels: int8 [N, C], dense or sparse, rows in the order of the published source.
        targets: integers [C], the target at each rank of the order.
        python_sample: `random.Random(0).sample` for the published lists. The authors' script draws
            for VOC and then for COCO from one generator: pass the same one for both.
        cap: whether a class with too few images contributes all of them (COCO) or is an error
            (VOC).

    Returns:
        int64 rows, ascending.

    Raises:
        InputError: not a label matrix, not one target >= 0 per class, or a class with too few
            images while `cap` is False.

    Source: Wu et al., ECCV 2020, generator of the authors' code; seed 0, maximum 800, b 6 on VOC
    2012 gives the 1142 published images, and maximum 1400, b 12 the 2569 of PLT-VOC (ICCV 2023).
    """
    visits, positive = _visits(labels, targets), positives(labels)
    columns = positive.tocsc()
    members = [set(rows.tolist()) for rows in np.split(columns.indices, columns.indptr[1:-1])]
    selected: list[set[int]] = [set() for _ in members]
    for label, target in visits:
        need = target - len(selected[label])
        if need > 0:
            pool = tuple(members[label] - selected[label])
            if need > len(pool) and not cap:
                raise InputError(
                    f"Class {label} needs {need} more images for its target of {target}, but only "
                    f"{len(pool)} are left; lower the maximum, or cap the targets."
                )
            drawn = python_sample(pool, min(need, len(pool)))
        else:
            drawn = python_sample(tuple(selected[label]), -need)
        for row in drawn:
            for other in positive.indices[positive.indptr[row] : positive.indptr[row + 1]]:
                if need > 0:
                    selected[other].add(row)
                else:
                    selected[other].remove(row)
    return np.array(sorted(set().union(*selected)), np.int64)


def achieved(labels: Labels, rows: np.ndarray) -> np.ndarray:
    """Number of positives per class in some of the rows.

    Args:
        labels: int8 [N, C], dense or sparse.
        rows: row numbers.

    Returns:
        int64 [C].
    """
    return class_counts(take(labels, rows))


def by_class(labels: Labels, targets: np.ndarray) -> np.ndarray:
    """The target of each class from the target of each rank in `visit_order`.

    Args:
        labels: int8 [N, C], dense or sparse.
        targets: int64 [C], by rank.

    Returns:
        int64 [C], by class.
    """
    class_targets = np.empty_like(targets)
    class_targets[visit_order(labels)] = targets
    return class_targets


def report(
    labels: Labels, rows: np.ndarray, targets: np.ndarray, class_names: Sequence[str]
) -> Report:
    """Compare a subset of the images with its targets and with the source.

    A class can miss its target because it has too few images, or because some of its images were
    dropped for a class that was visited later. The drift measures the change of the co-occurrence
    of classes, with P(k | j) = M_jk / M_jj from the co-occurrence counts M:

        drift = mean over j != k of |P_subset(k | j) - P_source(k | j)|

    over the classes j that have positives in both; 0 if there is no such pair.

    Args:
        labels: int8 [N, C], dense or sparse: the source.
        rows: the row numbers of the subset.
        targets: integers [C], one per class (not per rank).
        class_names: C names.

    Returns:
        JSON values: `classes` (name, target, achieved, available, in the order of the classes),
        `not_met` (the names of the classes below their target) and `cooccurrence_drift`.
    """
    before, after = cooccurrence(labels), cooccurrence(take(labels, rows))
    available, count = np.diag(before), np.diag(after)
    both = (available > 0) & (count > 0)
    drift = np.abs(after[both] / count[both, None] - before[both] / available[both, None])
    pairs = int(both.sum()) * (len(count) - 1)  # P(j | j) is 1 in both
    return Report(
        classes=[
            ClassReport(
                name=str(name),
                target=int(targets[c]),
                achieved=int(count[c]),
                available=int(available[c]),
            )
            for c, name in enumerate(class_names)
        ],
        not_met=[str(name) for c, name in enumerate(class_names) if count[c] < targets[c]],
        cooccurrence_drift=float(drift.sum() / pairs) if pairs else 0.0,
    )


def _visits(labels: Labels, targets: np.ndarray) -> list[tuple[int, int]]:
    """The (class, target) pairs in visiting order, after checking the targets."""
    order = visit_order(labels)
    targets = np.asarray(targets)
    if targets.shape != order.shape or targets.dtype.kind not in "iu" or (targets < 0).any():
        raise InputError(
            f"Long-tailed targets must be {len(order)} integers >= 0, one per class, not "
            f"{targets.dtype} of shape {targets.shape}."
        )
    return list(zip(order.tolist(), targets.tolist(), strict=True))
