"""Binary cross-entropy with the additive guard of the single-positive code base."""

from __future__ import annotations

import torch
from torch import Tensor

GUARD = 1e-5


def guarded_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy with the additive guard of the authors' code, entry by entry.

        y nl(p) + (1 - y) nl(1 - p),   nl(a) = -log(a + 1e-5),   p = sigmoid(z)

    Both logarithms are computed from the smaller of p and 1 - p, because for a close to one,
    float32 keeps only two digits of log(a + 1e-5).

    Args:
        logits: [B, C].
        target: floating [B, C] in [0, 1].

    Returns:
        [B, C].
    """
    likely, other = logits > 0, 1.0 - target
    smaller = torch.sigmoid(torch.where(likely, -logits, logits))
    of_larger = torch.where(likely, target, other) * torch.log1p(GUARD - smaller)
    of_smaller = torch.where(likely, other, target) * torch.log(smaller + GUARD)
    return -of_larger - of_smaller


def taught_cross_entropy(logits: Tensor, teacher: Tensor) -> Tensor:
    """`guarded_cross_entropy` against the probabilities of other logits, entry by entry.

        q nl(p) + (1 - q) nl(1 - p),   p = sigmoid(logits),   q = sigmoid(teacher)

    If q is above one half, both logits change their signs, because 1 - q loses its digits close to
    q = 1.

    Args:
        logits: [B, C].
        teacher: [B, C], logits; detach them to hold q constant.

    Returns:
        [B, C].
    """
    sure = teacher > 0
    turned = torch.where(sure, -logits, logits)
    return guarded_cross_entropy(turned, torch.sigmoid(torch.where(sure, -teacher, teacher)))
