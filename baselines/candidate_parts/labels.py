"""Candidates, how frequent they are, and the class counts behind them."""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.core import LabelTable

CANDIDATE = (1, -1)  # the codes of a candidate


def candidates_of(observed: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """s: whatever is not known to be negative, [B, K].

    In the candidates regime these are the 1s. Under PAL(r) an unknown label is one too, and that is
    the candidate law itself: positives always stay in, negatives with probability rho = 1 - r.
    """
    return (observed != 0).to(dtype)


def candidate_frequency(labels: LabelTable | Tensor) -> Tensor:
    """c_k = #{i : s_ik = 1} / N: [N, K] -> float64 [K]."""
    table = LabelTable.of(labels)
    return table.count(*CANDIDATE).double() / len(table)


def invert_prior(
    labels: LabelTable | Tensor,
    noise_rate: float | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Class counts from candidates: n_k = N (c_k - r) / (1 - r), at least 1.

    The difference is taken in float64: in float32 it cancels where it matters, in the tail.

    Args:
        labels: [N, K]; c_k is the candidates' frequency in column k.
        noise_rate: r; None takes min_k c_k, since a rare class has hardly any but false candidates.
        dtype: of the result.

    Returns:
        [K].
    """
    frequency = candidate_frequency(labels)
    rate = frequency.min() if noise_rate is None else frequency.new_tensor(float(noise_rate))
    inverted = (frequency - rate) / (1.0 - rate).clamp(min=torch.finfo(frequency.dtype).eps)
    return (labels.shape[0] * inverted).clamp(min=1.0).to(dtype)
