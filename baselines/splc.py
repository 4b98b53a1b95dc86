"""SPLC: unknown labels with confident predictions count as positive in the loss.

Each step computes the correction from the current predictions; nothing is stored.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.core import Batch, Clock, Draw, Method, MethodInfo, Run, Step, hyper
from baselines.core.losses import reduced


def confident_unknown(logits: Tensor, observed: Tensor, tau: float | Tensor) -> Tensor:
    """The unknown labels with a probability strictly above tau.

    Args:
        logits: [B, C].
        observed: [B, C], 1 positive, 0 negative, -1 unknown.
        tau: the threshold.

    Returns:
        bool [B, C].
    """
    return (observed == -1) & (torch.sigmoid(logits.detach()) > tau)


def splc_loss(
    logits: Tensor,
    observed: Tensor,
    corrected: Tensor,
    *,
    margin: float | Tensor = 1.0,
    gamma: float | Tensor = 2.0,
    reduction: str = "sum",
) -> Tensor:
    """Focal loss on corrected labels, with a margin on observed positives.

        u = x - m on observed positives, else x;   s = sigmoid(u)
        target 1:  -(1 - s)^gamma log s            observed positives and corrected labels
        target 0:  -s^gamma log(1 - s)             everything else

    The powers are differentiated. A corrected label has no margin.

    Args:
        logits: [B, C], x.
        observed: [B, C], 1 positive, 0 negative, -1 unknown.
        corrected: bool [B, C], unknown labels that count as positive, from `confident_unknown`;
            none before the first epoch with corrections.
        margin: m.
        gamma: focal exponent, at least 0.
        reduction: "sum" over all B*C entries (the authors' code), "mean" over them, or "none" for
            [B, C].

    Returns:
        A scalar, or [B, C].

    Raises:
        ValueError: an unknown `reduction`.

    Source: Zhang et al., Simple and Robust Loss Design for Multi-Label Learning with Missing
    Labels, arXiv:2112.07368. The authors' code compares every label with the threshold, observed
    positives after the margin, which has no effect. It has no observed negatives.
    """
    positive = observed == 1
    u = torch.where(positive, logits - margin, logits)
    # The lower bound keeps the gradient finite at zero for exponents below one.
    tiny = torch.finfo(logits.dtype).tiny
    loss_positive = -(torch.sigmoid(-u).clamp(min=tiny) ** gamma) * F.logsigmoid(u)
    loss_negative = -(torch.sigmoid(u).clamp(min=tiny) ** gamma) * F.logsigmoid(-u)
    return reduced(torch.where(positive | corrected, loss_positive, loss_negative), reduction)


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters of SPLC."""

    tau: float = hyper(
        0.6,
        "probability above which an unknown label counts as positive",
        search=(0.5, 0.9),
        paper={"coco": 0.6, "coco-75": 0.65},
        low=0.0,
        high=1.0,
    )
    change_epoch: int = hyper(
        1,
        "number of epochs before the first correction",
        search=(1, 2, 4),
        paper={"coco": 1},
        low=0,
    )
    margin: float = hyper(
        1.0,
        "subtracted from the logits of observed positives",
        search=(0.0, 2.0),
        paper={"coco": 1.0},
    )
    gamma: float = hyper(
        2.0,
        "focal exponent",
        search=(0.0, 4.0),
        paper={"coco": 2.0},
        low=0.0,
    )


class SPLC(Method):
    """Self-paced loss correction; unknown labels are negative until predicted confidently.

    Intended for partial labels, because only unknown labels are corrected.
    """

    info = MethodInfo(
        key="splc",
        title="SPLC",
        paper="Zhang et al., Simple and Robust Loss Design for Multi-Label Learning with Missing "
        "Labels, arXiv:2112.07368",
        year=2021,
        equation="L = mean_{b,c} [ -t (1-s)^gamma log s - (1-t) s^gamma log(1-s) ],  "
        "s = sigmoid(x - m 1[observed positive]),\n"
        "t = 1 on observed positives and, after change_epoch epochs, on unknown with p > tau",
        unknown="estimated",
        regimes=("pal", "ppl", "spl", "missing"),
        needs=("the epoch",),
        family="partial",
        summary="confident unknown labels become positive",
    )
    Hyper = Hyper

    def step(self, run: Run, batch: Batch, clock: Clock, draw: Draw) -> Step:
        """Apply `splc_loss`, with the sum divided by B*C."""
        logits = self.logits(run, batch.features)
        corrected = confident_unknown(logits, batch.observed, self.hyper.tau)
        if clock.epoch - 1 < self.hyper.change_epoch:
            corrected = torch.zeros_like(corrected)
        loss = splc_loss(
            logits,
            batch.observed,
            corrected,
            margin=self.hyper.margin,
            gamma=self.hyper.gamma,
            reduction="mean",
        )
        return Step(loss, corrected=corrected)
