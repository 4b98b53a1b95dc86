"""Two stages of binary cross-entropy, the second one on class-balanced rows."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from baselines.core import (
    Batch,
    ClassAware,
    Clock,
    Draw,
    Method,
    Problem,
    Run,
    Sampling,
    Shuffle,
    hyper,
    positives,
)
from baselines.core.sampling import LENGTHS, epoch_length
from baselines.core.statistics import class_counts
from baselines.shared.binary_cross_entropy import bce

SECOND = 1  # position of the second stage


@dataclass(frozen=True)
class BalancedHyper:
    """Hyperparameters of the sampler of the second stage."""

    per_class: int = hyper(
        4,
        "images per drawn class in the second stage",
        search=(1, 3, 4),
        paper={"imagenet-lt": 4},
        low=1,
    )
    length: str = hyper(
        "images",
        "rows per epoch of the second stage: the number of images, or max_c n_c * C / 4",
        choices=LENGTHS,
        paper={"imagenet-lt": "images"},
    )


class Decoupled(Method):
    """Two stages of binary cross-entropy: the first on all rows, the second class-aware.

    Subclasses choose the parameters that each stage trains. The sampler lists images by their
    observed positives.
    """

    def epoch_length(self, problem: Problem, stage: int) -> int:
        """N rows in the first stage; in the second as many as `length` says."""
        length = self.hyper.length if stage == SECOND else "images"
        return epoch_length(length, class_counts(problem.labels), problem.num_images)

    def sampling(self, run: Run, problem: Problem, clock: Clock) -> Sampling:
        """Shuffle, then sample by class, if there is any observed positive."""
        if clock.stage != SECOND or not bool(problem.labels.count(1).any()):
            return Shuffle()
        return ClassAware(problem.labels, per_class=self.hyper.per_class)

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Apply `bce`; unknown labels count as negative."""
        return bce(logits, positives(batch.observed, logits.dtype))
