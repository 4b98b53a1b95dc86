"""The decisions about labels that make a split from a source."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from splits import class_file, holdout, long_tail, shots
from splits.class_file import ClassFile
from splits.errors import InputError
from splits.regimes import Regime


@dataclass(frozen=True)
class LongTail:
    """How a long-tailed subset of the training images is drawn.

    Attributes:
        kind: pareto, exponential, counts (with `targets`), or none and natural, which keep every
            training image; natural records that the distribution is long-tailed already.
        b: the exponent of the Pareto curve.
        maximum: the reference count of the largest class.
        minimum: the floor of the Pareto curve.
        tail_quantile: the quantile of the Pareto distribution at the last class.
        generator: benchkit (keyed by image and class) or dbl (the published generator, exact).
        imbalance_ratio: the first target of the exponential curve over its last.
        targets: the target count of each class; kind counts only.
    """

    kind: str = "none"
    b: float = 6.0
    maximum: int = 800
    minimum: int = 1
    tail_quantile: float = 0.99
    generator: str = "benchkit"
    imbalance_ratio: float = 100.0
    targets: ClassFile | None = None

    def curve(self, num_classes: int) -> np.ndarray:
        """The target count at each rank of a pareto or exponential curve, int64 [C].

        Raises:
            InputError: a parameter is out of range.
        """
        if self.kind == "exponential":
            return long_tail.exponential_targets(
                num_classes, imbalance_ratio=self.imbalance_ratio, maximum=self.maximum
            )
        return long_tail.pareto_targets(
            num_classes,
            b=self.b,
            maximum=self.maximum,
            minimum=self.minimum,
            tail_quantile=self.tail_quantile,
        )


_FULL = Regime("full")


@dataclass(frozen=True)
class Options:
    """All decisions about labels.

    Attributes:
        long_tail: see `LongTail`.
        regime: the label regime of the training and validation images.
        val_fraction: the size of the validation part as a share of the N images of the long tail,
            in [0, 1), or in (0, 1] if they are left out.
        val_from: train, which moves images of the long tail to the validation part, or left-out,
            which takes up to round(val_fraction N) images that the long tail left out.
        test_fraction: the share of all images in the test part, if the source has none.
        seed: the seed of all random draws; part of the provenance, not of the identity.
        many: the smallest training count of a many-shot class.
        few: the smallest training count of a medium-shot class.
        shot_reference: whether shot groups use true or observed training counts.
    """

    long_tail: LongTail = LongTail()
    regime: Regime = _FULL
    val_fraction: float = 0.0
    val_from: str = "train"
    test_fraction: float = 0.2
    seed: int = 0
    many: int = 100
    few: int = 20
    shot_reference: str = "true"

    @functools.cached_property
    def class_weights(self) -> ClassFile | None:
        """The file that the regime's `by-class` names, read once; None without one.

        Raises:
            InputError: the file cannot be read, or holds something other than numbers >= 0.
        """
        by_class = self.regime.by_class
        if by_class is None or by_class == "frequency":
            return None
        return class_file.read(Path(by_class), whole_numbers=False)

    def check(self) -> None:
        """Check ranges and files, before a source is read or anything is drawn.

        Raises:
            InputError: a value is out of range, or a file cannot be read.
        """
        _ = self.class_weights
        shots.shot_groups(np.zeros(1, np.int64), self.many, self.few)
        fractions = [self.test_fraction]
        if self.val_from == "train":
            fractions.append(self.val_fraction)
        elif not 0 < self.val_fraction <= 1:
            raise InputError(
                "The validation part must have a share in (0, 1] of the number of training images, "
                f"not {self.val_fraction}."
            )
        for fraction in fractions:
            holdout.held_out(np.linspace(0, 0.5, 4), fraction)
        if self.long_tail.kind in ("pareto", "exponential"):
            self.long_tail.curve(2)
