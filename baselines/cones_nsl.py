"""CoNeS without its image part: a slow bank, label correlation, suppressed negatives.

The label correlation comes from the candidates and is constant. The original updates it from class
activation maps, which have no counterpart for frozen features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.core import (
    Batch,
    Clock,
    Draw,
    LabelTable,
    Method,
    MethodInfo,
    Problem,
    Run,
    Setup,
    Step,
    hyper,
)
from baselines.core.losses import bce_terms
from baselines.core.statistics import cooccurrence
from baselines.shared.binary_cross_entropy import bce
from baselines.shared.candidate_bank import initial_bank, pseudo_labels
from baselines.shared.candidate_labels import CANDIDATE, REGIMES, candidates_of, corrections


def label_correlation(labels: LabelTable | Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Co-occurrence of candidates with normalised rows.

        C_ij = P(s_j | s_i) / sum_{l != i} P(s_l | s_i)  for i != j,   C_ii = 1

    Args:
        labels: [N, C].
        dtype: of the result.

    Returns:
        [C, C]; the row of a class without candidates is zero off the diagonal.
    """
    together = cooccurrence(labels, *CANDIDATE, dtype=dtype)
    together.fill_diagonal_(0.0)
    rows = together / together.sum(1, keepdim=True).clamp(min=1.0)
    return rows.fill_diagonal_(1.0)


def update_confidence(
    rows: Tensor, logits: Tensor, candidates: Tensor, correlation: Tensor, rate: float | Tensor
) -> Tensor:
    """Q <- (1 - rate) Q + rate norm((sigmoid(z) C) s), row by row.

    Args:
        rows: Q of the batch, [B, C].
        logits: z [B, C].
        candidates: s [B, C], 0 or 1; the row of an image without candidates stays zero.
        correlation: C [C, C].
        rate: step size of the bank.

    Returns:
        [B, C].
    """
    spread = (torch.sigmoid(logits) @ correlation) * candidates
    tiny = torch.finfo(spread.dtype).tiny
    return (1.0 - rate) * rows + rate * spread / spread.sum(1, keepdim=True).clamp(min=tiny)


def suppression(logits: Tensor, candidates: Tensor, exponent: float | Tensor) -> Tensor:
    """The weight of each label in the second loss: 1 for candidates, less for negatives.

        a_k = g_k^{1/(r-1)} / ((C - |S|) (sum_{j not in S} g_j)^{1/(r-1)}),
        g = 1 / (r l0 + 1e-8),   l0 = -log(1 - p)

    Hard negatives weigh less. The quotient is computed from logarithms, because g reaches 1e8.

    Args:
        logits: z [B, C].
        candidates: s [B, C], 0 or 1.
        exponent: r, above 1.

    Returns:
        [B, C], without gradient.
    """
    logits = logits.detach()
    outside = candidates == 0
    log_g = -torch.log(exponent * -F.logsigmoid(-logits) + 1e-8)
    lowest = torch.finfo(log_g.dtype).min
    total = torch.logsumexp(log_g.masked_fill(~outside, lowest), 1, keepdim=True)
    share = torch.exp(torch.where(outside, log_g - total, 0.0) / (exponent - 1.0))
    return torch.where(outside, share / outside.sum(1, keepdim=True).clamp(min=1), 1.0)


def believed(rows: Tensor, candidates: Tensor) -> Tensor:
    """t_ik = 1[Q_ik > 1/|S_i|], bool [B, C]; false for a candidate at its initial value."""
    even = 1.0 / candidates.to(rows.dtype).sum(1, keepdim=True).clamp(min=1.0)
    return pseudo_labels(rows, even)


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters of CoNeS-NSL."""

    bank_rate: float = hyper(0.01, "step size of the bank", search=(0.005, 0.2), low=0.0, high=1.0)
    weight: float = hyper(0.1, "weight of the loss on believed labels", search=(0.05, 1.0), low=0.0)
    exponent: float = hyper(
        3.0,
        "r, which determines how strongly hard negatives are suppressed",
        search=(1.5, 4.0),
        paper={"voc": 3.0, "coco": 2.0},
        low=1.1,
    )


class ConesNSL(Method):
    """CoNeS's negative suppression without class activation maps [from public code, reduced]."""

    info = MethodInfo(
        key="cones-nsl",
        title="CoNeS-NSL",
        paper="Zhong et al., Correlation-Induced Negative Suppression Disambiguation Loss for "
        "Partial Multi-label Image Classification, TCSVT 2025",
        year=2025,
        equation="Q <- 0.99 Q + 0.01 norm((sigmoid(z) C) s), Q_0 = s/|S|;  t = 1[Q > 1/|S|];\n"
        "L = mean BCE(z, s) + 0.1 mean a BCE(z, t);  a = 1 on candidates, else\n"
        "a_k = g_k^{1/(r-1)} / ((K-|S|) (sum_{j not in S} g_j)^{1/(r-1)}),  "
        "g = 1/(-r log(1-p) + 1e-8);  s = 0 only for known negatives",
        unknown="estimated",
        regimes=REGIMES,
        needs=("memory per image", "label correlation"),
        family="candidates",
        summary="suppression of negatives, labels spread by their correlation",
    )
    Hyper = Hyper

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """Create the head, the bank [N, C] and the label correlation [C, C]."""
        setup = super().setup(problem, draw)
        setup.memory["bank"] = initial_bank(problem.observed)
        setup.constants["correlation"] = label_correlation(problem.labels)
        return setup

    def step(self, run: Run, batch: Batch, clock: Clock, draw: Draw) -> Step:
        """Update the bank, take the believed candidates from it, and add both losses."""
        logits = self.logits(run, batch.features)
        candidates = candidates_of(batch.observed)
        rows = update_confidence(
            run.memory["bank"][batch.rows],
            logits.detach(),
            candidates,
            run.constants["correlation"],
            self.hyper.bank_rate,
        )
        target = believed(rows, candidates).to(logits.dtype)
        weights = suppression(logits, candidates, self.hyper.exponent)
        second = (weights * bce_terms(logits, target)).mean()
        loss = bce(logits, candidates.to(logits.dtype)) + self.hyper.weight * second
        return Step(loss, memory={"bank": rows}, corrected=corrections(batch.observed, target))
