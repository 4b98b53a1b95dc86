"""APAF: focal exponents that follow the mean probabilities of each class in the batch.

Within each class, the better predicted of positives and negatives gets the larger exponent, so that
the other one catches up.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.core import Batch, Clock, Draw, MethodInfo, Problem, Run, Setup, positives
from baselines.core.losses import reduced
from baselines.shared.class_aware import Counting, CountsHyper, Resampled, SamplerHyper
from baselines.shared.probability_ratio import RatioHyper, probability_ratio
from baselines.shared.probability_ratio import mean_probabilities as mean_probabilities
from baselines.shared.rebalancing import ThresholdHyper, shot_groups


def adaptive_focal_loss(
    logits: Tensor,
    target: Tensor,
    shot: Tensor,
    *,
    gamma: float | Tensor = 2.0,
    negative_probability: str = "complement",
    limit: float | Tensor = 1e12,
    reduction: str = "mean",
) -> Tensor:
    """Adaptive probability-aware focal loss.

        lambda+ = gamma p+ / p-,   lambda- = gamma p- / p+            without gradient
        y = 1:  -(1 - p)^lambda+ log p
        y = 0:  -p^lambda- log(1 - p),   p = sigmoid(z)

    p+ and p- are the means of `probability_ratio`, per class and batch. If they are equal, this is
    the focal loss with exponent gamma.

    Args:
        logits: [B, C].
        target: [B, C], 0 or 1.
        shot: int64 [C], the shot group of each class, see `baselines.shared.rebalancing`.
        gamma: lambda0, the exponent at equal means.
        negative_probability: see `probability_ratio`.
        limit: see `probability_ratio`.
        reduction: "mean" over all B*C entries, "sum", or "none" for [B, C].

    Returns:
        A scalar, or [B, C].

    Raises:
        ValueError: an unknown `negative_probability` or `reduction`.

    Source: Lin, Probability Guided Loss, AAAI 2023, equations 6 to 9. Equation 9 lacks the minus
    signs of equation 4. No code was published.
    """
    target = target.to(logits.dtype)
    ratio = probability_ratio(
        logits, logits, target, shot, negative_probability=negative_probability, limit=limit
    )
    log_positive, log_negative = F.logsigmoid(logits), F.logsigmoid(-logits)
    # Powers are taken of logarithms: exact near 1, with finite value and gradient everywhere.
    positive = -torch.exp(gamma / ratio * log_negative) * log_positive
    negative = -torch.exp(gamma * ratio * log_positive) * log_negative
    return reduced(target * positive + (1.0 - target) * negative, reduction)


@dataclass(frozen=True)
class Hyper(SamplerHyper, CountsHyper, ThresholdHyper, RatioHyper):
    """Hyperparameters of APAF."""


class APAF(Counting, Resampled):
    """Adaptive probability-aware focal loss, class-aware rows; unknown counts as negative."""

    info = MethodInfo(
        key="apaf",
        title="APAF",
        paper="Lin, Probability Guided Loss for Long-Tailed Multi-Label Image Classification, "
        "AAAI 2023",
        year=2023,
        equation="p+ = mean of p over a class's positives in the batch, p- = mean of 1-p over its "
        "negatives;\nlambda+ = gamma p+/p-, lambda- = gamma p-/p+, constants;\n"
        "L = -mean_{b,c} [ y (1-p)^lambda+ log p + (1-y) p^lambda- log(1-p) ],  unknown -> y = 0",
        unknown="negative",
        needs=("class counts", "class-aware sampling"),
        family="long-tailed",
        summary="focal exponents from the batch's mean probabilities",
    )
    Hyper = Hyper

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """Create the head, the class counts and the shot group of each class."""
        setup = super().setup(problem, draw)
        counts = setup.constants["class_counts"]
        setup.constants["shot"] = shot_groups(counts, self.hyper.many, self.hyper.few)
        return setup

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Apply `adaptive_focal_loss` to the batch."""
        return adaptive_focal_loss(
            logits,
            positives(batch.observed, logits.dtype),
            run.constants["shot"],
            gamma=self.hyper.gamma,
            negative_probability=self.hyper.negative_probability,
            limit=self.hyper.limit,
        )
