"""AN-LS: assume that unknown labels are negative, and smooth all targets."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from baselines.core import Batch, Clock, Draw, Method, MethodInfo, Run, hyper, positives
from baselines.shared.guarded import guarded_cross_entropy


def smoothed_assume_negative(
    logits: Tensor, positive: Tensor, smoothing: float | Tensor = 0.1
) -> Tensor:
    """Binary cross-entropy with smoothed targets.

        L = mean_{b,c} [ t nl(p) + (1 - t) nl(1 - p) ],   t = z (1 - e) + (1 - z) e
        nl(a) = -log(a + 1e-5),   p = sigmoid(x)

    Args:
        logits: [B, C], x.
        positive: [B, C], z: 1 or true where a label is positive, else 0.
        smoothing: e; the targets are 1 - e and e.

    Returns:
        A scalar, the mean over all B*C entries.

    Source: Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021. Label
    smoothing with two classes usually moves a target by e / 2; the authors' code moves it by e, and
    so does this function.
    """
    label = positive.to(logits.dtype)
    target = label * (1.0 - smoothing) + (1.0 - label) * smoothing
    return guarded_cross_entropy(logits, target).mean()


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters of AN-LS."""

    smoothing: float = hyper(
        0.1,
        "distance of every target from 0 or 1",
        search=(0.0, 0.3),
        paper={"voc": 0.1, "coco": 0.1, "nus": 0.1, "cub": 0.1},
        low=0.0,
        high=0.5,
    )


class ANLS(Method):
    """Assume negative with label smoothing.

    Intended for partial labels, and for complete labels, where it is the BCE-LS of the same paper.
    It is not meant for candidate labels, where no label is unknown.
    """

    info = MethodInfo(
        key="an-ls",
        title="AN-LS",
        paper="Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021",
        year=2021,
        equation="L = mean_{b,c} [ t nl(p) + (1-t) nl(1-p) ],  t = z (1-e) + (1-z) e,  "
        "nl(a) = -log(a + 1e-5),  unknown -> z = 0",
        unknown="negative",
        regimes=("full", "pal", "ppl", "spl", "missing"),
        version="2",
        family="partial",
        summary="`an` with smoothed labels",
    )
    Hyper = Hyper

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Apply `smoothed_assume_negative` to the batch."""
        known = positives(batch.observed)
        return smoothed_assume_negative(logits, known, self.hyper.smoothing)
