"""Published splits on their way into a split file: `splits.published` and `benchkit.split.build`.

A published split becomes a source that holds its images alone, so that features, regimes and
counts go the way of every other split; what it fixes itself is put in at the end.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchkit.base import random
from benchkit.split import build as making
from benchkit.split.model import Part, Split
from splits import shots
from splits.errors import InputError
from splits.published.core import contract, registry
from splits.published.core.contract import Published, Tools
from splits.source import Source

SOURCE = "lists"
"""The word for SOURCE where a published split's list files carry labels and need no source."""

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
_OF_LABELS = {
    "regime": "--regime",
    "counts": "--counts",
    "noise_by_class": "--noise-by-class",
    "instance_noise": "--instance-noise",
    "missing_by_class": "--missing-by-class",
}
_OF_VAL = {"val_fraction": "--val-fraction"}


@dataclass(frozen=True, eq=False)
class Chosen:
    """A published split as a source of its own images, and what it fixes.

    Attributes:
        published: the split's description.
        source: its images: train, then val, then test.
        val: how many of them are val.
        observed: int8 [N, C], or None where `--regime` decides.
        regime: what `observed` is, or None.
        notes: what a user should be told.
    """

    published: Published
    source: Source
    val: int
    observed: np.ndarray | None
    regime: str | None
    notes: tuple[str, ...]


def request(name: str, words: Sequence[str], given: Collection[str]) -> dict[str, Path]:
    """The list files of a call, after checking all that can be checked before reading.

    Args:
        name: the published split.
        words: each "ROLE=PATH".
        given: the parameters that stand in the call itself.

    Returns:
        Role -> file.

    Raises:
        InputError: no such split or role, a role that comes twice, an option that the split fixes,
            a split that cannot be made.
    """
    published, files = registry.get(name), {}
    for word in words:
        role, equals, path = word.partition("=")
        if not equals or not path:
            raise InputError(f"--published-file {word!r} is not ROLE=PATH.")
        if role in files:
            raise InputError(f"--published-file {role} is given twice.")
        files[role] = Path(path)
    registry.check_call(published, files)
    _refuse(name, _FIXED, given)
    return files


def _refuse(name: str, fixed: Mapping[str, str], given: Collection[str]) -> None:
    for parameter, option in fixed.items():
        if parameter in given:
            raise InputError(f"{name} fixes what {option} says; leave it out.")


def laws(chosen: Chosen, wanted: making.Options) -> making.Options:
    """The options of a split whose long tail and shot groups a published split decides."""
    return dataclasses.replace(
        wanted,
        long_tail=making.LongTail(),
        many=contract.MANY,
        few=contract.FEW,
        shot_reference=chosen.published.reference,
    )


def choose(
    name: str,
    source: Source | None,
    files: Mapping[str, Path],
    given: Collection[str] = (),
    roots: tuple[Path, ...] = (),
) -> Chosen:
    """Build a published split and cut the source down to it.

    Args:
        name: the published split.
        source: the data set it is made from, or None.
        files: role -> list file.
        given: the parameters that stand in the call itself.
        roots: the folder of the images, for a split made from lists alone.

    Raises:
        InputError: it cannot be built, does not come out as published, or fixes what the call
            gives.
    """
    published = registry.get(name)
    tools = Tools(python_sampler=random.python_sampler, numpy_state=random.numpy_state)
    rows = registry.build(published, source, files, tools)
    _refuse(name, _OF_LABELS if rows.regime is not None else {}, given)
    _refuse(name, _OF_VAL if len(rows.val) else {}, given)
    order = np.concatenate([rows.train, rows.val, rows.test])
    part = np.zeros(len(order), np.uint8)
    part[len(order) - len(rows.test) :] = making.TEST
    full = rows.source
    return Chosen(
        published=published,
        source=Source(
            name=name,
            class_names=full.class_names,
            image_ids=full.image_ids[order],
            labels=np.asarray(full.labels)[order],
            part=part,
            paths=None if full.paths is None else full.paths[order],
            roots=full.roots or (roots if source is None else ()),
            features=None if full.features is None else full.features[order],
            digests=full.digests,
        ),
        val=len(rows.val),
        observed=None if rows.observed is None else rows.observed[order],
        regime=rows.regime,
        notes=rows.notes,
    )


def finish(split: Split, chosen: Chosen) -> Split:
    """Put in what the published split fixes: its name, validation part and observed labels.

    Args:
        split: what `benchkit.split.build.build` made of `chosen.source`.
        chosen: the published split.
    """
    labels = {
        **split.recipe["labels"],
        "published": chosen.published.name,
        "long_tail": {"kind": "published"},
    }
    parts = dict(split.parts)
    if chosen.val:
        labels["val_fraction"] = "published"
        cut = len(parts["train"].ids) - chosen.val
        whole = parts["train"]
        parts = {
            "train": _rows(whole, slice(None, cut)),
            "val": _rows(whole, slice(cut, None)),
            "test": parts["test"],
        }
    if chosen.observed is not None:
        labels["regime"] = chosen.regime
        at = {str(image): row for row, image in enumerate(chosen.source.image_ids)}
        for name in parts.keys() - {"test"}:
            seen = chosen.observed[[at[str(image)] for image in parts[name].ids]]
            parts[name] = dataclasses.replace(parts[name], observed=seen)
    true_count, observed_count = (_count(parts["train"], kind) for kind in ("true", "observed"))
    observed = split.thresholds["reference"] == "observed"
    return dataclasses.replace(
        split,
        recipe={**split.recipe, "labels": labels},
        parts=parts,
        train_count=true_count,
        observed_count=observed_count,
        shot=shots.shot_groups(
            observed_count if observed else true_count,
            split.thresholds["many"],
            split.thresholds["few"],
        ),
        provenance={
            **split.provenance,
            "published": {
                "paper": chosen.published.paper,
                "made": chosen.published.made,
                "notes": list(chosen.notes),
            },
        },
    )


def default_name(chosen: Chosen, wanted: making.Options) -> str:
    """A split's name, as in `plt-voc-missing:0.4`; the published name where it says all."""
    if chosen.regime is not None or wanted.regime == "full":
        return chosen.published.name
    return f"{chosen.published.name}-{wanted.regime}"


def _count(part: Part, kind: str) -> np.ndarray:
    return (np.asarray(getattr(part, kind)) == 1).sum(axis=0, dtype=np.int64)


def _rows(part: Part, rows: slice) -> Part:
    """Some rows of a part, nothing copied."""
    cut: dict[str, Any] = {}
    for field in dataclasses.fields(part):
        array = getattr(part, field.name)
        cut[field.name] = None if array is None else array[rows]
    return Part(**cut)
