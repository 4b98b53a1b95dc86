"""From a source to a split: long tail, validation part, regime, shots, features, in that order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchkit.base import random
from benchkit.base.errors import BenchkitError
from benchkit.split.model import Part, Split, canonical
from splits import holdout, long_tail, regimes, shots
from splits import labels as matrices
from splits.class_file import ClassFile
from splits.source import Source
from splits.variants import Variant

TRAIN, TEST = 0, 1


@dataclass(frozen=True)
class LongTail:
    """The long tail's law, the curve's numbers, and whose draws.

    Attributes:
        kind: pareto, exponential, counts (those of `targets`), or none and natural, which keep
            every training image; natural says that the distribution is long-tailed as it is.
        b: the Pareto exponent.
        maximum: the reference count of the first class.
        minimum: the Pareto curve's floor.
        tail_quantile: how far along the Pareto distribution the last class lies.
        generator: benchkit (keyed by image and class) or dbl (the published walk, exact).
        imbalance_ratio: the exponential curve's first target over its last.
        targets: the count of each class, with kind counts.
    """

    kind: str = "none"
    b: float = 6.0
    maximum: int = 800
    minimum: int = 1
    tail_quantile: float = 0.99
    generator: str = "benchkit"
    imbalance_ratio: float = 100.0
    targets: ClassFile | None = None


@dataclass(frozen=True)
class Options:
    """What `benchkit make-split` decides about labels.

    Attributes:
        long_tail: see `LongTail`.
        regime: as in `--regime`.
        val_fraction: of the training images, held out after the long tail is drawn.
        test_fraction: of all images, where the source names no test part.
        seed: of everything random; provenance, not identity.
        many: least count of a many-shot class.
        few: count below which a class is few-shot.
        shot_reference: true or observed training counts.
        counts: exact or bernoulli, or None for the regime's own; see `splits.variants`.
        noise_by_class: weights of the classes' candidate noise, or "frequency" for their true
            training counts.
        instance_noise: the spread of the images' candidate noise.
        missing_by_class: weights of the classes' missing rates.
    """

    long_tail: LongTail = LongTail()
    regime: str = "full"
    val_fraction: float = 0.0
    test_fraction: float = 0.2
    seed: int = 0
    many: int = 100
    few: int = 20
    shot_reference: str = "true"
    counts: str | None = None
    noise_by_class: ClassFile | str | None = None
    instance_noise: float = 0.0
    missing_by_class: ClassFile | None = None


@dataclass(frozen=True)
class Features:
    """Features of chosen rows, and what to say of their origin.

    Attributes:
        of: rows of the source -> [n, V, D]; None for a split without features.
        recipe: identity: kind (raw, backbone or none) and what made them.
        provenance: digests and versions.
    """

    of: Callable[[np.ndarray], np.ndarray] | None
    recipe: dict[str, Any]
    provenance: dict[str, Any]


def check(options: Options) -> None:
    """Raise for laws that are out of range, before anything is read or drawn."""
    regime, by_class = regimes.parse(options.regime), _weights(options)
    _check_by_class(options, regime.kind)
    weights = None if by_class is None else np.ones(1)
    Variant(options.counts, weights, options.instance_noise).check(regime.kind)
    shots.shot_groups(np.zeros(1, np.int64), options.many, options.few)
    for name in ("val_fraction", "test_fraction"):
        holdout.held_out(np.linspace(0, 0.5, 4), getattr(options, name))
    if options.long_tail.kind in ("pareto", "exponential"):
        _targets(options.long_tail, 2)


def _check_by_class(options: Options, kind: str) -> None:
    given = {"missing": options.missing_by_class, "candidates": options.noise_by_class}
    for meant, weights in given.items():
        if weights is not None and kind != meant:
            word = "missing rates" if meant == "missing" else "noise"
            raise BenchkitError(f"{word} by class go with the regime {meant}, not with {kind}")


def _weights(options: Options) -> ClassFile | str | None:
    return options.noise_by_class or options.missing_by_class


def default_name(source: str, options: Options) -> str:
    """A split's name from its laws, as in `scenes-pareto600-pal:0.5`."""
    law = options.long_tail
    size = law.maximum if law.kind in ("pareto", "exponential") else ""
    tail = [] if law.kind == "none" else [f"{law.kind}{size}"]
    words = [name.replace("_", "-") for name in _departures(options)]
    return "-".join([source, *tail, options.regime, *words])


