"""The focal loss."""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.core.losses import bce_terms, reduced

FORMS = ("resample", "focal-loss", "alpha")


def focal_weight(entropy: Tensor, gamma: float | Tensor, focal_gradient: bool = True) -> Tensor:
    """The focal factor (1 - p_t)^gamma, p_t = exp(-e), from the cross-entropy e of an entry.

    Args:
        entropy: any shape, at least 0.
        gamma: focal exponent, at least 0.
        focal_gradient: whether the factor is differentiated; otherwise it is a constant weight.

    Returns:
        The shape of `entropy`.
    """
    # The lower bound keeps the gradient of the power finite if the entropy underflows to zero.
    miss = (-torch.expm1(-entropy)).clamp(min=torch.finfo(entropy.dtype).tiny)
    weight = miss**gamma
    return weight if focal_gradient else weight.detach()


def focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    gamma: float | Tensor = 2.0,
    form: str = "resample",
    balance: float | Tensor = 2.0,
    alpha: float | Tensor = 0.25,
    focal_gradient: bool = True,
    weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Sigmoid focal loss.

        e = -y log p - (1 - y) log(1 - p),   p = sigmoid(z),   p_t = exp(-e)
        element = a w (1 - p_t)^gamma e

        a = balance                        form = "resample"
        a = alpha                          form = "focal-loss"
        a = alpha y + (1 - alpha)(1 - y)   form = "alpha"

    With gamma = 0 and a = 1 this is binary cross-entropy. The first two forms differ only in the
    constant.

    Args:
        logits: [B, C].
        target: [B, C] in [0, 1].
        gamma: focal exponent, at least 0.
        form: see above.
        balance: see above.
        alpha: see above.
        focal_gradient: whether (1 - p_t)^gamma is differentiated.
        weight: w, broadcast against [B, C]; it does not affect p_t. None for 1.
        reduction: "mean" over all B*C entries, "sum", or "none" for [B, C].

    Returns:
        A scalar, or [B, C].

    Raises:
        ValueError: an unknown `form` or `reduction`.

    Source: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, equation 5 ("alpha"); the
    DB-loss code has the other two. If a weight is given, its FocalLoss computes p_t from the
    weighted cross-entropy, a mistake that is not repeated here.
    """
    if form not in FORMS:
        raise ValueError(f"form is '{form}'; it must be one of {list(FORMS)}")
    target = target.to(logits.dtype)
    entropy = bce_terms(logits, target)
    element = focal_weight(entropy, gamma, focal_gradient) * entropy
    if weight is not None:
        element = weight * element
    if form == "alpha":
        element = (alpha * target + (1.0 - alpha) * (1.0 - target)) * element
    else:
        element = (balance if form == "resample" else alpha) * element
    return reduced(element, reduction)
