"""CDCR: each epoch leaves out the candidates that the classifier considers unlikely.

After a warm-up on all candidates, the predictions on the training set determine before each epoch
which candidates contribute to the loss. Known negatives always contribute; a candidate that is left
out counts neither as positive nor as negative.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
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
    Step,
    hyper,
    masked_mean,
)
from baselines.core.losses import bce_terms
from baselines.shared.candidate_labels import REGIMES, candidates_of

_ROWS = 8192  # rows of the training set per block


def kept(
    probability: Tensor, candidates: Tensor, threshold: float | Tensor, rule: str = "threshold"
) -> Tensor:
    """The weights of all labels in the next epoch, 1 or 0.

        w = 1 where s = 0;   where s = 1:
        w = 1[p >= threshold]                     rule = "threshold"
        w = 1[p - m_k >= threshold - m]           rule = "difference"

    m_k is the mean of p over the candidates of class k, and m the mean over all candidates.

    Args:
        probability: p [N, C], for all training images.
        candidates: s [N, C], 0 or 1.
        threshold: the smallest probability of a candidate that is kept.
        rule: see above.

    Returns:
        [N, C].

    Raises:
        ValueError: an unknown `rule`.

    Source: the authors' code, run_cdcr and its variant with differences by class.
    """
    if rule not in ("threshold", "difference"):
        raise ValueError(f"rule is '{rule}'; it must be 'threshold' or 'difference'")
    level: float | Tensor = threshold
    if rule == "difference":
        level = threshold + masked_mean(probability, candidates, 0)
        level = level - masked_mean(probability, candidates)
    return torch.where(candidates == 0, 1.0, (probability >= level).to(candidates.dtype))


def weighted_cross_entropy(logits: Tensor, candidates: Tensor, weights: Tensor) -> Tensor:
    """The mean of w (-s log p - (1 - s) log(1 - p)) over all B*C entries, also those with w = 0."""
    return (weights * bce_terms(logits, candidates)).mean()


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters of CDCR."""

    rule: str = hyper(
        "threshold",
        "keep a candidate by its probability, or by its distance from the mean of its class",
        choices=("threshold", "difference"),
    )
    threshold: float = hyper(
        0.6,
        "smallest probability of a candidate that is kept",
        search=(0.3, 0.8),
        low=0.0,
        high=1.0,
    )
    warmup: float = hyper(
        0.25,
        "fraction of the epochs that train on all candidates",
        search=(0.1, 0.5),
        low=0.0,
        high=1,
    )


class CDCR(Method):
    """Curriculum disambiguation by confident candidates [from public code]."""

    info = MethodInfo(
        key="cdcr",
        title="CDCR",
        paper="Sun, Xie and Huang, A Deep Model for Partial Multi-Label Image Classification with "
        "Curriculum Based Disambiguation, 2022",
        year=2022,
        equation="L = mean w (-s log p - (1-s) log(1-p)),  before each epoch after the warm-up: "
        "w = 1 where s = 0,\nelse 1[p >= 0.6], or 1[p - m_k >= 0.6 - m] with m_k and m the means "
        "of p over the candidates of class k and of all;  s = 0 only for known negatives",
        unknown="estimated",
        regimes=REGIMES,
        needs=("memory per image", "predictions on the training set"),
        family="candidates",
        summary="drops candidates that are unlikely, epoch by epoch",
    )
    Hyper = Hyper

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """Create the head and the weights [N, C], all one."""
        setup = super().setup(problem, draw)
        setup.memory["weights"] = torch.ones_like(candidates_of(problem.observed))
        return setup

    def epoch_start(
        self, run: Run, problem: Problem, features: Tensor, clock: Clock, draw: Draw
    ) -> Run:
        """After the warm-up, recompute the weights from the predictions on all training images."""
        if clock.epoch <= self.hyper.warmup * clock.epochs:
            return run
        probability = torch.cat(
            [torch.sigmoid(self.logits(run, rows)) for rows in features.split(_ROWS)]
        )
        candidates = candidates_of(problem.observed)
        weights = kept(probability, candidates, self.hyper.threshold, self.hyper.rule)
        return replace(run, memory=run.memory | {"weights": weights})

    def step(self, run: Run, batch: Batch, clock: Clock, draw: Draw) -> Step:
        """Apply `weighted_cross_entropy` with the weights of the epoch."""
        logits = self.logits(run, batch.features)
        candidates = candidates_of(batch.observed).to(logits.dtype)
        weights = run.memory["weights"][batch.rows]
        return Step(weighted_cross_entropy(logits, candidates, weights))
