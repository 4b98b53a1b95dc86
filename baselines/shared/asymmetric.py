"""The asymmetric loss."""

from __future__ import annotations

import torch
from torch import Tensor

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

    The shift applies only to negatives, in the power and in the logarithm. The clamps have their
    exact gradients: zero for a negative with p < m and for an entry at `eps`. If both gammas and m
    are zero, this is binary cross-entropy.

    Args:
        logits: [B, C].
        positive: [B, C], 1 or true for positives, else 0.
        gamma_negative: g-, at least 0.
        gamma_positive: g+, at least 0.
        clip: m, the probability margin, in [0, 1).
        eps: lower bound of a probability inside the logarithm.
        focal_gradient: whether the powers are differentiated; otherwise they are constant weights.
        reduction: "sum" over all B*C entries (the authors' code), "mean" over them, or "none" for
            [B, C].

    Returns:
        A scalar, or [B, C].

    Raises:
        ValueError: an unknown `reduction`.

    Source: Ridnik et al., Asymmetric Loss, ICCV 2021. The authors' code has two classes that are
    documented as equal: `AsymmetricLoss` holds the powers constant by default,
    `AsymmetricLossOptimized` differentiates them. Their COCO training uses the first.
    """
    target = positive.to(logits.dtype)
    probability, complement = torch.sigmoid(logits), torch.sigmoid(-logits)
    kept = (complement + clip).clamp(max=1.0)  # 1 - p_m
    # The lower bound keeps the gradient finite at zero for exponents below one.
    tiny = torch.finfo(logits.dtype).tiny
    weight_positive = complement.clamp(min=tiny) ** gamma_positive
    weight_negative = (1.0 - kept).clamp(min=tiny) ** gamma_negative
    if not focal_gradient:
        weight_positive, weight_negative = weight_positive.detach(), weight_negative.detach()
    loss_positive = -weight_positive * torch.log(probability.clamp(min=eps))
    loss_negative = -weight_negative * torch.log(kept.clamp(min=eps))
    return reduced(target * loss_positive + (1.0 - target) * loss_negative, reduction)
