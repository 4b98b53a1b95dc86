"""AN: assume that every label that is not observed positive is negative."""

from __future__ import annotations

from torch import Tensor

from baselines.core import Batch, Clock, Draw, Method, MethodInfo, Run, positives
from baselines.shared.guarded import guarded_cross_entropy


def assume_negative(logits: Tensor, positive: Tensor) -> Tensor:
    """Binary cross-entropy against the observed positives, with the authors' guarded logarithm.

        L = mean_{b,c} [ z nl(p) + (1 - z) nl(1 - p) ],   nl(a) = -log(a + 1e-5),   p = sigmoid(x)

    Args:
        logits: [B, C], x.
        positive: [B, C], z: 1 or true where a label is observed positive, else 0.

    Returns:
        A scalar, the mean over all B*C entries.

    Source: Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021. The additive
    guard comes from the authors' code and is not in the paper. It is the only difference from plain
    cross-entropy, and it limits an entry to 11.5.
    """
    return guarded_cross_entropy(logits, positive.to(logits.dtype)).mean()


class AN(Method):
    """Assume negative; every missing positive becomes a false negative.

    Intended for partial labels, and for complete labels as an upper bound. It is not meant for
    candidate labels, where no label is unknown and some positives are wrong.
    """

    info = MethodInfo(
        key="an",
        title="AN",
        paper="Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021",
        year=2021,
        equation="L = mean_{b,c} [ z nl(p) + (1-z) nl(1-p) ],  nl(a) = -log(a + 1e-5),  "
        "unknown -> z = 0",
        unknown="negative",
        regimes=("full", "pal", "ppl", "spl", "missing"),
        version="2",
        family="partial",
        summary="unknown labels count as negative",
    )

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Apply `assume_negative` to the batch."""
        return assume_negative(logits, positives(batch.observed))
