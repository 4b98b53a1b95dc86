"""Regimes: from a true label matrix to the labels that an annotator reveals.

Each regime is a rule on one uniform number per (image, class). The levels of a regime are therefore
nested, and two settings differ only by the meaning of the setting. Where labels are withheld, only
the selected labels are observed: in PPL, SPL and missing, a true negative is as unknown as a
dropped positive, because an unknown label among known negatives would reveal the dropped positive.

`Regime` is a parsed regime, `RULES` the table of rules, `observe` applies one of them.
"""

from __future__ import annotations

import dataclasses
import difflib
import os.path
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from splits.errors import InputError
from splits.labels import Labels, SparseLabels
from splits.numbers import Uniform
from splits.selection import (
    Decision,
    Level,
    Rule,
    apply_dense,
    apply_sparse,
    below_rate,
    smallest_share,
)
from splits.statistics import check_labels
from splits.variants import LabelRates

# ----------------------------------------------------------------------------- the six rules


RULES: Mapping[str, Rule] = {
    "full": Rule(others_become=None),
    "pal": Rule(
        level=Level("R", "the share of labels kept", excluded=0),
        codes=(1, 0),
        select={"bernoulli": below_rate, "exact": smallest_share},
        variants=("counts",),
    ),
    "ppl": Rule(
        level=Level("R", "the share of positives kept", excluded=0),
        codes=(1,),
        select={
            "exact": lambda pool: pool.rank < np.maximum(pool.share, 1),
            "bernoulli": lambda pool: (pool.u < pool.rate) | (pool.rank == 0),
        },
        variants=("counts",),
    ),
    "spl": Rule(codes=(1,), select={"exact": lambda pool: pool.rank == 0}),
    "missing": Rule(
        level=Level("Q", "the share of positives dropped", excluded=1),
        codes=(1,),
        select={
            "bernoulli": lambda pool: (pool.u >= pool.rate) | (pool.rank == pool.size - 1),
            "exact": lambda pool: pool.rank >= np.minimum(pool.share, pool.size - 1),
        },
        variants=("counts", "by-class"),
    ),
    "candidates": Rule(
        level=Level("RHO", "the share of negatives added", excluded=1),
        codes=(0,),
        select={"bernoulli": below_rate, "exact": smallest_share},
        selected_become=1,
        others_become=None,
        variants=("counts", "by-class", "by-image"),
    ),
}
"""Kind -> rule."""

KINDS = tuple(RULES)
FORMS = ", ".join(
    kind if rule.level is None else f"{kind}:{rule.level.symbol}" for kind, rule in RULES.items()
)
"""The standard form of every regime."""
VARIANT_FORMS = {
    "counts": "counts=exact|bernoulli",
    "by-class": "by-class=FILE (candidates: or frequency)",
    "by-image": "by-image=SPREAD",
}
"""Non-standard variant -> its form after a comma, as in `candidates:0.3,by-image=0.5`."""


# ----------------------------------------------------------------------------- a parsed regime


