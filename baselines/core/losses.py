"""Building blocks of losses: masks of label codes, stable binary cross-entropy terms.

Label codes are 1 positive (or candidate), 0 negative, -1 unknown. The published code bases use
other encodings; a method maps labels to its own only through these three masks.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def positives(observed: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """1 where a label is observed positive, else 0: the target that treats unknown as negative."""
    return (observed == 1).to(dtype)


def negatives(observed: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """1 where a label is observed negative, else 0."""
    return (observed == 0).to(dtype)


def unknowns(observed: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """1 where a label is not observed, else 0."""
    return (observed == -1).to(dtype)


def bce_terms(logits: Tensor, target: Tensor) -> Tensor:
    """-y log sigmoid(z) - (1 - y) log sigmoid(-z) for every entry, hard or soft targets.

    The shorter softplus(z) - y z cancels for confident positives: in float32 it is exactly 0 from
    z = 17 on.
    """
    return -target * F.logsigmoid(logits) - (1.0 - target) * F.logsigmoid(-logits)


def reduced(values: Tensor, reduction: str) -> Tensor:
    """The elements of a loss unchanged ("none"), or their "mean" or "sum" over all entries."""
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"reduction is '{reduction}'; it must be 'none', 'mean' or 'sum'")
    return values if reduction == "none" else getattr(values, reduction)()


def masked_mean(values: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """The mean of `values` where `mask` is 1; 0 where the mask is empty.

    Args:
        values: any shape; must be finite also where the mask is 0.
        mask: the same shape, 0 or 1.
        dim: the dimension to reduce; None for all.
    """
    if dim is None:
        return (values * mask).sum() / mask.sum().clamp(min=1.0)
    return (values * mask).sum(dim) / mask.sum(dim).clamp(min=1.0)
