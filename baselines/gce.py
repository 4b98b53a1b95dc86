"""GCE: a cross-entropy whose exponent trades the fit of hard labels for robustness to wrong ones.

Only candidates can be wrong, so by default only their term is robust.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.core import Batch, Clock, Draw, Method, MethodInfo, Run, hyper
from baselines.shared.candidate_labels import REGIMES, candidates_of


def generalised_terms(
    logits: Tensor, candidates: Tensor, q: float | Tensor, terms: str = "candidates"
) -> Tensor:
    """Generalised cross-entropy, entry by entry.

        s (1 - p^q) / q + (1 - s) l0                        terms = "candidates"
        s (1 - p^q) / q + (1 - s) (1 - (1 - p)^q) / q       terms = "both"

    Args:
        logits: z [B, C].
        candidates: s [B, C], 0 or 1.
        q: in (0, 1]: near 0 it is binary cross-entropy, at 1 the mean absolute error.
        terms: the labels with a robust term.

    Returns:
        [B, C].

    Raises:
        ValueError: an unknown `terms`.

    Source: Zhang and Sabuncu, NeurIPS 2018, for each class on its own.
    """
    if terms not in ("candidates", "both"):
        raise ValueError(f"terms is '{terms}'; it must be 'candidates' or 'both'")
    positive, negative = F.logsigmoid(logits), F.logsigmoid(-logits)
    robust = -torch.expm1(q * positive) / q
    other = -torch.expm1(q * negative) / q if terms == "both" else -negative
    return candidates * robust + (1.0 - candidates) * other


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters of GCE."""

    q: float = hyper(
        0.7,
        "exponent: 1 is the mean absolute error, near 0 it is BCE",
        search=(0.1, 1.0),
        paper={"cifar": 0.7},
        low=1e-3,
        high=1.0,
    )
    terms: str = hyper("candidates", "labels with a robust term", choices=("candidates", "both"))


class GCE(Method):
    """Generalised cross-entropy on the candidates [standard]."""

    info = MethodInfo(
        key="gce",
        title="GCE",
        paper="Zhang and Sabuncu, Generalized Cross Entropy Loss for Training Deep Neural Networks "
        "with Noisy Labels, NeurIPS 2018",
        year=2018,
        equation="L = mean [ s (1 - p^q)/q - (1-s) log(1-p) ],  or with (1 - (1-p)^q)/q in the "
        "place of the second term;  s = 0 only for known negatives",
        unknown="estimated",
        regimes=REGIMES,
        family="candidates",
        summary="cross-entropy that is robust on candidates",
    )
    Hyper = Hyper

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Take the mean of `generalised_terms` over the batch."""
        candidates = candidates_of(batch.observed).to(logits.dtype)
        return generalised_terms(logits, candidates, self.hyper.q, self.hyper.terms).mean()