@dataclass(frozen=True)
class Regime:
    """A regime with its level and its non-standard variants; checked on creation.

    `str` gives the standard form (`candidates:0.3`), which split files store; `text` adds the
    variants.

    Attributes:
        kind: full, pal, ppl, spl, missing or candidates.
        level: R, Q or RHO, or None for the kinds without a level.
        counts: "exact" selects a share of each image's labels, "bernoulli" each label
            independently; None for the way of counting in the papers.
        by_class: a file with a weight per class to which the rates are proportional, or, in
            candidates, "frequency" for the true training counts; None for equal rates.
        by_image: in [0, 1], how much the rates of images differ; candidates only.
    """

    kind: str
    level: float | None = None
    counts: str | None = None
    by_class: str | None = None
    by_image: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in RULES:
            raise InputError(f"There is no regime {self.kind!r}; the regimes are {FORMS}.")
        level = RULES[self.kind].level
        if level is None and self.level is not None:
            raise InputError(f"The regime {self.kind} has no level, not {self.level}.")
        if level is not None and (self.level is None or self.level not in level):
            actual = "it has none" if self.level is None else f"not {self.level}"
            raise InputError(f"The regime {self.kind} needs a level {level}; {actual}.")
        self._check_variants()

    def _check_variants(self) -> None:
        values = {"counts": self.counts, "by-class": self.by_class, "by-image": self.by_image}
        for name, value in values.items():
            if value:
                _check_applies(name, self.kind)
        if self.counts not in (None, "exact", "bernoulli"):
            raise InputError(f"counts must be exact or bernoulli, not {self.counts!r}.")
        if not 0 <= self.by_image <= 1:
            raise InputError(f"by-image must be a number in [0, 1], not {self.by_image}.")
        if self.by_class == "frequency" and self.kind != "candidates":
            raise InputError(
                f"by-class=frequency can only be used with the regime candidates; in {self.kind}, "
                f"name a file with a weight per class."
            )
        if self.counts == "exact" and (self.by_class is not None or self.by_image):
            raise InputError("counts=exact cannot be combined with by-class or by-image.")

    def __str__(self) -> str:
        if self.level is None:
            return self.kind
        return f"{self.kind}:{_number_text(self.level)}"

    @property
    def text(self) -> str:
        """The form that `parse` reads, with the non-standard variants."""
        variants = {
            "counts": self.counts,
            "by-class": self.by_class,
            "by-image": _number_text(self.by_image) if self.by_image else None,
        }
        return ",".join([str(self), *(f"{k}={v}" for k, v in variants.items() if v is not None)])

    @property
    def noise_rate(self) -> float | None:
        """How often a negative is observed as positive or unknown: rho, or 1 - r in pal."""
        if self.level is None or self.kind not in ("candidates", "pal"):
            return None
        return self.level if self.kind == "candidates" else 1.0 - self.level

    @property
    def departs(self) -> bool:
        """Whether this differs from the regime of the papers."""
        return bool(self.departures())

    def departures(self) -> dict[str, Any]:
        """The non-standard variants by the names under which split files record them."""
        departures: dict[str, Any] = {}
        if self.counts not in (None, RULES[self.kind].standard_counts):
            departures["counts"] = self.counts
        if self.by_class is not None:
            name = "noise_by_class" if self.kind == "candidates" else "missing_by_class"
            departures[name] = self.by_class
        if self.by_image:
            departures["instance_noise"] = self.by_image
        return departures

    @classmethod
    def parse(cls, text: str) -> Regime:
        """Read `KIND[:LEVEL][,NAME=VALUE]...`; a leading `~` in a file name is expanded.

        Args:
            text: for example `ppl:0.5`, `pal:0.4,counts=exact` or
                `candidates:0.3,by-class=weights.csv,by-image=0.5`.

        Returns:
            The regime.

        Raises:
            InputError: an unknown kind, a missing, superfluous or invalid level, an unknown or
                repeated variant, or a variant that does not apply to the kind.
        """
        # Only a comma before NAME= is a separator, so a file name may contain commas.
        form, *assignments = re.split(r",(?=[^,=]*=)", text.strip())
        form, comma, stray = form.partition(",")
        if comma:
            raise InputError(f"{stray!r} in the regime {text!r} is not NAME=VALUE.")
        kind, colon, level = form.partition(":")
        try:
            number = float(level) if colon else None
        except ValueError:
            raise InputError(
                f"The level of the regime {text!r} is not a number; the regimes are {FORMS}."
            ) from None
        regime = cls(kind, number)
        return dataclasses.replace(regime, **_parse_variants(kind, assignments))


parse = Regime.parse


def _number_text(number: float) -> str:
    return repr(number + 0.0).removesuffix(".0")


def _parse_variants(kind: str, assignments: list[str]) -> dict[str, Any]:
    """Fields of `Regime` from `NAME=VALUE` texts."""
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, _, value = (part.strip() for part in assignment.partition("="))
        name = name.replace("_", "-")
        if name not in VARIANT_FORMS:
            close = difflib.get_close_matches(name, VARIANT_FORMS, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(VARIANT_FORMS)}"
            raise InputError(f"Regimes have no variant {name!r}; {hint}")
        _check_applies(name, kind)
        key = name.replace("-", "_")
        if key in values:
            raise InputError(f"{name} occurs twice in the regime.")
        if not value:
            raise InputError(f"{name} needs a value: {VARIANT_FORMS[name]}.")
        values[key] = value
    if "by_class" in values:
        values["by_class"] = os.path.expanduser(values["by_class"])
    if "by_image" in values:
        try:
            values["by_image"] = float(values["by_image"])
        except ValueError:
            raise InputError(
                f"by-image must be a number in [0, 1], not {values['by_image']!r}."
            ) from None
    return values


