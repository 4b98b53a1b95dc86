"""ASL: separate focal factors for positives and negatives, and a shift that drops easy negatives.

Negatives whose probability is below the margin contribute nothing at all; the others are weighted
by a power of the shifted probability. The loss knows no unknown label: unknown counts as negative,
and the strong factor on negatives is what makes a missed positive bearable.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.core import Batch, Clock, Draw, Method, MethodInfo, Run, hyper, positives
from baselines.core.losses import reduced


def asymmetric_loss(
    logits: Tensor,
    positive: Tensor,
    *,
    gamma_negative: float | Tensor,
    gamma_positive: float | Tensor,
    clip: float | Tensor,
    eps: float = 1e-8,
    focal_gradient: bool = False,
    reduction: str = "sum",
) -> Tensor:
    """Asymmetric loss.

        p = sigmoid(z),   p_m = max(p - m, 0)
        y = 1:  -(1 - p)^g+ log max(p, eps)
        y = 0:  -p_m^g- log max(1 - p_m, eps)

    The shift concerns negatives only, in the power as well as in the logarithm. Gradients are those
    of the clamps as written: exactly zero for a negative with p < m and for an entry at `eps`.
    With both gammas and m at zero it is binary cross-entropy.

    Args:
        logits: [B, C].
        positive: [B, C], 1 or true for positives, 0 for everything else.
        gamma_negative: g-, at least 0.
        gamma_positive: g+, at least 0.
        clip: m, the probability margin, in [0, 1).
        eps: floor of a probability inside the logarithm.
        focal_gradient: whether the powers carry gradient; otherwise they are constant weights.
        reduction: "sum" over all B*C entries (the authors' code), "mean" over them, or "none" for
            [B, C].

    Returns:
        A scalar, or [B, C].

    Raises:
        ValueError: an unknown `reduction`.

    Source: Ridnik et al., Asymmetric Loss, ICCV 2021. Of the authors' two classes `AsymmetricLoss`
    takes the powers as constants by default and `AsymmetricLossOptimized` differentiates them,
    although they are documented as equal; their COCO training uses the former.
    """
    target = positive.to(logits.dtype)
    probability, complement = torch.sigmoid(logits), torch.sigmoid(-logits)
    kept = (complement + clip).clamp(max=1.0)  # 1 - p_m
    # The floor keeps the gradient of a power below one finite at zero.
    tiny = torch.finfo(logits.dtype).tiny
    weight_positive = complement.clamp(min=tiny) ** gamma_positive
    weight_negative = (1.0 - kept).clamp(min=tiny) ** gamma_negative
    if not focal_gradient:
        weight_positive, weight_negative = weight_positive.detach(), weight_negative.detach()
    loss_positive = -weight_positive * torch.log(probability.clamp(min=eps))
    loss_negative = -weight_negative * torch.log(kept.clamp(min=eps))
    return reduced(target * loss_positive + (1.0 - target) * loss_negative, reduction)


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters of ASL; the defaults are those of the authors' COCO training."""

    gamma_negative: float = hyper(
        4.0, "focal exponent of negatives", search=(0.0, 6.0), paper={"coco": 4.0}, low=0.0
    )
    gamma_positive: float = hyper(
        0.0,
        "focal exponent of positives; 1 in the constructor of the authors' code",
        search=(0.0, 2.0),
        paper={"coco": 0.0},
        low=0.0,
    )
    clip: float = hyper(
        0.05,
        "probability margin below which a negative is dropped",
        search=(0.0, 0.2),
        paper={"coco": 0.05},
        low=0.0,
        high=1.0,
    )
    focal_gradient: bool = hyper(False, "differentiate the focal factors")


class ASL(Method):
    """Asymmetric loss; unknown labels count as negative."""

    info = MethodInfo(
        key="asl",
        title="ASL",
        paper="Ridnik et al., Asymmetric Loss For Multi-Label Classification, ICCV 2021",
        year=2021,
        equation="p_m = max(p - m, 0);\n"
        "L = -mean_{b,c} [ y (1-p)^g+ log max(p, 1e-8) + (1-y) p_m^g- log max(1-p_m, 1e-8) ],\n"
        "powers held constant,  unknown -> y = 0",
        unknown="negative",
        differs="The authors' code sums over batch and classes; here the sum is divided by B*C, so "
        "that one learning rate serves all methods. Their class has g+ = 1 by default and their "
        "training passes 0, the default here. They hold the powers constant in training "
        "(focal_gradient=false), but differentiate them in the class documented as its equal.",
        source="authors' code",
        reference="Alibaba-MIIL/ASL@8c9e0bd, losses.py: AsymmetricLoss; wannature/COMIC@1de14e5, "
        "loss/AsymmetricLoss.py",
        tolerance="1e-9; step 1e-6 in float32",
        evidence=(
            "tests/baselines/test_asl.py::test_equals_the_authors_code",
            "tests/baselines/test_asl.py::test_numpy_reference",
            "tests/baselines/test_asl.py::test_method_is_the_mean_and_takes_unknown_as_negative",
        ),
    )
    Hyper = Hyper

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """The equation of `asymmetric_loss`, its sum divided by B*C."""
        return asymmetric_loss(
            logits,
            positives(batch.observed, logits.dtype),
            gamma_negative=self.hyper.gamma_negative,
            gamma_positive=self.hyper.gamma_positive,
            clip=self.hyper.clip,
            focal_gradient=self.hyper.focal_gradient,
            reduction="mean",
        )
