"""Choosing images so that the class counts fall off, by a law or by a list of targets.

Two laws give the target at each rank, `pareto_targets` and `exponential_targets`. Two samplers
share the targets and the order of the classes: `sample`, whose draws are bound to image ids and
class names, and `sample_dbl`, which repeats the published generator to the bit. `report` says what
came of the targets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypedDict

import numpy as np

from splits.errors import InputError
from splits.labels import Labels, positives, take
from splits.numbers import Uniform
from splits.statistics import check_labels, class_counts, cooccurrence

_MOST = 10**15
"""Images of a class: far more than there are, and still exact as a floating-point number."""

PythonSample = Callable[[Sequence[int], int], list[int]]


class ClassReport(TypedDict):
    """What a class was meant to get, what it got, and what the source had."""

    name: str
    target: int
    achieved: int
    available: int


class Report(TypedDict):
    """How a choice of images compares with its targets; see `report`."""

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
    """How many images the class at each rank should have.

        t_i = trunc((maximum - minimum) x_i^-(b+1) + minimum)

    with x_0 .. x_{C-1} evenly spaced from 1 to (1 - tail_quantile)^(-1/b), the quantile of a
    Pareto distribution with shape b.

    Args:
        num_classes: C >= 1.
        b: the shape; a larger one gives a steeper head.
        maximum: the target of the first class.
        minimum: what the targets fall towards, at least 0.
        tail_quantile: where the last class stands on the distribution, in (0, 1).

    Returns:
        int64 [C], not increasing.

    Raises:
        InputError: a parameter outside its range.

    Source: Wu et al., ECCV 2020; their code divides the density by b, so that the first target is
    exactly `maximum`.
    """
    if num_classes < 1:
        raise InputError(f"Long-tailed targets need at least one class, not {num_classes}.")
    if not 0 < b < float("inf"):
        raise InputError(f"The Pareto shape b must be a number above 0, not {b}.")
    if not 0 <= minimum <= maximum <= _MOST:
        raise InputError(
            f"Long-tailed targets need 0 <= minimum <= maximum <= {_MOST}, not minimum {minimum} "
            f"and maximum {maximum}."
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
    """How many images the class at each rank should have, falling exponentially.

        t_i = trunc(maximum * imbalance_ratio^(-i / (C - 1)))

    Args:
        num_classes: C >= 1; a single class gets the maximum.
        imbalance_ratio: the first class's target over the last one's, at least 1.
        maximum: the target of the first class, at least the ratio.

    Returns:
        int64 [C], not increasing, at least 1.

    Raises:
        InputError: a parameter outside its range.

    Source: the law of CIFAR-LT (Cao et al., NeurIPS 2019).
    """
    if num_classes < 1:
        raise InputError(f"Long-tailed targets need at least one class, not {num_classes}.")
    if not 1 <= imbalance_ratio <= maximum <= _MOST:
        raise InputError(
            f"Exponential targets need 1 <= imbalance ratio <= maximum <= {_MOST}, so that the "
            f"last class keeps an image, not ratio {imbalance_ratio} and maximum {maximum}."
        )
    rank = np.arange(num_classes) / max(num_classes - 1, 1)
    # 800 * 100^-1 is 8, and the nearest floating-point product may be just below it.
    return np.floor(maximum * imbalance_ratio**-rank * (1 + 1e-12)).astype(np.int64)


def visit_order(labels: Labels) -> np.ndarray:
    """The order in which the classes get their images: the most co-occurring first.

        s_j = sum_i P(j | i) = sum_i M_ij / M_ii,  descending; ties by class index

    with M the co-occurrence counts. A class without positives adds nothing and comes last.

    Args:
        labels: int8 [N, C], dense or sparse.

    Returns:
        int64 [C], the class index at each rank.

    Raises:
        InputError: not a label matrix.

    Source: Wu et al., ECCV 2020, as in the authors' code; frequency plays no part.
    """
    check_labels(labels)
    together = cooccurrence(labels)
    counts = np.maximum(np.diag(together), 1)  # a row of zeros stays one
    score = (together / counts[:, None]).sum(axis=0)
    return np.argsort(-score, kind="stable").astype(np.int64)


def sample(labels: Labels, targets: np.ndarray, add: Uniform, remove: Uniform) -> np.ndarray:
    """Choose a long-tailed set of images, with draws bound to names instead of an order.

    The classes are visited once, in `visit_order`. With n the class's count among the images
    chosen so far and t its target,

        n < t: add the t - n images of the class outside the set with the smallest add(image, class)
        n > t: drop the n - t images of the class inside the set with the smallest remove(image,
               class)

    Every image carries all its labels, and no class is visited again, so that the final counts
    depart from the targets in both directions. A class with too few images gives all it has. The
    result is the same set of images for every order of the rows.

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
    chosen = np.zeros(labels.shape[0], bool)
    for label, target in visits:
        members = columns.indices[columns.indptr[label] : columns.indptr[label + 1]]
        inside = chosen[members]
        need = target - np.count_nonzero(inside)
        if need == 0:
            continue
        pool = members[inside != (need > 0)]
        numbers = (add if need > 0 else remove)(pool, np.full(len(pool), label))
        drawn = pool[np.argsort(numbers, kind="stable")[: abs(need)]]
        chosen[drawn] = need > 0
    return np.flatnonzero(chosen)


