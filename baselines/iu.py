"""IU ignores unknown labels; IUN also reads all true negatives."""

from __future__ import annotations

from torch import Tensor

from baselines.core import (
    Batch,
    Clock,
    Draw,
    Method,
    MethodInfo,
    Problem,
    Run,
    Setup,
    negatives,
    positives,
)
from baselines.shared.guarded import guarded_cross_entropy


def ignore_unknown(logits: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Cross-entropy on the known labels, divided by the number of all labels.

        L = mean_{b,c} [ z+ nl(p) + z- nl(1 - p) ],   nl(a) = -log(a + 1e-5),   p = sigmoid(x)

    The mean is over all B*C entries instead of the known ones, so the loss is proportional to the
    share of known labels.

    Args:
        logits: [B, C], x.
        positive: [B, C], z+: 1 or true for known positives, else 0.
        negative: [B, C], z-: 1 or true for known negatives, else 0.

    Returns:
        A scalar.

    Source: Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021, with the guard
    1e-5 of the authors' code.
    """
    label, other = positive.to(logits.dtype), negative.to(logits.dtype)
    return ((label + other) * guarded_cross_entropy(logits, label)).mean()


class IU(Method):
    """Ignore unknown.

    Intended for labels with observed negatives: with positives alone, the loss is minimal if every
        label of every image is predicted.
    """

    info = MethodInfo(
        key="iu",
        title="IU",
        paper="Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021",
        year=2021,
        equation="L = mean_{b,c} [ 1[s=1] nl(p) + 1[s=0] nl(1-p) ],  nl(a) = -log(a + 1e-5)",
        unknown="ignored",
        regimes=("full", "pal"),
        version="2",
        family="partial",
        summary="unknown labels are ignored",
    )

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Apply `ignore_unknown` to the batch."""
        return ignore_unknown(logits, positives(batch.observed), negatives(batch.observed))


class IUN(Method):
    """Ignore unknown positives, with all true negatives given: an upper bound.

    Intended for partial labels: it shows the cost of assuming negatives, because it lacks only the
    missing positives.
    """

    info = MethodInfo(
        key="iun",
        title="IUN",
        paper="Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021",
        year=2021,
        equation="L = mean_{b,c} [ 1[s=1] nl(p) + 1[y=0] nl(1-p) ],  nl(a) = -log(a + 1e-5),  "
        "y: the true labels",
        unknown="estimated",
        regimes=("pal", "ppl", "spl", "missing"),
        version="2",
        oracle=("true_labels",),
        family="partial",
        summary="observed positives and all true negatives",
    )

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """Create the head and the true negatives [N, C]."""
        setup = super().setup(problem, draw)
        setup.constants["true_negatives"] = problem.oracle["true_labels"].whole() == 0
        return setup

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Apply `ignore_unknown` with the true negatives."""
        known = run.constants["true_negatives"][batch.rows]
        return ignore_unknown(logits, positives(batch.observed), known)
