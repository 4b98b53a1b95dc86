"""LL-R: unknown labels count as negative, except for the largest losses, which are ignored."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.core import Batch, Clock, Draw, Method, MethodInfo, Run, Step, hyper, positives
from baselines.core.losses import bce_terms
from baselines.shared.large_loss import PAPER, REGIMES, SEARCH, cumulative_count, large_losses
from baselines.shared.large_loss import correction as correction
from baselines.shared.large_loss import large_count as large_count


def rejection(logits: Tensor, labels: Tensor, large: Tensor) -> Tensor:
    """Cross-entropy without the large losses.

        L = (1 / BC) sum_{not large} H(y, p),   unknown -> y = 0

    Args:
        logits: [B, C].
        labels: [B, C], 1 positive, anything else negative.
        large: bool [B, C].

    Returns:
        A scalar; rejected entries count in the denominator.

    Source: Kim et al., CVPR 2022, LL-R.
    """
    terms = bce_terms(logits, positives(labels, logits.dtype))
    return torch.where(large, 0.0, terms).mean()


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters of LL-R."""

    delta: float = hyper(
        0.2,
        "percentage of the labels of a batch that is added to the rejected ones per epoch",
        search=SEARCH,
        low=0.0,
        high=100.0,
    )
    as_released: bool = hyper(
        False, "with too few unknown labels, reject all labels of the batch as the code does"
    )


class LLR(Method):
    """Large loss rejection.

    Intended for partial labels, because only unknown labels are rejected.
    """

    info = MethodInfo(
        key="ll-r",
        title="LL-R",
        paper=PAPER,
        year=2022,
        equation="L = (1/BC) sum H(y, p) over all labels but the unknown with -log(1-p) >= T,  "
        "unknown -> y = 0,\n"
        "T = k-th largest in the batch,  k = ceil(BC (t-1) delta/100) in epoch t",
        unknown="estimated",
        regimes=REGIMES,
        needs=("the epoch",),
        family="partial",
        summary="large losses of unknown labels are rejected",
    )
    Hyper = Hyper

    def step(self, run: Run, batch: Batch, clock: Clock, draw: Draw) -> Step:
        """Apply `rejection` to the batch."""
        logits = self.logits(run, batch.features)
        count = cumulative_count(logits, self.hyper.delta, clock.epoch)
        released = self.hyper.as_released
        large, _ = large_losses(logits, batch.observed, count, as_released=released)
        loss = rejection(logits, batch.observed, large)
        return Step(loss, corrected=large & (batch.observed == -1))
