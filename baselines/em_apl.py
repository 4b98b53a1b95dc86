"""EM + APL: entropy maximisation; in later epochs the least likely labels become soft negatives.

At the end of every epoch after a warm-up, each class marks a fixed share of its unknown labels: the
ones with the lowest predictions that are not marked yet. The prediction at this time becomes the
permanent soft target of a marked label.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from baselines.core import Batch, Clock, Draw, Method, MethodInfo, Problem, Run, Setup, Step, hyper
from baselines.shared.entropy_maximisation import ALPHA, entropy_maximisation


def lowest(probability: Tensor, eligible: Tensor, count: Tensor) -> Tensor:
    """The eligible images with the lowest predictions, class by class.

    Args:
        probability: [N, C].
        eligible: bool [N, C].
        count: [C], how many per class; if fewer are eligible, all of them.

    Returns:
        bool [N, C].
    """
    order = torch.argsort(torch.where(eligible, probability, torch.inf), dim=0, stable=True)
    places = torch.arange(len(order), device=order.device)[:, None].expand_as(order)
    rank = torch.empty_like(order).scatter_(0, order, places)
    return eligible & (rank < count)


def quota(unknown: Tensor, share: float, epochs: int, warmup: int) -> Tensor:
    """The number of labels that each class marks per epoch, int(share U_c / (E - w)).

    Args:
        unknown: bool [N, C], before any label is marked; class c has U_c of them.
        share: fraction of the unknown labels that is marked in total.
        epochs: E.
        warmup: w, less than E.

    Returns:
        int64 [C].
    """
    return (share * unknown.sum(0).to(torch.float64) / (epochs - warmup)).floor().long()


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters of EM + APL."""

    alpha: float = hyper(
        0.1, "weight of the entropy of unknown labels", search=(0.01, 0.4), paper=ALPHA, low=0.0
    )
    beta: float = hyper(
        0.9,
        "weight of the soft negatives",
        search=(0.02, 1.0),
        paper={"voc": 0.02, "coco": 0.9, "nus": 0.2, "cub": 0.4},
        low=0.0,
    )
    warmup: int = hyper(
        5,
        "epoch at whose end the first labels are marked",
        search=(3, 4, 5),
        paper={"voc": 5, "coco": 5, "nus": 4, "cub": 3},
        low=1,
    )
    share: float = hyper(
        0.9,
        "fraction of the unknown labels of a class that is marked by the last epoch",
        search=(0.5, 1.0),
        paper={"voc": 0.9, "coco": 0.9, "nus": 0.9, "cub": 0.9},
        low=0.0,
        high=1.0,
    )


class EMAPL(Method):
    """Entropy maximisation with asymmetric pseudo-labelling.

    Intended for partial labels; with complete labels or candidates it is plain cross-entropy. If
    training is shorter than the warm-up, it is EM.
    """

    info = MethodInfo(
        key="em-apl",
        title="EM + APL",
        paper="Zhou et al., Acknowledging the Unknown for Multi-label Learning with Single "
        "Positive Labels, ECCV 2022",
        year=2022,
        equation="L = mean_{b,c} of  nl(p), s=1;  nl(1-p), s=0;  -alpha (p nl(p) + (1-p) nl(1-p)), "
        "unknown;  beta (t nl(p) + (1-t) nl(1-p)), marked;\n"
        "at the end of each epoch e >= w every class marks int(0.9 U_c/(E-w)) unknown labels of "
        "lowest p, t = p permanently",
        unknown="estimated",
        regimes=("pal", "ppl", "spl", "missing"),
        needs=("memory per image", "a pass over the training set per epoch"),
        version="2",
        family="partial",
        summary="`em`, and unlikely labels become soft negatives",
    )
    Hyper = Hyper

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """Create the head and the memory; no label is marked."""
        setup = super().setup(problem, draw)
        nothing = torch.zeros_like(problem.observed)
        setup.memory["soft"] = nothing.to(torch.float32)
        setup.memory["marked"] = nothing.to(torch.bool)
        return setup

    def epoch_start(
        self, run: Run, problem: Problem, features: Tensor, clock: Clock, draw: Draw
    ) -> Run:
        """Mark the labels that are due at the end of the previous epoch, `clock.epoch - 1`."""
        if clock.epoch - 1 < self.hyper.warmup:
            return run
        probability = torch.sigmoid(self.logits(run, features))
        unknown = problem.observed.to(probability.device) == -1
        count = quota(unknown, self.hyper.share, clock.epochs, self.hyper.warmup)
        marked = run.memory["marked"]
        fresh = lowest(probability, unknown & ~marked, count)
        soft = torch.where(fresh, probability, run.memory["soft"])
        return replace(run, memory={**run.memory, "soft": soft, "marked": marked | fresh})

    def step(self, run: Run, batch: Batch, clock: Clock, draw: Draw) -> Step:
        """Apply `entropy_maximisation` with the soft negatives of the batch."""
        logits = self.logits(run, batch.features)
        soft, marked = run.memory["soft"][batch.rows], run.memory["marked"][batch.rows]
        loss = entropy_maximisation(
            logits,
            batch.observed,
            alpha=self.hyper.alpha,
            soft=soft,
            marked=marked,
            beta=self.hyper.beta,
        )
        return Step(loss, corrected=(batch.observed == -1) & marked & (soft > 0.5))
