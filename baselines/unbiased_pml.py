"""Unbiased PML: a risk of candidates whose expectation is the risk of the true labels.

The losses of candidates and non-candidates are combined so that their expectation over the
distribution of candidates is the loss of the true labels. The plain form has terms without a lower
bound. The non-negative form keeps the estimated risk of the positives of each class above zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from baselines.core import Batch, Clock, Draw, MethodInfo, Run, hyper
from baselines.shared.candidate_labels import REGIMES, candidates_of
from baselines.shared.noise_rate import Rated, RateHyper


def unbiased_terms(logits: Tensor, candidates: Tensor, rho: Tensor | float) -> Tensor:
    """The plain unbiased loss, entry by entry.

        s = 1:  l1,     s = 0:  (l0 - rho l1) / (1 - rho),     l1 = -log p, l0 = -log(1 - p)

    E[. | y = 1] = l1 and E[. | y = 0] = rho l1 + (l0 - rho l1) = l0.

    Args:
        logits: z [B, C].
        candidates: s [B, C], 0 or 1.
        rho: in [0, 1).

    Returns:
        [B, C], unbounded below; with rho = 0 it is binary cross-entropy on s.

    Source: class-conditional multi-label noise, Xie and Huang, arXiv:2105.07338.
    """
    positive, negative = -F.logsigmoid(logits), -F.logsigmoid(-logits)
    corrected = (negative - rho * positive) / (1.0 - rho)
    return candidates * positive + (1.0 - candidates) * corrected


def non_negative_risk(logits: Tensor, candidates: Tensor, rho: Tensor | float) -> Tensor:
    """The non-negative form, per class over the batch.

        max(0, E[s l1] - rho/(1 - rho) E[(1 - s) l1]) + E[(1 - s) l0] / (1 - rho)

    The first part estimates the risk of the true positives, which cannot be negative; a negative
    estimate is replaced by zero, without gradient. If no estimate is negative, the mean over
    classes equals that of `unbiased_terms`.

    Args:
        logits: z [B, C].
        candidates: s [B, C], 0 or 1.
        rho: in [0, 1).

    Returns:
        [C].

    Source: the form of Kiryo et al., NeurIPS 2017, for the estimator above.
    """
    positive, negative = -F.logsigmoid(logits), -F.logsigmoid(-logits)
    outside = 1.0 - candidates
    wrong = (outside * positive).mean(0) * (rho / (1.0 - rho))
    true = ((candidates * positive).mean(0) - wrong).clamp(min=0.0)
    return true + (outside * negative).mean(0) / (1.0 - rho)


@dataclass(frozen=True)
class Hyper(RateHyper):
    """Hyperparameters of the unbiased risk."""

    form: str = hyper(
        "non-negative",
        "keep the risk of the positives of each class non-negative, or not",
        choices=("non-negative", "plain"),
    )


class UnbiasedPML(Rated):
    """Unbiased risk of the true labels from candidates, rho given or estimated [standard]."""

    info = MethodInfo(
        key="unbiased-pml",
        title="Unbiased PML",
        paper="Xie and Huang, CCMN: A General Framework for Learning with Class-Conditional "
        "Multi-Label Noise, arXiv:2105.07338, 2021; non-negative form after Kiryo et al., 2017",
        year=2021,
        equation="l1 = -log p, l0 = -log(1-p);  plain: L = mean[ s l1 + (1-s)(l0 - rho l1)/(1-rho)"
        " ];\nnon-negative: L = mean_c { max(0, E_b[s l1] - rho/(1-rho) E_b[(1-s) l1])\n"
        "  + E_b[(1-s) l0]/(1-rho) };  s = 0 only for known negatives",
        unknown="estimated",
        regimes=REGIMES,
        needs=("noise rate",),
        family="candidates",
        summary="an unbiased or non-negative estimate of the risk",
    )
    Hyper = Hyper

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Take the mean of `non_negative_risk` over classes, or of `unbiased_terms`."""
        candidates = candidates_of(batch.observed).to(logits.dtype)
        rule = unbiased_terms if self.hyper.form == "plain" else non_negative_risk
        return rule(logits, candidates, run.constants["noise_rate"]).mean()
