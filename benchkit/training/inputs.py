"""The inputs of training: standardised features, label tables and the training set of a split."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines.core import LabelTable, Method, Oracle, Problem
from baselines.core import labels as label_tables
from baselines.core.heads import scaled_norm
from baselines.core.labels import CompressedTable
from benchkit.base.errors import BenchkitError
from benchkit.split.checks import is_finite
from benchkit.split.model import Split
from splits.labels import Labels, SparseLabels, dense

_BLOCK = 1 << 13  # rows standardised at a time


@dataclass(frozen=True)
class TrainingSet:
    """The data that all runs of one split share, on the device of training.

    Attributes:
        features: float32 [N, V, D], contiguous, V views per image; already standardised if the
            recipe says so.
        observed: observed labels [N, C]; a step makes the rows of its batch dense.
        true: true labels [N, C]. The trainer uses them to count corrections; methods reach them
            only as an oracle.
        regime: the kind of labels, one of `splits.regimes.KINDS`.
        shot: integers [C], the shot group of each class as a position in
            `splits.shots.SHOT_NAMES`.
        noise_rate: how often a negative is observed as positive (rho under candidates:rho) or
            unknown (1 - r under pal:r); None in the other regimes.
        class_embeddings: float [C, E] or None.
    """

    features: Tensor
    observed: LabelTable
    true: LabelTable
    regime: str
    shot: Tensor
    noise_rate: float | None = None
    class_embeddings: Tensor | None = None

    @property
    def num_views(self) -> int:
        """V."""
        return self.features.shape[1]

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.shot)

    def gather(self, rows: Tensor, views: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The features and observed labels of some images.

        Args:
            rows: int64 [...], positions in the training set.
            views: int64 of the same shape, the view of each image; None takes the first.

        Returns:
            float32 [..., D] and int8 [..., C].
        """
        # One long table [N * V, D] without a copy, because selecting whole rows of it is fastest.
        table = self.features.flatten(0, 1)
        positions = rows if self.num_views == 1 else rows * self.num_views
        positions = positions if views is None else positions + views
        features = table.index_select(0, positions.reshape(-1))
        observed = self.observed.rows(rows.reshape(-1))
        return features.reshape(*rows.shape, -1), observed.reshape(*rows.shape, -1)

    def problems(self, methods: Sequence[Method], epochs: int) -> list[Problem]:
        """The training set as each method may see it; `epochs` is the recipe's."""
        values = self.oracle_values()
        return [
            Problem(
                labels=self.observed,
                feature_dim=self.features.shape[-1],
                regime=self.regime,
                epochs=epochs,
                oracle=Oracle(values, method.oracle()),
                class_embeddings=self.class_embeddings,
            )
            for method in methods
        ]

    def oracle_values(self) -> dict[str, Any]:
        """The hidden truths that a method may declare, by their names in `Oracle.NAMES`."""
        counts = self.true.count(1).float()
        values: dict[str, Any] = {
            "true_labels": self.true,
            "true_counts": counts,
            "expected_positives": float(counts.sum() / len(self.true)),
        }
        if self.noise_rate is not None:
            values["noise_rate"] = self.noise_rate
        return values


def training_set(
    split: Split,
    features: np.ndarray,
    device: torch.device | str,
    embeddings: np.ndarray | None = None,
) -> TrainingSet:
    """The training part of a split, on a device.

    Args:
        split: the split.
        features: float32 [N, V, D], the training part of `standardised`.
        device: the device of training.
        embeddings: [C, E], one row per class, or None.
    """
    part, regime = split.parts["train"], split.regime
    assert part.observed is not None  # checked by `split.file.read`
    return TrainingSet(
        features=torch.from_numpy(features).to(device),
        observed=label_table(part.observed, device),
        true=label_table(part.true, device),
        regime=regime.kind,
        shot=torch.from_numpy(split.shot.astype(np.int64)).to(device),
        noise_rate=regime.noise_rate,
        class_embeddings=(
            None if embeddings is None else torch.from_numpy(embeddings).float().to(device)
        ),
    )


