"""ROLE: a classifier, and an estimate of every label as a trained parameter.

Classifier and estimator learn from each other through cross-entropies in which the prediction of
the other is constant. Both are regularised towards the expected number of positives per image. That
number comes from the complete labels, so every run of this method is marked as oracle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.core import (
    Batch,
    Clock,
    Draw,
    Method,
    MethodInfo,
    Problem,
    Rate,
    Run,
    Setup,
    Step,
    hyper,
    positives,
)
from baselines.shared.guarded import guarded_cross_entropy, taught_cross_entropy

ESTIMATOR = "estimator.logits"


def role_loss(
    logits: Tensor,
    estimator_logits: Tensor,
    positive: Tensor,
    expected_positives: float | Tensor,
) -> Tensor:
    """Regularised online label estimation.

        L = 1/2 mean[ z (nl(p) + nl(q)) + H(sg q, p) + H(sg p, q) ]
          + 1/2 [ ((mean_i sum_c p - k) / C)^2 + ((mean_i sum_c q - k) / C)^2 ]

        H(t, a) = t nl(a) + (1 - t) nl(1 - a),   nl(a) = -log(a + 1e-5)
        p = sigmoid(logits),   q = sigmoid(estimator_logits),   sg: no gradient

    Observed positives (z = 1) also contribute to the cross terms H. The second line couples the
    images of a batch.

    Args:
        logits: [B, C], of the classifier.
        estimator_logits: [B, C], the rows of the estimator for the batch.
        positive: [B, C], 1 or true where a label is observed positive, else 0.
        expected_positives: k, the expected number of true positives per image.

    Returns:
        A scalar, differentiable with respect to both logits.

    Source: Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021, with the guard
    1e-5 of the authors' code.
    """
    observed = positive.to(logits.dtype)

    def side(own: Tensor, other: Tensor) -> Tensor:
        known = observed * guarded_cross_entropy(own, observed)
        taught = taught_cross_entropy(own, other.detach())
        excess = (torch.sigmoid(own).sum(1).mean() - expected_positives) / own.shape[1]
        return (known + taught).mean() + excess**2

    return 0.5 * (side(logits, estimator_logits) + side(estimator_logits, logits))


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters of ROLE."""

    expected_positives: float = hyper(
        0.0,
        "expected true positives per image; 0 uses the mean of the complete labels. Marked as "
        "oracle in both cases",
        search=(1.0, 8.0),
        paper={"voc": 1.5, "coco": 2.9, "nus": 1.9, "cub": 31.4},
        low=0.0,
    )


class ROLE(Method):
    """Regularised online label estimation; every label has a trainable estimate.

    Intended for partial labels; with complete labels or candidates there is nothing to estimate.
    """

    info = MethodInfo(
        key="role",
        title="ROLE",
        paper="Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021",
        year=2021,
        equation="L = 1/2 mean[ z (nl(p) + nl(q)) + H(sg q, p) + H(sg p, q) ]\n"
        "  + 1/2 [ ((mean_i sum_c p - k)/C)^2 + ((mean_i sum_c q - k)/C)^2 ],\n"
        "q = sigmoid(theta_i), trained per image;  H(t,a) = t nl(a) + (1-t) nl(1-a),  "
        "nl(a) = -log(a + 1e-5);  z = 1 on observed positives",
        unknown="estimated",
        regimes=("pal", "ppl", "spl", "missing"),
        needs=("one trained parameter per image and class",),
        version="2",
        oracle=("expected_positives",),
        family="partial",
        summary="online estimation of unknown labels",
    )
    Hyper = Hyper

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """Create the head, the estimator [N, C] and k.

        The estimates of unknown labels start uniform in logit within [0.4, 0.6], those of observed
        labels at 0.995 and 0.005.
        """
        setup = super().setup(problem, draw)
        observed = problem.observed
        spread = math.log(0.6 / 0.4)
        sure = math.log(0.995 / 0.005)
        estimate = (draw.uniform(ESTIMATOR, *observed.shape) * 2.0 - 1.0) * spread
        estimate = torch.where(observed == 1, sure, estimate)
        setup.params[ESTIMATOR] = torch.where(observed == 0, -sure, estimate)
        expected = self.hyper.expected_positives or problem.oracle["expected_positives"]
        setup.constants["expected_positives"] = torch.tensor(float(expected), dtype=torch.float64)
        return setup

    def rates(self) -> dict[str, Rate]:
        """The estimator has ten times the learning rate and no weight decay."""
        return {"estimator": Rate(multiplier=10.0, decay=0.0)}

    def step(self, run: Run, batch: Batch, clock: Clock, draw: Draw) -> Step:
        """Apply `role_loss` to the batch and its rows of the estimator."""
        logits = self.logits(run, batch.features)
        estimate = run.params[ESTIMATOR][batch.rows]
        known = positives(batch.observed, logits.dtype)
        expected = run.constants["expected_positives"].to(logits.dtype)
        loss = role_loss(logits, estimate, known, expected)
        return Step(loss, corrected=(batch.observed == -1) & (estimate > 0))
