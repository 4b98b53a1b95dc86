"""Entropy maximisation on unknown labels, with or without soft labels."""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.core import positives
from baselines.shared.guarded import guarded_cross_entropy, taught_cross_entropy

ALPHA = {"voc": 0.2, "coco": 0.1, "nus": 0.1, "cub": 0.01}


def entropy_maximisation(
    logits: Tensor,
    observed: Tensor,
    *,
    alpha: float | Tensor,
    soft: Tensor | None = None,
    marked: Tensor | None = None,
    beta: float | Tensor = 1.0,
) -> Tensor:
    """Entropy maximisation on unknown labels, with optional soft labels on some of them.

        positive:         nl(p)
        negative:         nl(1 - p)
        unknown:         -alpha [ p nl(p) + (1 - p) nl(1 - p) ]
        unknown, marked:  beta [ t nl(p) + (1 - t) nl(1 - p) ]
        L = the mean over all B*C entries, nl(a) = -log(a + 1e-5),   p = sigmoid(x)

    Both factors of the entropy are differentiated.

    Args:
        logits: [B, C], x.
        observed: [B, C], 1 positive, 0 negative, -1 unknown.
        alpha: weight of the entropy.
        soft: t [B, C] in [0, 1]; read where `marked` is true, without gradient.
        marked: bool [B, C], must be used with `soft`; ignored for observed labels.
        beta: weight of the marked labels.

    Returns:
        A scalar.

    Source: Zhou et al., Acknowledging the Unknown for Multi-label Learning with Single Positive
    Labels, ECCV 2022, with the guard 1e-5 of the authors' code. That code stores a soft label t as
    -t in the matrix of observed labels and has no observed negatives; the term for these is added
    here.
    """
    of_known = guarded_cross_entropy(logits, positives(observed, logits.dtype))
    of_unknown = -alpha * taught_cross_entropy(logits, logits)
    if soft is not None and marked is not None:
        of_marked = beta * guarded_cross_entropy(logits, soft.detach().to(logits.dtype))
        of_unknown = torch.where(marked, of_marked, of_unknown)
    return torch.where(observed == -1, of_unknown, of_known).mean()
