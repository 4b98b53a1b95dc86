"""BCE-LS: binary cross-entropy with smoothed labels, for complete labels."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from baselines.core import Batch, Clock, Draw, Method, MethodInfo, Run, hyper, positives
from baselines.core.losses import reduced
from baselines.shared.guarded import guarded_cross_entropy


def smoothed_bce(
    logits: Tensor, target: Tensor, *, smoothing: float | Tensor = 0.1, reduction: str = "mean"
) -> Tensor:
    """Binary cross-entropy against smoothed labels.

        t = (1 - e) y + e (1 - y)
        element = t nl(p) + (1 - t) nl(1 - p),   nl(a) = -log(a + 1e-5),   p = sigmoid(z)

    With e = 0 this is binary cross-entropy with the authors' guarded logarithm.

    Args:
        logits: [B, C].
        target: [B, C] in [0, 1].
        smoothing: e, in [0, 1/2], by which every label moves towards the other value.
        reduction: "mean" over all B*C entries, "sum", or "none" for [B, C].

    Returns:
        A scalar, or [B, C].

    Raises:
        ValueError: an unknown `reduction`.

    Source: Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021, and the
    authors' code, which moves a label by e instead of the usual e/2 for two classes.
    """
    target = target.to(logits.dtype)
    smooth = (1.0 - smoothing) * target + smoothing * (1.0 - target)
    return reduced(guarded_cross_entropy(logits, smooth), reduction)


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters of BCE-LS."""

    smoothing: float = hyper(
        0.1,
        "e, by which every label moves towards the other value",
        search=(0.0, 0.2),
        paper={"voc": 0.1, "coco": 0.1, "nus": 0.1, "cub": 0.1},
        low=0.0,
        high=0.5,
    )


class BCELS(Method):
    """Smoothed binary cross-entropy for complete labels; unknown counts as negative."""

    info = MethodInfo(
        key="bce-ls",
        title="BCE-LS",
        paper="Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021",
        year=2021,
        equation="t = (1-e) y + e (1-y);\n"
        "L = mean_{b,c} [ t nl(p) + (1-t) nl(1-p) ],  nl(a) = -log(a + 1e-5),  unknown -> y = 0",
        unknown="negative",
        regimes=("full",),
        version="2",
        family="plain",
        summary="binary cross-entropy on smoothed labels",
    )
    Hyper = Hyper

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Apply `smoothed_bce` to the batch."""
        target = positives(batch.observed, logits.dtype)
        return smoothed_bce(logits, target, smoothing=self.hyper.smoothing)
