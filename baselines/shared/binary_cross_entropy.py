"""Binary cross-entropy, as a loss and as a method without metadata."""

from __future__ import annotations

from torch import Tensor

from baselines.core import Batch, Clock, Draw, Method, Run, positives
from baselines.core.losses import bce_terms


def bce(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy, the mean over all B*C entries of softplus(z) - y z.

    Args:
        logits: [B, C].
        target: [B, C] in [0, 1].

    Returns:
        A scalar.
    """
    return bce_terms(logits, target).mean()


class BinaryCrossEntropy(Method):
    """Empirical risk minimisation; unknown labels count as negative."""

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """L = mean_{b,c} [ softplus(z) - y z ]."""
        return bce(logits, positives(batch.observed, logits.dtype))