def _check_applies(variant: str, kind: str) -> None:
    kinds = [kind for kind, rule in RULES.items() if variant in rule.variants]
    if kind not in kinds:
        names = " and ".join(filter(None, [", ".join(kinds[:-1]), kinds[-1]]))
        noun = "regimes" if len(kinds) > 1 else "regime"
        raise InputError(f"{variant} can only be used with the {noun} {names}, not with {kind}.")


# ----------------------------------------------------------------------------- observing


def observe(
    labels: Labels,
    regime: Regime,
    uniform: Uniform,
    *,
    class_weights: np.ndarray | None = None,
    image_numbers: np.ndarray | None = None,
) -> Labels:
    """The labels that are observed under a regime.

    With one number u_ic per image and class, and n_i known positives in image i:

        full           o = y
        pal:R          o_ic = y_ic where u_ic < R, else unknown
        ppl:R          o_ic = 1 for the max(1, round(R n_i)) positives with the smallest u
        spl            o_ic = 1 for the positive with the smallest u
        missing:Q      o_ic = 1 for the positives with u_ic >= Q, or, if none is left, for the
                       one with the largest u
        candidates:RHO o_ic = 1 for the positives and for the negatives with u_ic < RHO, else 0

    In ppl, spl and missing all other labels are unknown, true negatives included; halves round up.
    Labels that the source does not know stay unknown in every regime. An image without positives
    has no observed label in ppl, spl and missing.

    The non-standard variants, with k the number of labels in image i that the rule decides about
    (pal: known labels; ppl, missing: positives; candidates: negatives):

        counts=exact      pal keeps the round(R k) labels with the smallest u, ppl keeps
                          max(1, round(R k)), missing drops min(round(Q k), k - 1), candidates
                          adds round(RHO k)
        counts=bernoulli  each label independently, u < level; ppl always keeps the smallest u
        by-class, by-image  the rates of `splits.variants.LabelRates` instead of one level; if an
                          image would lose all its positives, missing keeps the largest u / w_c

    Args:
        labels: true labels, int8 [N, C], codes 1, 0, -1, dense or sparse.
        regime: the regime.
        uniform: numbers `(rows, columns) -> float64` in [0, 1), broadcasting, keyed by image id
            and class name.
        class_weights: float64 [C] of numbers >= 0, the weights that `by-class` names.
        image_numbers: float64 [N], a uniform number per image, for `by-image`.

    Returns:
        int8 [N, C]. Dense labels give a new array. Sparse labels give sparse ones with fill -1,
        except in full and candidates, which keep the fill. If they would need more memory than an
        array (only possible in pal and candidates with known negatives), they give an array.

    Raises:
        InputError: not a label matrix; weights or numbers that are missing, unused or invalid.

    Source: PAL, PPL and SPL: arXiv 2308.00166; missing: Zhang et al., ICCV 2023, whose script is
    not public; candidates: the rule of the released LT-PML generators.
    """
    check_labels(labels)
    _check_arrays(regime, labels.shape, class_weights, image_numbers)
    rule = RULES[regime.kind]
    if not rule.select:
        return labels if isinstance(labels, SparseLabels) else np.array(labels, np.int8, order="C")
    level = 0.0 if regime.level is None else float(regime.level)
    decision = Decision(
        rule,
        rule.selection(regime.counts),
        LabelRates(level, class_weights, regime.by_image, image_numbers),
        uniform,
    )
    if isinstance(labels, SparseLabels):
        return apply_sparse(decision, labels)
    return apply_dense(decision, np.array(labels, np.int8, order="C"))


def _check_arrays(
    regime: Regime,
    shape: tuple[int, ...],
    class_weights: np.ndarray | None,
    image_numbers: np.ndarray | None,
) -> None:
    for name, array, variant, is_used, size in (
        ("class_weights", class_weights, "by-class", regime.by_class is not None, shape[1]),
        ("image_numbers", image_numbers, "by-image", regime.by_image != 0, shape[0]),
    ):
        if array is None and not is_used:
            continue
        if not is_used:
            raise InputError(
                f"{name} can only be used with {variant}; the regime is {regime.text}."
            )
        if array is None or array.shape != (size,):
            actual = "which are missing" if array is None else f"not of shape {array.shape}"
            raise InputError(f"The regime {regime.text} needs {size} {name}, {actual}.")
    if class_weights is not None and not ((class_weights >= 0) & np.isfinite(class_weights)).all():
        raise InputError("The weights of the classes must be finite numbers >= 0.")
