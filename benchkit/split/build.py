"""From a source to a split in memory: parts, observed labels, shot groups, features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any

import numpy as np

from benchkit.base import random
from benchkit.base.errors import BenchkitError
from benchkit.split.decision import Decision, digest, draw
from benchkit.split.features import Features
from benchkit.split.model import Part, Split
from benchkit.split.options import Options
from splits import labels as matrices
from splits import shots
from splits.labels import Labels
from splits.regimes import Regime, observe
from splits.source import Source

Check = Callable[[Mapping[str, Labels]], None]
"""A check of the true labels of each part."""


def default_name(source: str, options: Options, own: Regime | None = None) -> str:
    """The name of a split from its source and options, as in `scenes-pareto600-pal:0.5`.

    Args:
        source: the name of the source.
        options: the decisions about labels.
        own: the regime of the source's own observed labels, or None.
    """
    tail = options.long_tail
    size = tail.maximum if tail.kind in ("pareto", "exponential") else ""
    tails = [] if tail.kind == "none" else [f"{tail.kind}{size}"]
    variants = [name.replace("_", "-") for name in options.regime.departures()]
    regime = [str(options.regime), *variants] if own is None else [str(own), "own"]
    return "-".join([source, *tails, *regime])


def build(
    source: Source,
    options: Options,
    features: Features,
    name: str,
    *,
    decision: Decision | None = None,
    source_options: Mapping[str, Any] | None = None,
    check: Check | None = None,
) -> Split:
    """Build a split in memory.

    Args:
        source: images and labels.
        options: the decisions about labels.
        features: the features of the source's rows.
        name: the name of the split in tables.
        decision: the images of each part; None draws them by the options.
        source_options: the options that the source was read with, for the provenance.
        check: called with the true labels of each part before features are computed.

    Raises:
        BenchkitError: no image is left in a part.
    """
    hashes = random.hash_texts(source.image_ids)  # computed once for all draws
    decision = draw(source, options, hashes) if decision is None else decision
    for part, rows in decision.rows.items():
        if not len(rows):
            raise BenchkitError(f"source '{source.name}' leaves no image in the {part} part")
    true = {part: matrices.take(source.labels, rows) for part, rows in decision.rows.items()}
    if check is not None:
        check(true)
    weights = _class_weights(source, options, matrices.counts(true["train"], 1))
    observed = _observed(source, options, decision, true, hashes, weights)
    parts = {
        part: Part(
            ids=source.image_ids[rows],
            paths=None if source.paths is None else source.paths[rows],
            true=true[part],
            observed=observed.get(part),
            features=None if features.of is None else features.of(rows),
        )
        for part, rows in decision.rows.items()
    }
    train_count = matrices.counts(true["train"], 1)
    observed_count = matrices.counts(observed["train"], 1)
    thresholds = {
        "many": options.many,
        "few": options.few,
        "reference": options.shot_reference,
    }
    return Split(
        name=readable(name),
        recipe={
            "labels": _label_recipe(source, options, decision),
            "features": features.recipe,
        },
        class_names=source.class_names,
        train_count=train_count,
        observed_count=observed_count,
        shot=shots.groups_of(train_count, observed_count, thresholds),
        thresholds=thresholds,
        parts=parts,
        provenance={
            "seed": options.seed,
            "sources": {readable(name): value for name, value in source.digests.items()},
            **({} if source_options is None else {"source_options": _readable(source_options)}),
            "versions": {name: metadata.version(name) for name in ("benchkit", "numpy", "h5py")},
            **decision.provenance,
            **({} if weights is None else {"class_weights": weights.tolist()}),
            **features.provenance,
        },
    )


def readable(text: str) -> str:
    """A text with escapes in place of the bytes of a file name that are not UTF-8."""
    return text.encode(errors="backslashreplace").decode()


def _readable(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: readable(value) if isinstance(value, str) else value
        for name, value in options.items()
    }


def _class_weights(source: Source, options: Options, train_counts: np.ndarray) -> np.ndarray | None:
    """The weights of the classes that the regime's `by-class` names, float64 [C], or None."""
    if options.regime.by_class == "frequency":
        return train_counts.astype(np.float64)
    weights = options.class_weights
    return None if weights is None else weights.of(source.class_names)


def _observed(
    source: Source,
    options: Options,
    decision: Decision,
    true: Mapping[str, Labels],
    hashes: np.ndarray,
    weights: np.ndarray | None,
) -> dict[str, Labels]:
    """The observed labels of train and val. Test labels are never hidden."""
    observed: dict[str, Labels] = {}
    for part in true.keys() - {"test"}:
        rows = decision.rows[part]
        if decision.observed is not None:
            observed[part] = matrices.take(decision.observed, rows)
            continue
        ids = hashes[rows]
        is_by_image = options.regime.by_image != 0
        # Keyed by names: a mask does not depend on the other images and classes of the set.
        observed[part] = observe(
            true[part],
            options.regime,
            random.image_class_uniform(options.seed, "regime", ids, source.class_names),
            class_weights=weights,
            image_numbers=(
                random.image_uniform(options.seed, "regime/instance", ids) if is_by_image else None
            ),
        )
    return observed


def _label_recipe(source: Source, options: Options, decision: Decision) -> dict[str, Any]:
    regime = options.regime if decision.regime is None else decision.regime
    recipe = {"source": readable(source.name), "regime": str(regime), **decision.recipe}
    departures = regime.departures()
    if options.class_weights is not None:
        weights = digest(options.class_weights, source.class_names)
        departures |= {name: weights for name in departures if name.endswith("_by_class")}
    if departures:
        recipe["regime_options"] = {"beyond_papers": True, **departures}
    return recipe
