"""Unbiased risk from candidates: the clean cross-entropy in expectation, plain or non-negative.

Losses of candidates and non-candidates are recombined so that their expectation over the candidate
law is the loss of the true labels. The plain form has terms without a lower bound; the non-negative
form keeps the estimated risk of each class's positives from falling below zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from baselines.bce_candidates import REGIMES
from baselines.candidate_parts.labels import candidates_of
from baselines.cc_pml import Rated, RateHyper
from baselines.core import Batch, Clock, Draw, MethodInfo, Run, hyper


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

    The first part estimates the risk of the true positives, which cannot be negative; where it is,
    it is zero and has no gradient. Where no maximum acts, the mean over classes is that of
    `unbiased_terms`.

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
        "keep the risk of each class's positives at or above zero, or not",
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
        differs="Only the abstract of the paper was read; the estimator is the textbook one for "
        "negatives that flip at rate rho. The maximum is taken per class and batch.",
        source="equations",
        reference="the textbook estimator, unbiased for negatives that flip at rate rho; of "
        "arXiv:2105.07338 the abstract",
        tolerance="1e-9; step 1e-5 in float32",
        evidence=(
            "tests/baselines/test_candidates_losses.py::test_unbiased_negatives_equal_the_vectors",
            "tests/baselines/test_candidates_losses.py::test_unbiased_risk",
            "tests/baselines/test_candidates_losses.py::test_unbiased_in_expectation",
            "tests/baselines/test_candidates_losses.py::test_non_negative_risk",
            "tests/baselines/test_candidates_losses.py::test_unbiased_method_is_the_mean_at_the_estimated_rate",
        ),
    )
    Hyper = Hyper

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """The mean of `non_negative_risk` over classes, or of `unbiased_terms`."""
        candidates = candidates_of(batch.observed).to(logits.dtype)
        rule = unbiased_terms if self.hyper.form == "plain" else non_negative_risk
        return rule(logits, candidates, run.constants["noise_rate"]).mean()
