"""BCE on candidates: every label that is not known to be negative counts as positive.

The simplest baseline for candidate labels: it trains on false candidates as on true ones.
"""

from __future__ import annotations

from torch import Tensor

from baselines.core import Batch, Clock, Draw, Method, MethodInfo, Run
from baselines.shared.binary_cross_entropy import bce
from baselines.shared.candidate_labels import REGIMES, candidates_of


class BCECandidates(Method):
    """Empirical risk minimisation on the candidates [standard]."""

    info = MethodInfo(
        key="bce-candidates",
        title="BCE (candidates)",
        paper="textbook; assume all candidates true, the baseline of partial multi-label learning",
        year=2018,
        equation="L = mean_{b,c} [ -s log p - (1-s) log(1-p) ],  s = 0 only where the label is "
        "known to be negative (unknown -> s = 1)",
        unknown="estimated",
        regimes=REGIMES,
        family="candidates",
        summary="BCE with all candidates as positives",
    )

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Apply `bce` to the candidates."""
        return bce(logits, candidates_of(batch.observed).to(logits.dtype))
