"""BCE on candidates: every label that is not known to be negative is taken as positive.

The floor of every method for candidate labels: the false candidates are trained on as they stand.
"""

from __future__ import annotations

from torch import Tensor

from baselines.bce import bce
from baselines.candidate_parts.labels import candidates_of
from baselines.core import Batch, Clock, Draw, Method, MethodInfo, Run

REGIMES = ("candidates", "pal", "full")


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
        source="equations",
        reference="bce, with every label that is not known to be negative as positive",
        tolerance="equal to bce, bit for bit",
        evidence=(
            "tests/baselines/test_candidates.py::test_candidates_without_noise_are_plain_labels",
            "tests/baselines/test_candidates.py::test_unknown_labels_are_candidates",
        ),
    )

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """The equation above."""
        return bce(logits, candidates_of(batch.observed).to(logits.dtype))
