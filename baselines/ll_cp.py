"""LL-Cp: unknown labels count as negative until their loss is among the largest, then as positive.

A corrected label remains positive for the rest of training.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.core import Batch, Clock, Draw, Method, MethodInfo, Problem, Run, Setup, Step, hyper
from baselines.shared.large_loss import (
    PAPER,
    REGIMES,
    SEARCH,
    correction,
    cumulative_count,
    large_losses,
    relative_share,
)


def constant_count(logits: Tensor, delta: float | Tensor, epoch: int) -> Tensor:
    """The number of large losses of LL-Cp, k = ceil(B C D) in every epoch except the first.

    Args:
        logits: [B, C].
        delta: in percent; D = delta / 100.
        epoch: t, counted from 1.

    Returns:
        int64 scalar; 0 in the first epoch.
    """
    share = relative_share(delta, logits)
    return torch.ceil(logits.numel() * share).long() * int(epoch > 1)


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters of LL-Cp."""

    delta: float = hyper(
        0.1,
        "percentage of the labels of a batch that is corrected per step",
        search=SEARCH,
        low=0.0,
        high=100.0,
    )
    as_released: bool = hyper(
        False, "behave like the code when started as documented: LL-Ct, nothing is kept"
    )


class LLCp(Method):
    """Large loss correction, permanent.

    Intended for partial labels, because only unknown labels are corrected.
    """

    info = MethodInfo(
        key="ll-cp",
        title="LL-Cp",
        paper=PAPER,
        year=2022,
        equation="L = mean_{b,c} H(y, p),  unknown -> y = 1 where -log(1-p) >= T, else 0;  "
        "y = 1 permanently where -log(1-p) > T,\n"
        "T = k-th largest in the batch,  k = ceil(BC delta/100) from the second epoch on",
        unknown="estimated",
        regimes=REGIMES,
        needs=("memory per image", "the epoch"),
        family="partial",
        summary="large losses of unknown labels are corrected permanently",
    )
    Hyper = Hyper

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """Create the head and the corrected labels, int8 [N, C]."""
        setup = super().setup(problem, draw)
        if not self.hyper.as_released:
            setup.memory["labels"] = problem.observed.to(torch.int8)
        return setup

    def step(self, run: Run, batch: Batch, clock: Clock, draw: Draw) -> Step:
        """Apply `correction` to the labels as corrected so far."""
        logits = self.logits(run, batch.features)
        hidden = batch.observed == -1
        if self.hyper.as_released:
            count = cumulative_count(logits, self.hyper.delta, clock.epoch)
            large, _ = large_losses(logits, batch.observed, count, as_released=True)
            return Step(correction(logits, batch.observed, large), corrected=large & hidden)
        labels = run.memory["labels"][batch.rows]
        count = constant_count(logits, self.hyper.delta, clock.epoch)
        large, kept = large_losses(logits, labels, count)
        written = torch.where(kept, torch.ones_like(labels), labels)
        return Step(
            correction(logits, labels, large),
            memory={"labels": written},
            corrected=(large | (labels == 1)) & hidden,
        )