def label_table(labels: Labels, device: torch.device | str) -> LabelTable:
    """A label matrix as training reads it.

    Sparse labels stay compressed if the dense matrix would have more than `MOST_WHOLE` entries.
    """
    images, classes = labels.shape
    if not isinstance(labels, SparseLabels) or images * classes <= label_tables.MOST_WHOLE:
        return LabelTable.of(torch.from_numpy(dense(labels)).to(device))
    indptr, indices, values = (
        torch.from_numpy(part).to(device) for part in (labels.indptr, labels.indices, labels.values)
    )
    return CompressedTable((images, classes), indptr, indices, values, labels.fill)


# ----------------------------------------------------------------------------- features


def standardised(split: Split, on: bool, row_norm: float = 0.0) -> dict[str, np.ndarray]:
    """The features of every part, standardised and scaled by the training part.

        x' = (x - mean) / deviation
        x'' = x' row_norm sqrt(1024 / D) / sqrt(mean over rows of |x'|^2)

    with the mean and standard deviation of each feature over all training rows and views. A
    feature that is constant in the training part (deviation below 1e-12) is only centred.

    Args:
        split: the split.
        on: False leaves out the first step.
        row_norm: 0 leaves out the second step.

    Returns:
        Part name -> float32 [N, V, D], a copy.

    Raises:
        BenchkitError: the split has no features, or one that is not finite or that overflows.
    """
    features = {}
    for name, part in split.parts.items():
        if part.features is None:
            raise BenchkitError(
                f"the {name} part of split '{split.name}' has no features; make the split with "
                "--backbone, or from arrays with features X"
            )
        if not is_finite(part.features):
            raise BenchkitError(
                f"the {name} features of split '{split.name}' hold a value that is not finite; "
                "`benchkit verify` checks a split file"
            )
        features[name] = part.features.astype(np.float32)  # a copy, even of float32
    if on:
        _standardise(features, split)
    if row_norm:
        with _no_overflow(split):
            scale_rows(features, row_norm)
    return features


def _standardise(features: dict[str, np.ndarray], split: Split) -> None:
    train = features["train"]
    mean, deviation = moments(train.reshape(-1, train.shape[-1]))
    deviation[deviation < 1e-12] = 1.0
    for array in features.values():
        for start in range(0, len(array), _BLOCK):
            block = array[start : start + _BLOCK]
            with _no_overflow(split):
                block[...] = (block - mean) / deviation


@contextlib.contextmanager
def _no_overflow(split: Split) -> Iterator[None]:
    try:
        with np.errstate(over="raise"):
            yield
    except FloatingPointError:
        raise BenchkitError(
            f"split '{split.name}' has features that are too large after standardising; scale "
            "them, or train with --recipe standardise=off"
        ) from None


def scale_rows(features: Mapping[str, np.ndarray], row_norm: float) -> None:
    """Multiply all features, in place, by the factor that gives training rows their norm.

    Args:
        features: part name -> float32 [N, V, D].
        row_norm: see `Recipe.row_norm`.
    """
    train = features["train"]
    rows = train.reshape(-1, train.shape[-1])
    blocks = (rows[k : k + _BLOCK].astype(np.float64) for k in range(0, len(rows), _BLOCK))
    norm = math.sqrt(sum(float((block * block).sum()) for block in blocks) / len(rows))
    if norm > 0:  # otherwise all features are zero
        for array in features.values():
            array *= np.float32(scaled_norm(row_norm, rows.shape[-1]) / norm)


def moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean and standard deviation of each column, computed in blocks of rows.

    NumPy adds up columns row by row, so the result equals `rows.mean(0)` and `rows.std(0)` in
    float64 bit for bit, without their temporary arrays of N rows.

    Args:
        rows: [N, D].

    Returns:
        Two float64 arrays [D].
    """

    def column_mean(transform: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        total = np.zeros((1, rows.shape[1]))
        for start in range(0, len(rows), _BLOCK):
            block = transform(rows[start : start + _BLOCK].astype(np.float64))
            total = np.concatenate([total, block]).sum(0, keepdims=True)
        return np.asarray(total[0] / len(rows))

    mean = column_mean(lambda block: block)
    return mean, np.sqrt(column_mean(lambda block: (block - mean) ** 2))
