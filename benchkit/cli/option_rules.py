"""Where the options of `benchkit make-split` have a say; elsewhere they are refused, not ignored.

`RULES` is the one table, `ALWAYS` the options that every split depends on. An option of neither
would be a gap, which the tests look for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import click


@dataclass(frozen=True)
class Call:
    """What a call has chosen, as far as it is known yet.

    Attributes:
        source: coco (by --annotations), scenes, lists (of a published split), or "kind:".
        tail: the long tail's law, counts with --target-counts; "published" where the split
            fixes it.
        regime: its kind.
        backbone: the backbone's name, or none.
        parts: whether the source has a test part; None before it is read.
        features: whether the split has features; None before the source is read.
    """

    source: str
    tail: str
    regime: str
    backbone: str
    parts: bool | None = None
    features: bool | None = None

    @property
    def computes(self) -> bool:
        """Whether a backbone computes features."""
        return self.backbone != "none"


@dataclass(frozen=True)
class Rule:
    """The values of one field of `Call` that give an option a say.

    Attributes:
        field: of `Call`.
        values: those values; a field that is not known yet never refuses.
        where: the end of the sentence, "it goes with ...".
        why: what the call has instead, with the field's value as `{}`.
    """

    field: str
    values: tuple[object, ...]
    where: str
    why: str


def _tail(*laws: str) -> Rule:
    named = " or ".join(law for law in laws if law != "counts")
    where = f"--long-tail {named}" + (" or --target-counts" if "counts" in laws else "")
    return Rule("tail", laws, where, "the long tail is {}")


def _regime(*kinds: str) -> Rule:
    return Rule("regime", kinds, f"--regime {' or '.join(kinds)}", "the regime is {}")


_COCO = Rule("source", ("coco",), "source coco with --annotations", "the source is {}")
_IMAGES = Rule(
    "source",
    ("coco", "lists"),
    "source coco with --annotations and with lists; other sources have options of their own "
    "(--help-source)",
    "the source is {}",
)
_SCENES = Rule("source", ("scenes",), "source scenes", "the source is {}")
_BACKBONE = Rule("computes", (True,), "a --backbone", "no backbone computes features here")

RULES: Mapping[str, tuple[str, Rule]] = {
    "annotations": ("--annotations", _COCO),
    "images": ("--images", _IMAGES),
    "test_annotations": ("--test-annotations", _COCO),
    "test_images": ("--test-images", _COCO),
    "keep_empty": ("--keep-empty", _COCO),
    "crowd": ("--crowd", _COCO),
    "scenes_dir": ("--scenes-dir", _SCENES),
    "scenes_train": ("--scenes-train", _SCENES),
    "scenes_test": ("--scenes-test", _SCENES),
    "weights": ("--weights", _BACKBONE),
    "image_size": ("--image-size", _BACKBONE),
    "views": ("--views", _BACKBONE),
    "precision": ("--precision", _BACKBONE),
    "device": ("--device", _BACKBONE),
    "extract_batch": ("--extract-batch", _BACKBONE),
    "cache": ("--cache", _BACKBONE),
    "feature_type": (
        "--feature-type",
        Rule("features", (True,), "a source with features or a --backbone", "there are none"),
    ),
    "pareto_b": ("--pareto-b", _tail("pareto")),
    "maximum": ("--max", _tail("pareto", "exponential")),
    "minimum": ("--min", _tail("pareto")),
    "tail_quantile": ("--tail-quantile", _tail("pareto")),
    "imbalance_ratio": ("--imbalance-ratio", _tail("exponential")),
    "generator": ("--generator", _tail("pareto", "exponential", "counts")),
    "counts": ("--counts", _regime("pal", "ppl", "missing", "candidates")),
    "noise_by_class": ("--noise-by-class", _regime("candidates")),
    "instance_noise": ("--instance-noise", _regime("candidates")),
    "missing_by_class": ("--missing-by-class", _regime("missing")),
    "test_fraction": (
        "--test-fraction",
        Rule("parts", (False,), "a source without a test part", "the source has a test part"),
    ),
}
"""Parameter -> the option, and where it has a say."""

ALWAYS = frozenset(
    {
        *("source", "out", "name", "seed", "many", "few", "shot_reference", "val_fraction"),
        *("long_tail", "target_counts", "regime", "backbone"),
        *("published", "published_file", "source_options"),  # these have sentences of their own
    }
)
"""Parameters that every split depends on, or that are checked where they are read."""


def check(call: Call, given: Collection[str]) -> None:
    """Refuse options that have no say in a call.

    Args:
        call: what is known of it.
        given: the parameters that stand in the call itself; defaults are never refused.

    Raises:
        click.UsageError: the first such option; why, and where it would have a say.
    """
    for parameter, (option, rule) in RULES.items():
        if parameter not in given:
            continue
        value = getattr(call, rule.field)
        if value is not None and value not in rule.values:
            why = rule.why.format(
                "--target-counts" if value == "counts" else str(value).rstrip(":")
            )
            raise click.UsageError(
                f"{option} has no effect, because {why}; it goes with {rule.where}"
            )
