"""Hill: focal positives with a margin, and negatives whose gradient vanishes at both ends.

The loss of negatives is weighted so that confident predictions are no longer pushed down, because
they may be missed positives. Unknown labels count as negative.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.core import Batch, Clock, Draw, Method, MethodInfo, Run, hyper, positives
from baselines.core.losses import reduced


def hill_loss(
    logits: Tensor,
    positive: Tensor,
    *,
    lam: float | Tensor = 1.5,
    margin: float | Tensor = 1.0,
    gamma: float | Tensor = 2.0,
    reduction: str = "sum",
) -> Tensor:
    """Hill loss.

        y = 1:  -(1 - s)^gamma log s,   s = sigmoid(x - m)
        y = 0:  (lam - p) p^2,          p = sigmoid(x)

    The power is differentiated. With lam = 1.5 the gradient of a negative is 3 p^2 (1 - p)^2, which
    vanishes if the model is confident either way.

    Args:
        logits: [B, C], x.
        positive: [B, C], 1 or true for positives, else 0.
        lam: height of the hill.
        margin: m, subtracted from the logits of positives.
        gamma: focal exponent of positives, at least 0.
        reduction: "sum" over all B*C entries (the authors' code), "mean" over them, or "none" for
            [B, C].

    Returns:
        A scalar, or [B, C].

    Raises:
        ValueError: an unknown `reduction`.

    Source: Zhang et al., Simple and Robust Loss Design for Multi-Label Learning with Missing
    Labels, arXiv:2112.07368. The authors' code computes log s without a guard, which is infinite
    for logits below -745 (-103 in float32); here it is a logsigmoid.
    """
    target = positive.to(logits.dtype)
    shifted, probability = logits - margin, torch.sigmoid(logits)
    # The lower bound keeps the gradient finite at zero for exponents below one.
    doubt = torch.sigmoid(-shifted).clamp(min=torch.finfo(logits.dtype).tiny)
    loss_positive = -(doubt**gamma) * F.logsigmoid(shifted)
    loss_negative = (lam - probability) * probability**2
    return reduced(target * loss_positive + (1.0 - target) * loss_negative, reduction)


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters of the Hill loss."""

    lam: float = hyper(
        1.5,
        "height of the hill; with 1.5 the gradient of confident negatives vanishes",
        search=(1.3, 2.0),
        paper={"coco": 1.5},
        low=1.0,
    )
    margin: float = hyper(
        1.0,
        "subtracted from the logits of positives",
        search=(0.0, 2.0),
        paper={"coco": 1.0},
    )
    gamma: float = hyper(
        2.0,
        "focal exponent of positives",
        search=(0.0, 4.0),
        paper={"coco": 2.0},
        low=0.0,
    )


class Hill(Method):
    """Hill loss; unknown labels count as negative.

    Intended for missing positives and, as in the paper, for complete labels; with candidates no
    positive is missing.
    """

    info = MethodInfo(
        key="hill",
        title="Hill",
        paper="Zhang et al., Simple and Robust Loss Design for Multi-Label Learning with Missing "
        "Labels, arXiv:2112.07368",
        year=2021,
        equation="L = mean_{b,c} [ -y (1-s)^gamma log s + (1-y) (lam - p) p^2 ],  "
        "s = sigmoid(x - m),  p = sigmoid(x),  unknown -> y = 0",
        unknown="negative",
        regimes=("full", "pal", "ppl", "spl", "missing"),
        family="partial",
        summary="a loss of negatives that vanishes for confident predictions",
    )
    Hyper = Hyper

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Apply `hill_loss`, with the sum divided by B*C."""
        return hill_loss(
            logits,
            positives(batch.observed),
            lam=self.hyper.lam,
            margin=self.hyper.margin,
            gamma=self.hyper.gamma,
            reduction="mean",
        )
