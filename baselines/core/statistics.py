"""Statistics of a label matrix that losses and heads need, computed once from what is observed."""

from __future__ import annotations

import torch
from torch import Tensor


def class_counts(observed: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Observed positives per class, n_c = #{i : s_ic = 1}: [N, C] int8 -> [C]."""
    return (observed == 1).sum(0).to(dtype)


def cooccurrence(observed: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """M_ij = images in which i and j are both observed positive; diagonal n_i: -> [C, C]."""
    positive = (observed == 1).to(dtype)
    return positive.T @ positive
