"""Published splits: from `splits.published` to a `Decision` for `benchkit.split.build.build`."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path

from benchkit.base import random
from benchkit.split.decision import Decision, Subject, hold_out
from benchkit.split.options import LongTail, Options
from splits.errors import InputError
from splits.published.core import contract, registry
from splits.published.core.contract import Published, Tools
from splits.regimes import Regime
from splits.source import Source

_FIXED = {
    "long_tail": "--long-tail",
    "pareto_b": "--pareto-b",
    "maximum": "--max",
    "minimum": "--min",
    "tail_quantile": "--tail-quantile",
    "imbalance_ratio": "--imbalance-ratio",
    "target_counts": "--target-counts",
    "generator": "--generator",
    "test_fraction": "--test-fraction",
    "many": "--many",
    "few": "--few",
    "shot_reference": "--shot-reference",
}
"""Argument -> option; fixed by every published split."""


def check(name: str, files: Mapping[str, Path], explicit: Collection[str]) -> None:
    """Check everything about a published split that needs no file.

    Args:
        name: the published split.
        files: role -> list file.
        explicit: the names of the arguments that the caller passed.

    Raises:
        InputError: an unknown split or role, an unavailable split, or an argument that the split
            fixes.
    """
    registry.check_call(registry.get(name), files)
    _check_fixed(name, _FIXED, explicit)


def decide(
    name: str,
    source: Source | None,
    files: Mapping[str, Path],
    options: Options,
    *,
    explicit: Collection[str] = (),
    images: Path | None = None,
) -> Subject:
    """Build a published split.

    Args:
        name: the published split.
        source: the data set that it is made from; None if list files carry the labels.
        files: role -> list file.
        options: the caller's decisions about labels.
        explicit: the names of the arguments that the caller passed.
        images: the folder of the images, for a split made from list files alone.

    Raises:
        InputError: the split cannot be built, does not agree with its publication, or fixes an
            argument that the caller passed.
    """
    published = registry.get(name)
    tools = Tools(python_sampler=random.python_sampler, numpy_state=random.numpy_state)
    built = registry.build(published, source, files, tools)
    if built.regime is not None:
        _check_fixed(name, {"regime": "--regime"}, explicit)
    if len(built.val):
        _check_fixed(name, {"val_fraction": "--val-fraction"}, explicit)
        rows = {"train": built.train, "val": built.val}
    else:
        rows = hold_out(
            built.train, random.hash_texts(built.source.image_ids[built.train]), options
        )
    regime = None if built.regime is None else Regime.parse(built.regime)
    decision = Decision(
        rows={**rows, "test": built.test},
        recipe={
            "source": name,
            "published": name,
            "long_tail": {"kind": "published"},
            "val_fraction": "published" if len(built.val) else options.val_fraction,
        },
        provenance={
            "published": {
                "paper": published.paper,
                "made": published.made,
                "notes": list(built.notes),
            }
        },
        observed=built.observed,
        regime=regime,
    )
    full = built.source
    if source is None and images is not None and not full.roots:
        full = dataclasses.replace(full, roots=(images,))
    is_plain = regime is not None or options.regime.text == "full"
    return Subject(
        source=full,
        options=_with_shots(options, published),
        decision=decision,
        name=name if is_plain else f"{name}-{options.regime}",
        notes=built.notes,
    )


def _with_shots(options: Options, published: Published) -> Options:
    return dataclasses.replace(
        options,
        long_tail=LongTail(),
        many=contract.MANY,
        few=contract.FEW,
        shot_reference=published.reference,
    )


def _check_fixed(name: str, fixed: Mapping[str, str], explicit: Collection[str]) -> None:
    for argument, option in fixed.items():
        if argument in explicit:
            raise InputError(f"{option} cannot be used with {name}, which fixes it; leave it out.")