def stored_as(features: Features, kind: str) -> Features:
    """The same features, stored as float16 or float32."""
    of = features.of
    if of is None:
        return features
    recipe = {**features.recipe, "type": kind}
    return Features(lambda rows: of(rows).astype(kind, copy=False), recipe, features.provenance)


def source_features(source: Source) -> Features:
    """The features that a source brings along, if any."""
    features = source.features
    if features is None:
        return Features(None, {"kind": "none"}, {})
    # A function of rows, as a backbone's are, so that the caller need not know which it is.
    return Features(lambda rows: features[rows], {"kind": "raw"}, {})


def build(
    source: Source,
    options: Options,
    features: Features,
    name: str,
    reading: Mapping[str, Any] | None = None,
) -> Split:
    """Make a split in memory.

    Args:
        source: images and their labels.
        options: the laws.
        features: where features come from.
        name: for tables.
        reading: the options that the source was read with, for the provenance.

    Raises:
        BenchkitError: nothing is left to train or test on.
    """
    hashes = random.hash_texts(source.image_ids)  # once, for all that is drawn
    rows, report = _choose(source, options, hashes)
    for part in rows:
        if not len(rows[part]):
            raise BenchkitError(f"source '{source.name}' leaves no image in the {part} part")
    true = {part: matrices.take(source.labels, chosen) for part, chosen in rows.items()}
    weights = _class_weights(source, options, matrices.counts(true["train"], 1))
    observe = _observer(source, options, weights)
    parts = {
        part: Part(
            ids=source.image_ids[chosen],
            paths=None if source.paths is None else source.paths[chosen],
            true=true[part],
            observed=None if part == "test" else observe(true[part], hashes[chosen]),
            features=None if features.of is None else features.of(chosen),
        )
        for part, chosen in rows.items()
    }
    train = parts["train"]
    assert train.observed is not None
    true_count = matrices.counts(train.true, 1)
    observed_count = matrices.counts(train.observed, 1)
    reference = observed_count if options.shot_reference == "observed" else true_count
    return Split(
        name=name,
        recipe={"labels": _label_recipe(source, options), "features": features.recipe},
        class_names=source.class_names,
        train_count=true_count,
        observed_count=observed_count,
        shot=shots.shot_groups(reference, options.many, options.few),
        thresholds={
            "many": options.many,
            "few": options.few,
            "reference": options.shot_reference,
        },
        parts=parts,
        provenance={
            "seed": options.seed,
            "sources": dict(source.digests),
            **({} if reading is None else {"source_options": dict(reading)}),
            "versions": {p: metadata.version(p) for p in ("benchkit", "numpy", "h5py")},
            **({} if report is None else {"long_tail_report": report}),
            **({} if weights is None else {"class_weights": weights.tolist()}),
            **features.provenance,
        },
    )


def _class_weights(source: Source, options: Options, train_counts: np.ndarray) -> np.ndarray | None:
    given = _weights(options)
    if given is None:
        return None
    return given.of(source.class_names) if isinstance(given, ClassFile) else train_counts * 1.0


def _observer(
    source: Source, options: Options, weights: np.ndarray | None
) -> Callable[[matrices.Labels, np.ndarray], matrices.Labels]:
    """From the true labels of images and their ids' hashes to what is observed of them."""
    regime = regimes.parse(options.regime)

    def observe(true: matrices.Labels, ids: np.ndarray) -> matrices.Labels:
        numbers = None
        if options.instance_noise:
            numbers = random.image_uniform(options.seed, "regime/instance", ids)
        variant = Variant(options.counts, weights, options.instance_noise, numbers)
        # Bound to names: what is hidden does not depend on what else is in the set.
        uniform = random.image_class_uniform(options.seed, "regime", ids, source.class_names)
        return regimes.observe(true, regime, uniform, variant)

    return observe


def choose_rows(source: Source, options: Options) -> dict[str, np.ndarray]:
    """Source rows of train, val (where asked for) and test, in the source's order."""
    return _choose(source, options, random.hash_texts(source.image_ids))[0]


def _choose(
    source: Source, options: Options, hashes: np.ndarray
) -> tuple[dict[str, np.ndarray], long_tail.Report | None]:
    """`choose_rows`, and what came of the long tail's targets where there are any."""
    if source.part is None:
        u = random.image_uniform(options.seed, "test", hashes)
        part = holdout.held_out(u, options.test_fraction).astype(np.uint8)
    else:
        part = source.part
    pool, test = np.flatnonzero(part == TRAIN), np.flatnonzero(part == TEST)
    train, report = _long_tailed(source, pool, options, hashes)
    rows = {"train": train}
    if options.val_fraction:
        u = random.image_uniform(options.seed, "val", hashes[train])
        held = holdout.held_out(u, options.val_fraction)
        rows = {"train": train[~held], "val": train[held]}
    return {**rows, "test": test}, report


