"""Which options of `make_split` apply to which call. An explicit option without effect is an error.

`RULES` is the only table of conditions. `ALWAYS` lists the arguments that apply to every split, or
that are checked where they are read. A test checks that every argument is in one of the two.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from benchkit.base.errors import UsageError


@dataclass(frozen=True)
class Call:
    """The properties of a call on which options depend.

    Attributes:
        tail: the long tail: a choice of `--long-tail`, counts with `--target-counts`, or published
            if a published split fixes it.
        backbone: the name of the backbone, or none.
        parts: whether the source has a test part; None if that is not known yet.
        features: whether the split has features; None if that is not known yet.
        val: whether the source has a validation part; None if that is not known yet.
        observed: whether the source has observed labels of its own.
    """

    tail: str
    backbone: str
    parts: bool | None = None
    features: bool | None = None
    val: bool | None = None
    observed: bool = False

    @property
    def computes(self) -> bool:
        """Whether a backbone computes features."""
        return self.backbone != "none"


@dataclass(frozen=True)
class Rule:
    """The values of one property of a call for which an option applies.

    Attributes:
        field: the property of `Call`.
        values: the values for which the option applies. An unknown value (None) passes.
        requires: completes the sentence "it must be used with ...".
        reason: why the option has no effect, with the property's value as `{}`.
    """

    field: str
    values: tuple[object, ...]
    requires: str
    reason: str


def _tail(*kinds: str) -> Rule:
    requires = f"--long-tail {' or '.join(kind for kind in kinds if kind != 'counts')}"
    requires += " or --target-counts" if "counts" in kinds else ""
    return Rule("tail", kinds, requires, "the long tail is {}")


_VAL = Rule(
    "val", (False,), "a source without a validation part", "the source has a validation part"
)
_BACKBONE = Rule("computes", (True,), "a --backbone", "no backbone computes features here")

RULES: Mapping[str, tuple[str, Rule]] = {
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
    "test_fraction": (
        "--test-fraction",
        Rule("parts", (False,), "a source without a test part", "the source has a test part"),
    ),
    "val_fraction": ("--val-fraction", _VAL),
    "val_from": ("--val-from", _VAL),
    "regime": (
        "--regime",
        Rule(
            "observed",
            (False,),
            "a source without the options observed and candidates",
            "the source has observed labels of its own",
        ),
    ),
}
"""Argument -> the option of the command line, and the calls to which it applies."""

ALWAYS = frozenset(
    {
        *("source", "out", "name", "seed", "many", "few", "shot_reference"),
        *("long_tail", "target_counts", "backbone"),
        *("published", "published_files", "source_options"),
    }
)
"""Arguments that apply to every split, or that are checked where they are read."""


def check(call: Call, explicit: Collection[str]) -> None:
    """Check that every explicit option applies to a call.

    Args:
        call: the properties of the call that are known.
        explicit: the names of the arguments that the caller passed.

    Raises:
        UsageError: an option has no effect; the message says why and what it must be used with.
    """
    for argument, (option, rule) in RULES.items():
        if argument not in explicit:
            continue
        value = getattr(call, rule.field)
        if value is not None and value not in rule.values:
            reason = rule.reason.format("--target-counts" if value == "counts" else value)
            raise UsageError(
                f"{option} has no effect, because {reason}; it must be used with {rule.requires}"
            )
