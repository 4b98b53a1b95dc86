"""ROLE: labels estimated by one trainable number per image and class, beside the classifier.

Classifier and estimator teach each other through cross-entropies in which the other's prediction
is a constant, and both are held to the expected number of positives per image. That number is
knowledge of the complete labels, so every run of this method is marked as oracle.
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

ESTIMATOR = "estimator.logits"
GUARD = 1e-5


def guarded_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy with the authors' additive guard, entry by entry.

        y nl(p) + (1 - y) nl(1 - p),   nl(a) = -log(a + 1e-5),   p = sigmoid(z)

    Both logarithms are taken of the smaller of p and 1 - p: of a + 1e-5 next to one, float32 keeps
    two digits of what the loss needs.

    Args:
        logits: [B, C].
        target: floating [B, C] in [0, 1].

    Returns:
        [B, C].
    """
    likely, other = logits > 0, 1.0 - target
    smaller = torch.sigmoid(torch.where(likely, -logits, logits))
    of_larger = torch.where(likely, target, other) * torch.log1p(GUARD - smaller)
    of_smaller = torch.where(likely, other, target) * torch.log(smaller + GUARD)
    return -of_larger - of_smaller


def taught_cross_entropy(logits: Tensor, teacher: Tensor) -> Tensor:
    """`guarded_cross_entropy` against the probabilities of other logits, entry by entry.

        q nl(p) + (1 - q) nl(1 - p),   p = sigmoid(logits),   q = sigmoid(teacher)

    Where q is above one half both sides change their signs, because 1 - q has no digits next to
    q = 1.

    Args:
        logits: [B, C].
        teacher: [B, C], logits too; detach them to keep q constant.

    Returns:
        [B, C].
    """
    sure = teacher > 0
    turned = torch.where(sure, -logits, logits)
    return guarded_cross_entropy(turned, torch.sigmoid(torch.where(sure, -teacher, teacher)))


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

    Observed positives (z = 1) stand in the cross terms as well. The second line couples the images
    of a batch.

    Args:
        logits: [B, C], the classifier's.
        estimator_logits: [B, C], the estimator's rows of the batch.
        positive: [B, C], 1 or true where a label is observed positive, else 0.
        expected_positives: k, true positives per image to be expected.

    Returns:
        A scalar, differentiable in both kinds of logits.

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
        "true positives per image to be expected; 0 takes the mean of the complete labels. "
        "Oracle knowledge either way",
        search=(1.0, 8.0),
        paper={"voc": 1.5, "coco": 2.9, "nus": 1.9, "cub": 31.4},
        low=0.0,
    )


class ROLE(Method):
    """Regularised online label estimation; every label has a trainable estimate.

    Meant where some labels are unknown; complete labels and candidates leave nothing to estimate.
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
        needs=("trainable labels per image", "expected positives per image"),
        differs="The authors' data have observed positives only. An observed negative starts the "
        "estimate at 0.005, as their initialisation provides for, and enters the loss in no other "
        "way. Their Adam is dense: estimates of images outside the batch keep moving through the "
        "first moment, and so they do here under the recipe's optimiser.",
        version="2",
        source="authors' code",
        reference="elijahcole/single-positive-multi-label@89152d5, losses.py: loss_role, and four "
        "steps of its dense Adam",
        tolerance="1e-9; step 1e-5 in float32",
        evidence=(
            "tests/baselines/test_role.py::test_equals_the_authors_code",
            "tests/baselines/test_role.py::test_estimator_moves_under_dense_adam",
            "tests/baselines/test_fuzz_partial_labels.py::test_every_step_equals_the_equations",
            "tests/baselines/test_role.py::test_estimator_learns_faster_and_does_not_decay",
        ),
    )
    Hyper = Hyper

    def oracle(self) -> tuple[str, ...]:
        """The expected number of positives, also where the user gives it as a number."""
        return ("expected_positives",)

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """The head, the estimator [N, C] and k.

        Unknown labels start uniform in logit within [0.4, 0.6], observed ones at 0.995 and 0.005.
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
        """The estimator learns ten times as fast as the network and does not decay."""
        return {"estimator": Rate(multiplier=10.0, decay=False)}

    def step(self, run: Run, batch: Batch, clock: Clock, draw: Draw) -> Step:
        """The equation of `role_loss` on the batch and its rows of the estimator."""
        logits = self.logits(run, batch.features)
        estimate = run.params[ESTIMATOR][batch.rows]
        known = positives(batch.observed, logits.dtype)
        expected = run.constants["expected_positives"].to(logits.dtype)
        loss = role_loss(logits, estimate, known, expected)
        return Step(loss, corrected=(batch.observed == -1) & (estimate > 0))
