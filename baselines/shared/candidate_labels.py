"""Candidates, their frequency, and the class counts estimated from them.

The methods for candidates are not meant for PAL labels: they would take a known positive for a mere
candidate, and most labels would be candidates. `docs/method_studies.md` has the figures.
"""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.core import LabelTable

REGIMES = ("candidates", "full")
CANDIDATE = (1, -1)  # the codes of a candidate


def candidates_of(observed: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The candidates s [B, K]: 1 for every label that is not known to be negative.

    In the candidates regime these are the labels 1. Under PAL(r) unknown labels are candidates too,
    with the same distribution: positives are always candidates, negatives with probability
    rho = 1 - r.
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

    The difference is computed in float64, because in float32 it cancels in the tail.

    Args:
        labels: [N, K]; c_k is the frequency of candidates in column k.
        noise_rate: r; None for min_k c_k, because almost all candidates of a rare class are false.
        dtype: of the result.

    Returns:
        [K].
    """
    frequency = candidate_frequency(labels)
    rate = frequency.min() if noise_rate is None else frequency.new_tensor(float(noise_rate))
    inverted = (frequency - rate) / (1.0 - rate).clamp(min=torch.finfo(frequency.dtype).eps)
    return (labels.shape[0] * inverted).clamp(min=1.0).to(dtype)


def corrections(observed: Tensor, target: Tensor) -> Tensor:
    """The labels that a target contradicts: candidates below 1/2, unknown labels above.

    Args:
        observed: int8 [B, C].
        target: [B, C] in [0, 1].

    Returns:
        bool [B, C].
    """
    return torch.where(observed == 1, target < 0.5, (observed == -1) & (target > 0.5))
