"""cRT: train plainly, then train a fresh classifier on class-balanced rows of a frozen network.

On frozen features with a linear head the representation is the features themselves, so the second
stage alone decides: a new linear head, trained class-aware. With a hidden head the first stage
trains `neck.*`, which the second keeps while it draws and trains `head.*` anew.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from baselines.bce import bce
from baselines.core import (
    Batch,
    ClassAware,
    Clock,
    Draw,
    Method,
    MethodInfo,
    Problem,
    Run,
    Sampling,
    Shuffle,
    Stage,
    hyper,
    positives,
)
from baselines.core.sampling import LENGTHS, epoch_length
from baselines.core.statistics import class_counts

SECOND = 1  # position of the second stage


@dataclass(frozen=True)
class BalancedHyper:
    """The rows of a class-aware second stage."""

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

    What learns in which stage is up to the method; the class lists of the sampler hold the
    observed positives.
    """

    def epoch_length(self, problem: Problem, stage: int) -> int:
        """Every image once; in the second stage what `length` says."""
        length = self.hyper.length if stage == SECOND else "images"
        return epoch_length(length, class_counts(problem.labels), problem.num_images)

    def sampling(self, run: Run, problem: Problem, clock: Clock) -> Sampling:
        """Shuffled, then class-aware over the observed positives (if there is any)."""
        if clock.stage != SECOND or not bool(problem.labels.count(1).any()):
            return Shuffle()
        return ClassAware(problem.labels, per_class=self.hyper.per_class)

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Binary cross-entropy, unknown as negative."""
        return bce(logits, positives(batch.observed, logits.dtype))


@dataclass(frozen=True)
class Hyper(BalancedHyper):
    """The second stage; the first is the recipe's."""

    classifier_epochs: int = hyper(
        10,
        "epochs of the class-aware second stage",
        search=(5, 10, 20),
        paper={"imagenet-lt": 10},
        low=1,
    )


class CRT(Decoupled):
    """Classifier re-training: the representation from all rows, the classifier from balanced ones.

    Both stages minimise L = mean_{b,c} [softplus(z) - y z]; they differ in what learns and in the
    rows they visit.
    """

    info = MethodInfo(
        key="crt",
        title="cRT",
        paper="Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition, "
        "ICLR 2020",
        year=2020,
        version="2",
        equation="stage 1: BCE, every image once; stage 2: the same loss, head drawn anew, "
        "the rest frozen, class-aware sampling",
        unknown="negative",
        needs=("observed positives per class (sampler)", "two stages"),
        differs="Published for one label per image with softmax cross-entropy; here binary "
        "cross-entropy in both stages. Their code freezes the backbone but lets its batch "
        "normalisation statistics move, and gives the second stage an optimiser of its own "
        "(learning rate 0.2, cosine, weight decay 5e-4); here frozen is frozen and the recipe's "
        "optimiser starts afresh.",
        source="equations",
        reference="BCE and the stages of Kang et al., ICLR 2020; "
        "facebookresearch/classifier-balancing@22370c6, read and not run",
        tolerance="loss 1e-6 in float32; stages and rows exact",
        evidence=(
            "tests/baselines/test_crt.py::test_loss_takes_unknown_as_negative",
            "tests/baselines/test_crt.py::test_stages",
            "tests/baselines/test_crt.py::test_rows_of_the_two_stages",
        ),
    )
    Hyper = Hyper

    def stages(self) -> tuple[Stage, ...]:
        """The whole model, then the classifier alone from a fresh start."""
        return (
            Stage("representation"),
            Stage(
                "classifier",
                epochs=self.hyper.classifier_epochs,
                train=("head",),
                restart=("head",),
            ),
        )
