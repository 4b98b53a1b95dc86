"""The partial asymmetric loss, its weights per label, and its hyperparameters."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.core import hyper
from baselines.core.losses import reduced
from baselines.shared.asymmetric import asymmetric_loss

MODES = ("ignore", "ignore-normalised", "negative")


def partial_asymmetric_loss(
    logits: Tensor,
    observed: Tensor,
    weights: Tensor | float,
    *,
    gamma_positive: float | Tensor = 0.0,
    gamma_negative: float | Tensor = 1.0,
    gamma_unknown: float | Tensor = 2.0,
    alpha_positive: float | Tensor = 1.0,
    alpha_negative: float | Tensor = 1.0,
    alpha_unknown: float | Tensor = 1.0,
    clip: float | Tensor = 0.0,
    reduction: str = "sum",
) -> Tensor:
    """Partial asymmetric loss.

        p = sigmoid(x),   n = min(1 - p + m, 1)
        positive:  -W a+ (1 - p)^g+ log max(p, 1e-8)
        negative:  -W a- (1 - n)^g- log max(n, 1e-8)
        unknown:   -W au (1 - n)^gu log max(n, 1e-8)

    The powers are held constant.

    Args:
        logits: [B, C], x.
        observed: [B, C], 1 positive, 0 negative, -1 unknown.
        weights: W, [B, C] or a number; without gradient.
        gamma_positive: g+, at least 0.
        gamma_negative: g-.
        gamma_unknown: gu.
        alpha_positive: a+.
        alpha_negative: a-.
        alpha_unknown: au.
        clip: m, the probability margin of negative and unknown labels.
        reduction: "sum" over all B*C entries (the authors' code), "mean" over them, or "none" for
            [B, C].

    Returns:
        A scalar, or [B, C].

    Raises:
        ValueError: an unknown `reduction`.

    Source: Ben-Baruch et al., Multi-label Classification with Partial Annotations using Class-aware
    Selective Loss, CVPR 2022.
    """
    positive, unknown = observed == 1, observed == -1
    zero = torch.zeros_like(logits)  # the factors may be tensors, with one value per run
    terms = asymmetric_loss(
        logits,
        positive,
        gamma_negative=torch.where(unknown, zero + gamma_unknown, zero + gamma_negative),
        gamma_positive=gamma_positive,
        clip=clip,
        reduction="none",
    )
    of_negative = torch.where(unknown, zero + alpha_unknown, zero + alpha_negative)
    factor = torch.where(positive, zero + alpha_positive, of_negative)
    return reduced(weights * factor * terms, reduction)


def mode_weights(observed: Tensor, mode: str, dtype: torch.dtype = torch.float32) -> Tensor:
    """The weights W of the modes that do not depend on predictions.

        ignore:             1 on known labels, 0 on unknown ones
        ignore-normalised:  1 + 1 / (1 + number of known labels of the image), and 0
        negative:           1 everywhere

    Args:
        observed: [B, C], 1 positive, 0 negative, -1 unknown.
        mode: one of `MODES`.
        dtype: of the result.

    Returns:
        [B, C].

    Raises:
        ValueError: an unknown mode.

    Source: the authors' code, which calls the second mode ignore_normalize_classes and computes its
    weights in float32, whatever the dtype of the logits.
    """
    if mode not in MODES:
        raise ValueError(f"mode is '{mode}'; it must be one of {', '.join(MODES)}")
    known = (observed != -1).to(dtype)
    if mode == "negative":
        return torch.ones_like(known)
    if mode == "ignore":
        return known
    return known * (1.0 + 1.0 / (1.0 + known.sum(1, keepdim=True)))


@dataclass(frozen=True)
class PartialAsymmetricHyper:
    """Hyperparameters of P-ASL and CSL: exponents, weights and margin."""

    gamma_positive: float = hyper(
        0.0,
        "focal exponent of positives",
        search=(0.0, 2.0),
        paper={"coco": 0.0},
        low=0.0,
    )
    gamma_negative: float = hyper(
        1.0,
        "focal exponent of observed negatives",
        search=(0.0, 4.0),
        paper={"coco-rps": 1.0, "coco-fpc": 3.0},
        low=0.0,
    )
    gamma_unknown: float = hyper(
        4.0,
        "focal exponent of unknown labels; 2 in the authors' arguments, 4 in their commands",
        search=(0.0, 7.0),
        paper={"coco-rps": 4.0, "coco-fpc": 4.0},
        low=0.0,
    )
    alpha_positive: float = hyper(
        1.0, "weight of positives", search=(0.5, 2.0), paper={"coco": 1.0}, low=0.0
    )
    alpha_negative: float = hyper(
        1.0, "weight of observed negatives", search=(0.5, 2.0), paper={"coco": 1.0}, low=0.0
    )
    alpha_unknown: float = hyper(
        1.0, "weight of unknown labels", search=(0.25, 1.0), paper={"coco": 1.0}, low=0.0
    )
    clip: float = hyper(
        0.0,
        "probability margin below which negative and unknown labels are dropped",
        search=(0.0, 0.2),
        paper={"coco": 0.0},
        low=0.0,
        high=1.0,
    )

    def of_loss(self) -> dict[str, float]:
        """The arguments of `partial_asymmetric_loss`."""
        return {
            "gamma_positive": self.gamma_positive,
            "gamma_negative": self.gamma_negative,
            "gamma_unknown": self.gamma_unknown,
            "alpha_positive": self.alpha_positive,
            "alpha_negative": self.alpha_negative,
            "alpha_unknown": self.alpha_unknown,
            "clip": self.clip,
        }
