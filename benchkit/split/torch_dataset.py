"""One part of a split as a torch `Dataset`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from benchkit.base.errors import BenchkitError
from splits import labels as matrices

if TYPE_CHECKING:
    from benchkit.split.model import Part


class SplitDataset(Dataset[tuple[Tensor, Tensor, int]]):
    """Items are (features, labels, row); see `benchkit.split.model.Split.dataset`.

    Args:
        part: the images.
        labels: "observed" or "true".
        view: the view of each image, or None for all views.

    Raises:
        BenchkitError: no such view or labels, or no features.
    """

    def __init__(self, part: Part, labels: str, view: int | None) -> None:
        if part.features is None:
            raise BenchkitError(
                "the split has no features; make it with a --backbone, or from a source with "
                "features"
            )
        views = part.features.shape[1]
        if view is not None and not 0 <= view < views:
            raise BenchkitError(f"there is no view {view}; the split has {views}")
        self._features = part.features
        self._labels = part.labels(labels)
        self._view: int | slice = slice(None) if view is None else view

    def __len__(self) -> int:
        return len(self._features)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor, int]:
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        row %= len(self)
        # A sparse matrix may be too large to be dense, so each row is expanded on its own.
        labels = matrices.dense(matrices.take(self._labels, np.array([row])))[0]
        features = self._features[row, self._view].astype(np.float32)
        return torch.from_numpy(features), torch.from_numpy(labels), row
