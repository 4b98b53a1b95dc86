"""The arguments of `make_split`, with their defaults and choices.

The command line reads its defaults and choices from here. This module imports nothing heavy, so
`benchkit make-split --help` is fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchkit.base.errors import UsageError

LISTS = "lists"
"""The source of a published split whose list files carry labels: `lists` or `lists:FOLDER`."""

CHOICES: Mapping[str, tuple[str, ...]] = {
    "long_tail": ("pareto", "exponential", "natural", "none"),
    "generator": ("benchkit", "dbl"),
    "val_from": ("train", "left-out"),
    "shot_reference": ("true", "observed"),
    "precision": ("fp32", "bf16"),
    "feature_type": ("float32", "float16"),
    "device": ("auto", "cpu", "cuda"),
}
"""Argument -> its allowed values."""


@dataclass(frozen=True)
class Request:
    """One call of `make_split`.

    Attributes:
        source: KIND:PATH, such as `arrays:mine.npz`, or `scenes`, or `lists[:FOLDER]` for a
            published split made from list files alone.
        out: the split file to write.
        name: the name of the split in tables; None derives it from the source and the options.
        source_options: option of the source -> value, as text or typed.
        published: the name of a published split, or None.
        published_files: role -> list file of the published split.
        long_tail: pareto, exponential, natural or none.
        pareto_b: the exponent of the Pareto curve.
        maximum: the reference count of the largest class.
        minimum: the floor of the Pareto curve.
        tail_quantile: the quantile of the Pareto distribution at the last class.
        imbalance_ratio: the first target of the exponential curve over its last.
        target_counts: a file with a target count per class, which replaces the curve, or None.
        generator: benchkit (keyed by image and class) or dbl (the published generator, exact).
        regime: the label regime, as `Regime.parse` reads it.
        val_fraction: the size of the validation part as a share of the training images; see
            `Options`.
        val_from: train (images held out of the training part) or left-out (images that the long
            tail left out).
        test_fraction: the share of the images in the test part, if the source has none.
        seed: the seed of all random draws.
        many: the smallest training count of a many-shot class.
        few: the smallest training count of a medium-shot class.
        shot_reference: whether shot groups use true or observed training counts.
        backbone: a torchvision model, glyphs or none; None for the default of the source.
        weights: imagenet, random, shipped or a file; None for the default of the backbone.
        image_size: the side of the square, in pixels, to which images are resized; None for the
            default of the backbone.
        views: views per image, 1 or 2 (with the horizontal flip).
        precision: fp32 or bf16, the precision of the backbone's forward pass.
        feature_type: float32 or float16, the type of the stored features.
        device: auto, cpu or cuda.
        extract_batch: images per forward pass.
        cache: the folder of the feature cache; None for `features` beside the split file.
        explicit: the names of the arguments that the caller passed. An explicit argument without
            effect is an error; a default is not.
    """

    source: str
    out: Path
    name: str | None = None
    source_options: Mapping[str, Any] = field(default_factory=dict)
    published: str | None = None
    published_files: Mapping[str, Path] = field(default_factory=dict)
    long_tail: str = "none"
    pareto_b: float = 6.0
    maximum: int = 800
    minimum: int = 1
    tail_quantile: float = 0.99
    imbalance_ratio: float = 100.0
    target_counts: Path | None = None
    generator: str = "benchkit"
    regime: str = "full"
    val_fraction: float = 0.0
    val_from: str = "train"
    test_fraction: float = 0.2
    seed: int = 0
    many: int = 100
    few: int = 20
    shot_reference: str = "true"
    backbone: str | None = None
    weights: str | None = None
    image_size: int | None = None
    views: int = 1
    precision: str = "fp32"
    feature_type: str = "float32"
    device: str = "auto"
    extract_batch: int = 64
    cache: Path | None = None
    explicit: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise UsageError(f"{name}={value!r} is not one of {', '.join(choices)}")
