"""WAN: assume that unknown labels are negative, with the total weight of one positive."""

from __future__ import annotations

from torch import Tensor

from baselines.core import Batch, Clock, Draw, Method, MethodInfo, Run, positives
from baselines.shared.guarded import guarded_cross_entropy


def weak_assume_negative(logits: Tensor, positive: Tensor) -> Tensor:
    """Binary cross-entropy in which the C - 1 assumed negatives weigh as much as one positive.

        L = mean_{b,c} [ z nl(p) + (1 - z) nl(1 - p) / (C - 1) ]
        nl(a) = -log(a + 1e-5),   p = sigmoid(x)

    Args:
        logits: [B, C], x; with a single class the weight is 1.
        positive: [B, C], z: 1 or true where a label is observed positive, else 0.

    Returns:
        A scalar, the mean over all B*C entries.

    Source: Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021, with the guard
    1e-5 of the authors' code, which does not adapt the weight to the number of positives.
    """
    label = positive.to(logits.dtype)
    weight = label + (1.0 - label) / max(logits.shape[-1] - 1, 1)
    return (weight * guarded_cross_entropy(logits, label)).mean()


class WAN(Method):
    """Weak assume negative.

    The weight balances exactly one positive per image. As in the authors' code, it is the same for
    images with several observed positives. It is not meant for complete labels and candidates,
    where no label is assumed to be negative.
    """

    info = MethodInfo(
        key="wan",
        title="WAN",
        paper="Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021",
        year=2021,
        equation="L = mean_{b,c} [ z nl(p) + (1-z) nl(1-p) / (C-1) ],  nl(a) = -log(a + 1e-5),  "
        "unknown -> z = 0",
        unknown="negative",
        regimes=("pal", "ppl", "spl", "missing"),
        version="2",
        family="partial",
        summary="`an` with down-weighted negatives",
    )

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Apply `weak_assume_negative` to the batch."""
        return weak_assume_negative(logits, positives(batch.observed))
