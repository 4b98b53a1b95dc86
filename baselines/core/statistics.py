"""Statistics of the observed labels that losses and heads use."""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.core.labels import LabelTable


def class_counts(labels: LabelTable | Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Observed positives per class, n_c = #{i : s_ic = 1}: [N, C] -> [C]."""
    return LabelTable.of(labels).count(1).to(dtype)


def cooccurrence(
    labels: LabelTable | Tensor, *codes: int, dtype: torch.dtype = torch.float32
) -> Tensor:
    """M_ij: the number of images whose labels of i and j are both among `codes`; M_ii = n_i.

    Args:
        labels: [N, C].
        codes: label codes; positives by default.
        dtype: of the result; float32 is exact for up to 2^24 images.

    Returns:
        [C, C].
    """
    table = LabelTable.of(labels)
    total = torch.zeros(table.shape[1], table.shape[1], dtype=dtype, device=table.device)
    for block in table.blocks():
        among = torch.isin(block, torch.tensor(codes or (1,), device=block.device)).to(dtype)
        total += among.T @ among
    return total