def sample_dbl(
    labels: Labels, targets: np.ndarray, python_sample: PythonSample, *, cap: bool
) -> np.ndarray:
    """Choose a long-tailed set of images exactly as the published generator does.

    The law is that of `sample` with CPython's sequential `random.sample` as the draw, and the
    published lists follow from the order in which CPython iterates sets of small integers. What
    must be kept for the same bits: rows in the source's order; per class one set of all its rows,
    built in ascending order, and one set of its chosen rows, which lives through the whole walk
    and is changed in place, row by row in the order drawn (`add`, `remove`); an addition draws
    from `tuple(all - chosen)`, a removal from `tuple(chosen)`.

    Args:
        labels: int8 [N, C], dense or sparse, rows in the order of the published source.
        targets: integers [C], the target at each rank of the order.
        python_sample: `random.Random(0).sample` for the published lists. The script that made
            them draws for VOC and then for COCO from one generator: pass the same one on.
        cap: whether a class with too few images gives all it has (COCO) or is an error (VOC).

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
    chosen: list[set[int]] = [set() for _ in members]
    for label, target in visits:
        need = target - len(chosen[label])
        if need > 0:
            pool = tuple(members[label] - chosen[label])
            if need > len(pool) and not cap:
                raise InputError(
                    f"Class {label} needs {need} more images for its target of {target}, and only "
                    f"{len(pool)} are left; lower the maximum, or cap targets at what is there."
                )
            drawn = python_sample(pool, min(need, len(pool)))
        else:
            drawn = python_sample(tuple(chosen[label]), -need)
        for row in drawn:
            for other in positive.indices[positive.indptr[row] : positive.indptr[row + 1]]:
                if need > 0:
                    chosen[other].add(row)
                else:
                    chosen[other].remove(row)
    return np.array(sorted(set().union(*chosen)), np.int64)


def achieved(labels: Labels, rows: np.ndarray) -> np.ndarray:
    """Number of positives per class that a choice of rows ends up with.

    Args:
        labels: int8 [N, C], dense or sparse.
        rows: row numbers.

    Returns:
        int64 [C].
    """
    return class_counts(take(labels, rows))


def by_class(labels: Labels, targets: np.ndarray) -> np.ndarray:
    """The target of each class, where `targets` are those of the ranks in `visit_order`.

    Args:
        labels: int8 [N, C], dense or sparse.
        targets: int64 [C], by rank.

    Returns:
        int64 [C], by class.
    """
    out = np.empty_like(targets)
    out[visit_order(labels)] = targets
    return out


def report(
    labels: Labels, rows: np.ndarray, targets: np.ndarray, class_names: Sequence[str]
) -> Report:
    """How a choice of images compares with its targets and with the set it was made from.

    A class can miss its target because too few images show it, or because images that a later
    class had to give up showed it too. The drift says how far the choice bends which classes
    appear together, with P(k | j) = M_jk / M_jj from the co-occurrence counts M:

        drift = mean over j != k of |P_chosen(k | j) - P_source(k | j)|

    over the classes j that have positives in both; 0 where there is no such pair.

    Args:
        labels: int8 [N, C], dense or sparse: what was chosen from.
        rows: the row numbers chosen.
        targets: integers [C], one per class (not per rank).
        class_names: C names.

    Returns:
        Plain JSON values: `classes` (name, target, achieved, available, in the order of the
        classes), `not_met` (the names of the classes that achieved less than their target) and
        `cooccurrence_drift`.
    """
    before, after = cooccurrence(labels), cooccurrence(take(labels, rows))
    available, got = np.diag(before), np.diag(after)
    both = (available > 0) & (got > 0)
    drift = np.abs(after[both] / got[both, None] - before[both] / available[both, None])
    pairs = int(both.sum()) * (len(got) - 1)  # P(j | j) is 1 before and after
    return Report(
        classes=[
            ClassReport(
                name=str(name),
                target=int(targets[c]),
                achieved=int(got[c]),
                available=int(available[c]),
            )
            for c, name in enumerate(class_names)
        ],
        not_met=[str(name) for c, name in enumerate(class_names) if got[c] < targets[c]],
        cooccurrence_drift=float(drift.sum() / pairs) if pairs else 0.0,
    )


def _visits(labels: Labels, targets: np.ndarray) -> list[tuple[int, int]]:
    """The (class, target) pairs in visiting order, after checking that they fit."""
    order = visit_order(labels)
    targets = np.asarray(targets)
    if targets.shape != order.shape or targets.dtype.kind not in "iu" or (targets < 0).any():
        raise InputError(
            f"Long-tailed targets must be {len(order)} integers >= 0, one per class, not "
            f"{targets.dtype} of shape {targets.shape}."
        )
    return list(zip(order.tolist(), targets.tolist(), strict=True))