def _long_tailed(
    source: Source, pool: np.ndarray, options: Options, hashes: np.ndarray
) -> tuple[np.ndarray, long_tail.Report | None]:
    law, names = options.long_tail, source.class_names
    if law.kind in ("none", "natural"):
        return pool, None
    labels = matrices.take(source.labels, pool)
    if law.kind == "counts":
        assert law.targets is not None
        by_class = law.targets.of(names).astype(np.int64)
        targets = by_class[long_tail.visit_order(labels)]
    else:
        targets = _targets(law, len(names))
        by_class = long_tail.by_class(labels, targets)
    if law.generator == "dbl":
        chosen = long_tail.sample_dbl(
            labels, targets, random.python_sampler(options.seed), cap=True
        )
    else:
        add = random.image_class_uniform(options.seed, "long-tail/add", hashes[pool], names)
        remove = random.image_class_uniform(options.seed, "long-tail/remove", hashes[pool], names)
        chosen = long_tail.sample(labels, targets, add, remove)
    return pool[chosen], long_tail.report(labels, chosen, by_class, names)


def _targets(law: LongTail, num_classes: int) -> np.ndarray:
    """The target at each rank of a pareto or exponential law."""
    if law.kind == "exponential":
        return long_tail.exponential_targets(
            num_classes, imbalance_ratio=law.imbalance_ratio, maximum=law.maximum
        )
    return long_tail.pareto_targets(
        num_classes,
        b=law.b,
        maximum=law.maximum,
        minimum=law.minimum,
        tail_quantile=law.tail_quantile,
    )


_LAW_FIELDS = {
    "none": (),
    "natural": (),
    "pareto": ("b", "maximum", "minimum", "tail_quantile", "generator"),
    "exponential": ("maximum", "imbalance_ratio", "generator"),
    "counts": ("generator",),
}
"""What a law depends on: a field that plays no part is no part of a split's identity either."""


def _label_recipe(source: Source, options: Options) -> dict[str, Any]:
    law = options.long_tail
    tail = {"kind": law.kind, **{name: getattr(law, name) for name in _LAW_FIELDS[law.kind]}}
    if law.targets is not None:
        tail["targets"] = _digest(law.targets, source)
    recipe = {
        "source": source.name,
        "long_tail": tail,
        "regime": str(regimes.parse(options.regime)),
        "val_fraction": options.val_fraction,
    }
    if source.part is None:
        recipe["test_fraction"] = options.test_fraction
    departures = _departures(options)
    if departures:
        for name, value in departures.items():
            departures[name] = _digest(value, source) if isinstance(value, ClassFile) else value
        recipe["regime_options"] = {"beyond_papers": True, **departures}
    return recipe


def _departures(options: Options) -> dict[str, Any]:
    """Where the options depart from the regime's published law."""
    found: dict[str, Any] = {}
    if Variant(options.counts).departs(regimes.parse(options.regime).kind):
        found["counts"] = options.counts
    for name in ("noise_by_class", "instance_noise", "missing_by_class"):
        if getattr(options, name):
            found[name] = getattr(options, name)
    return found


def _digest(numbers: ClassFile, source: Source) -> str:
    """A digest of the numbers in the order of the classes, however their file is written."""
    values = numbers.of(source.class_names).tolist()
    return hashlib.sha256(canonical(values).encode()).hexdigest()


def backbone_features(
    source: Source, extract: Callable[[list[Path], list[str]], np.ndarray], recipe: dict[str, Any]
) -> Features:
    """Features computed by a backbone from a source's images.

    Args:
        source: with paths and roots.
        extract: (image paths, image ids) -> [n, V, D].
        recipe: what made them, weights digest included.
    """
    if source.paths is None or not source.roots:
        raise BenchkitError(
            f"source '{source.name}' names no images, so --backbone has nothing to look at; "
            "give --images, or --backbone none"
        )
    paths, roots = source.paths, source.roots

    def of(rows: np.ndarray) -> np.ndarray:
        part = np.zeros(len(paths), int) if source.part is None else source.part
        files = [roots[min(int(part[row]), len(roots) - 1)] / str(paths[row]) for row in rows]
        return extract(files, [str(source.image_ids[row]) for row in rows])

    versions = {p: metadata.version(p) for p in ("torch", "torchvision", "Pillow")}
    return Features(of, {"kind": "backbone", **recipe}, {"feature_versions": versions})
