"""Class-aware sampling and class counts, for long-tailed methods."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from baselines.core import (
    ClassAware,
    Clock,
    Draw,
    Method,
    Problem,
    Run,
    Sampling,
    Setup,
    Shuffle,
    hyper,
)
from baselines.core.sampling import LENGTHS, epoch_length
from baselines.core.statistics import class_counts


@dataclass(frozen=True)
class SamplerHyper:
    """Hyperparameters of the sampler."""

    sampler: str = hyper(
        "class-aware",
        "order of images in an epoch",
        search=("class-aware", "shuffle"),
        paper={"voc-lt": "class-aware", "coco-lt": "class-aware"},
        choices=("class-aware", "shuffle"),
    )
    sampler_labels: str = hyper(
        "observed", "labels by which the sampler lists images", choices=("observed", "true")
    )
    length: str = hyper(
        "images",
        "rows of a class-aware epoch: the number of images, or max_c n_c * C / reduce",
        choices=LENGTHS,
        paper={"voc-lt": "classes", "coco-lt": "classes"},
    )
    reduce: int = hyper(
        4, "divisor of the epoch length with length=classes", search=(1, 2, 4, 8), low=1
    )


@dataclass(frozen=True)
class CountsHyper:
    """The hyperparameter that selects the class counts."""

    counts: str = hyper(
        "observed", "positives per class: observed or true", choices=("observed", "true")
    )


class Counting(Method):
    """A method that uses the class counts n_c and N; its `Hyper` is a `CountsHyper`."""

    def oracle(self) -> tuple[str, ...]:
        """The true counts, if the options ask for them."""
        names = ("true_counts",) if self.hyper.counts == "true" else ()
        return tuple(dict.fromkeys(names + super().oracle()))

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """Create the head, the class counts and the number of images."""
        setup = super().setup(problem, draw)
        counts = class_counts(problem.labels)
        if self.hyper.counts == "true":
            counts = torch.as_tensor(problem.oracle["true_counts"]).to(counts)
        setup.constants["class_counts"] = counts
        setup.constants["num_images"] = counts.new_tensor(problem.num_images)
        return setup


class Resampled(Method):
    """A method with class-aware sampling by default; its `Hyper` is a `SamplerHyper`."""

    def oracle(self) -> tuple[str, ...]:
        """The true labels, if the sampler lists images by them."""
        names = ("true_labels",) if self._sampler_is_oracle() else ()
        return tuple(dict.fromkeys(names + super().oracle()))

    def _sampler_is_oracle(self) -> bool:
        return self.hyper.sampler == "class-aware" and self.hyper.sampler_labels == "true"

    def _lists(self, problem: Problem) -> ClassAware:
        """The list of images of each class."""
        return ClassAware(
            problem.oracle["true_labels"] if self._sampler_is_oracle() else problem.labels
        )

    def epoch_length(self, problem: Problem, stage: int) -> int:
        """N rows, or the epoch length of the sampler."""
        length = self.hyper.length if self.hyper.sampler == "class-aware" else "images"
        counts = self._lists(problem).sizes()
        return epoch_length(length, counts, problem.num_images, self.hyper.reduce)

    def sampling(self, run: Run, problem: Problem, clock: Clock) -> Sampling:
        """Visit three images of each drawn class, or every image once."""
        if self.hyper.sampler == "shuffle":
            return Shuffle()
        return self._lists(problem)
