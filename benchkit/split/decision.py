"""Which images of a source are in each part of a split: drawn here, or taken from a publication.

A source may define its own test part, validation part and observed labels.

`draw` decides by the long tail and the held-out fractions of the options. A published split makes
the same kind of `Decision` in `benchkit.split.published`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchkit.base import random
from benchkit.split.options import LongTail, Options
from leaderboard.record import canonical
from splits import holdout, long_tail, own_labels
from splits import labels as matrices
from splits.class_file import ClassFile
from splits.errors import InputError
from splits.labels import Labels
from splits.numbers import round_half_up
from splits.regimes import Regime
from splits.source import TEST, TRAIN, VAL, Source

OWN = "own"
"""The value of `observed` in the label recipe if the source has observed labels of its own."""


@dataclass(frozen=True, eq=False)
class Decision:
    """The images of each part, and how they were selected.

    Attributes:
        rows: train, val (if there is one) and test -> int64 rows of the source.
        recipe: the entries of the label recipe that describe the selection; part of the identity.
        provenance: further entries of the provenance.
        observed: [N, C] for all rows of the source, or None where the options' regime is applied.
        regime: the regime of `observed`, or None.
    """

    rows: Mapping[str, np.ndarray]
    recipe: Mapping[str, Any]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    observed: Labels | None = None
    regime: Regime | None = None


@dataclass(frozen=True, eq=False)
class Subject:
    """The arguments of `build`: a source, and the decisions about its images and labels.

    Attributes:
        source: the source, or the one that list files describe.
        options: the decisions about labels; a published split fixes the shot groups.
        decision: the images of each part; None draws them by the options.
        name: the default name, as in `plt-voc-missing:0.4`.
        notes: messages for the user.
    """

    source: Source
    options: Options
    decision: Decision | None
    name: str
    notes: tuple[str, ...] = ()


def draw(source: Source, options: Options, hashes: np.ndarray | None = None) -> Decision:
    """Draw the test part (if the source has none), the long tail and the validation part.

    Rows keep the order of the source. A validation part of the source is kept as it is. Observed
    labels of the source get the regime that describes them.

    Args:
        source: images and labels.
        options: the decisions about labels.
        hashes: `random.hash_texts` of the source's image ids, if they are known already.

    Raises:
        InputError: no regime describes the observed labels of the source.
    """
    if hashes is None:
        hashes = random.hash_texts(source.image_ids)
    has_val = source.part is not None and bool((source.part == VAL).any())
    recipe: dict[str, Any] = {
        "long_tail": _tail_recipe(source, options.long_tail),
        "val_fraction": OWN if has_val else options.val_fraction,
    }
    if source.part is None:
        u = random.image_uniform(options.seed, "test", hashes)
        part = holdout.held_out(u, options.test_fraction).astype(np.uint8)
        recipe["test_fraction"] = options.test_fraction
    else:
        part = source.part
    pool = np.flatnonzero(part == TRAIN)
    train, report = _long_tailed(source, pool, options, hashes)
    if has_val:
        rows = {"train": train, "val": np.flatnonzero(part == VAL)}
    elif options.val_from == "left-out":
        recipe["val_from"] = options.val_from
        rest = np.setdiff1d(pool, train)
        rows = {"train": train, "val": _left_out(rest, len(train), hashes[rest], options)}
    else:
        rows = hold_out(train, hashes[train], options)
    regime = None
    if source.observed is not None:
        recipe["observed"] = OWN
        regime = _own_regime(source, np.concatenate(list(rows.values())))
    return Decision(
        rows={**rows, "test": np.flatnonzero(part == TEST)},
        recipe=recipe,
        provenance={} if report is None else {"long_tail_report": report},
        observed=source.observed,
        regime=regime,
    )


def _own_regime(source: Source, rows: np.ndarray) -> Regime:
    """The regime that describes the observed labels of a source in train and val."""
    assert source.observed is not None
    try:
        return own_labels.regime(
            matrices.take(source.labels, rows),
            matrices.take(source.observed, rows),
            source.candidates,
        )
    except InputError as error:
        raise InputError(f"{source.path or source.name}: {error}") from None


def hold_out(train: np.ndarray, hashes: np.ndarray, options: Options) -> dict[str, np.ndarray]:
    """Training rows as train and val; no val with a fraction of 0.

    Args:
        train: int64 rows.
        hashes: `random.hash_texts` of their image ids.
        options: `val_fraction` and `seed`.
    """
    if not options.val_fraction:
        return {"train": train}
    u = random.image_uniform(options.seed, "val", hashes)
    held = holdout.held_out(u, options.val_fraction)
    return {"train": train[~held], "val": train[held]}


def _left_out(rest: np.ndarray, size: int, hashes: np.ndarray, options: Options) -> np.ndarray:
    """The validation rows among those that the long tail left out.

    They are the min(M, round(F N)) rows with the smallest uniform numbers, at least one, so parts
    of different sizes nest.

    Args:
        rest: int64 [M], the rows that were left out.
        size: N, the number of training rows.
        hashes: `random.hash_texts` of the image ids of `rest`.
        options: `val_fraction`, F, and `seed`.

    Raises:
        InputError: no row was left out.
    """
    if not len(rest):
        raise InputError(
            "--val-from left-out has no image to take, because the long tail keeps every training "
            "image; use --val-from train"
        )
    count = max(1, round_half_up(options.val_fraction, size))
    u = random.image_uniform(options.seed, "val/left-out", hashes)
    return np.sort(rest[np.argsort(u, kind="stable")[:count]])


def digest(numbers: ClassFile, class_names: tuple[str, ...]) -> str:
    """The SHA-256 of numbers in the order of the classes, independent of the file's format."""
    return hashlib.sha256(canonical(numbers.of(class_names).tolist()).encode()).hexdigest()


def _long_tailed(
    source: Source, pool: np.ndarray, options: Options, hashes: np.ndarray
) -> tuple[np.ndarray, long_tail.Report | None]:
    """The training rows of the long tail, and the report on its targets, if it has any."""
    tail, names = options.long_tail, source.class_names
    if tail.kind in ("none", "natural"):
        return pool, None
    labels = matrices.take(source.labels, pool)
    if tail.kind == "counts":
        assert tail.targets is not None
        by_class = tail.targets.of(names).astype(np.int64)
        targets = by_class[long_tail.visit_order(labels)]
    else:
        targets = tail.curve(len(names))
        by_class = long_tail.by_class(labels, targets)
    if tail.generator == "dbl":
        sampler = random.python_sampler(options.seed)
        kept = long_tail.sample_dbl(labels, targets, sampler, cap=True)
    else:
        add = random.image_class_uniform(options.seed, "long-tail/add", hashes[pool], names)
        remove = random.image_class_uniform(options.seed, "long-tail/remove", hashes[pool], names)
        kept = long_tail.sample(labels, targets, add, remove)
    return pool[kept], long_tail.report(labels, kept, by_class, names)


_TAIL_FIELDS = {
    "none": (),
    "natural": (),
    "pareto": ("b", "maximum", "minimum", "tail_quantile", "generator"),
    "exponential": ("maximum", "imbalance_ratio", "generator"),
    "counts": ("generator",),
}
"""Kind -> the fields that have an effect. Other fields are not part of a split's identity."""


def _tail_recipe(source: Source, tail: LongTail) -> dict[str, Any]:
    recipe = {"kind": tail.kind, **{name: getattr(tail, name) for name in _TAIL_FIELDS[tail.kind]}}
    if tail.targets is not None:
        recipe["targets"] = digest(tail.targets, source.class_names)
    return recipe
