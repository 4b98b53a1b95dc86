"""LL-Ct: in each step, the unknown labels with the largest losses count as positive."""

from __future__ import annotations

from dataclasses import dataclass

from baselines.core import Batch, Clock, Draw, Method, MethodInfo, Run, Step, hyper
from baselines.shared.large_loss import (
    PAPER,
    REGIMES,
    SEARCH,
    correction,
    cumulative_count,
    large_losses,
)


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters of LL-Ct."""

    delta: float = hyper(
        0.2,
        "percentage of the labels of a batch that is added to the corrected ones per epoch",
        search=SEARCH,
        low=0.0,
        high=100.0,
    )
    as_released: bool = hyper(
        False, "with too few unknown labels, flip all labels of the batch as the code does"
    )


class LLCt(Method):
    """Large loss correction, temporary.

    Intended for partial labels, because only unknown labels are corrected.
    """

    info = MethodInfo(
        key="ll-ct",
        title="LL-Ct",
        paper=PAPER,
        year=2022,
        equation="L = mean_{b,c} H(y, p),  unknown -> y = 1 where -log(1-p) >= T, else 0,\n"
        "T = k-th largest in the batch,  k = ceil(BC (t-1) delta/100) in epoch t",
        unknown="estimated",
        regimes=REGIMES,
        needs=("the epoch",),
        family="partial",
        summary="large losses of unknown labels are corrected in the step",
    )
    Hyper = Hyper

    def step(self, run: Run, batch: Batch, clock: Clock, draw: Draw) -> Step:
        """Apply `correction` to the batch."""
        logits = self.logits(run, batch.features)
        count = cumulative_count(logits, self.hyper.delta, clock.epoch)
        released = self.hyper.as_released
        large, _ = large_losses(logits, batch.observed, count, as_released=released)
        loss = correction(logits, batch.observed, large)
        return Step(loss, corrected=large & (batch.observed == -1))
