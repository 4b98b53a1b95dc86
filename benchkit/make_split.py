"""From a source to a split: long tail, validation part, regime, shots, features, in that order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchkit import random
from benchkit.errors import BenchkitError
from benchkit.split_file import Part, Split
from splits import holdout, long_tail, regimes, shots
from splits.source import Source

TRAIN, TEST = 0, 1


@dataclass(frozen=True)
class LongTail:
    """The long tail's law: `kind` none or pareto, the curve's numbers, and whose draws.

    Attributes:
        kind: none keeps every training image.
        b: the Pareto exponent.
        maximum: the reference count of the first class.
        minimum: the curve's floor.
        tail_quantile: how far along the distribution the last class lies.
        generator: benchkit (keyed by image and class) or dbl (the published walk, exact).
    """

    kind: str = "none"
    b: float = 6.0
    maximum: int = 800
    minimum: int = 1
    tail_quantile: float = 0.99
    generator: str = "benchkit"


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
    """

    long_tail: LongTail = LongTail()
    regime: str = "full"
    val_fraction: float = 0.0
    test_fraction: float = 0.2
    seed: int = 0
    many: int = 100
    few: int = 20
    shot_reference: str = "true"


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
    regimes.parse(options.regime)
    shots.shot_groups(np.zeros(1, np.int64), options.many, options.few)
    for name in ("val_fraction", "test_fraction"):
        holdout.held_out(np.linspace(0, 0.5, 4), getattr(options, name))
    law = options.long_tail
    if law.kind == "pareto":
        long_tail.pareto_targets(
            2,
            b=law.b,
            maximum=law.maximum,
            minimum=law.minimum,
            tail_quantile=law.tail_quantile,
        )


def default_name(source: str, options: Options) -> str:
    """A split's name from its laws, as in `scenes-pareto600-pal:0.5`."""
    law = options.long_tail
    tail = [] if law.kind == "none" else [f"{law.kind}{law.maximum}"]
    return "-".join([source, *tail, options.regime])


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


def build(source: Source, options: Options, features: Features, name: str) -> Split:
    """Make a split in memory.

    Args:
        source: images and their labels.
        options: the laws.
        features: where features come from.
        name: for tables.

    Raises:
        BenchkitError: nothing is left to train or test on.
    """
    rows = choose_rows(source, options)
    for part in ("train", "test"):
        if not len(rows[part]):
            raise BenchkitError(f"source '{source.name}' leaves no image in the {part} part")
    regime = regimes.parse(options.regime)
    parts = {}
    for part, chosen in rows.items():
        true, observed = source.labels[chosen], None
        if part != "test":
            # Bound to names: what is hidden does not depend on what else is in the set.
            ids = source.image_ids[chosen]
            uniform = random.image_class_uniform(options.seed, "regime", ids, source.class_names)
            observed = regimes.observe(true, regime, uniform)
        parts[part] = Part(
            ids=source.image_ids[chosen],
            paths=None if source.paths is None else source.paths[chosen],
            true=true,
            observed=observed,
            features=None if features.of is None else features.of(chosen),
        )
    train = parts["train"]
    assert train.observed is not None
    true_count = (train.true == 1).sum(0, dtype=np.int64)
    observed_count = (train.observed == 1).sum(0, dtype=np.int64)
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
            "versions": {p: metadata.version(p) for p in ("benchkit", "numpy", "h5py")},
            **features.provenance,
        },
    )


def choose_rows(source: Source, options: Options) -> dict[str, np.ndarray]:
    """Source rows of train, val (where asked for) and test, in the source's order."""
    if source.part is None:
        u = random.image_uniform(options.seed, "test", source.image_ids)
        part = holdout.held_out(u, options.test_fraction).astype(np.uint8)
    else:
        part = source.part
    pool, test = np.flatnonzero(part == TRAIN), np.flatnonzero(part == TEST)
    train = _long_tailed(source, pool, options)
    rows = {"train": train}
    if options.val_fraction:
        u = random.image_uniform(options.seed, "val", source.image_ids[train])
        held = holdout.held_out(u, options.val_fraction)
        rows = {"train": train[~held], "val": train[held]}
    return {**rows, "test": test}


def _long_tailed(source: Source, pool: np.ndarray, options: Options) -> np.ndarray:
    law = options.long_tail
    if law.kind == "none":
        return pool
    labels = source.labels[pool]
    targets = long_tail.pareto_targets(
        labels.shape[1],
        b=law.b,
        maximum=law.maximum,
        minimum=law.minimum,
        tail_quantile=law.tail_quantile,
    )
    if law.generator == "dbl":
        sample = random.python_sampler(options.seed)
        return pool[long_tail.sample_dbl(labels, targets, sample, cap=True)]
    ids, classes = source.image_ids[pool], source.class_names
    add = random.image_class_uniform(options.seed, "long-tail/add", ids, classes)
    remove = random.image_class_uniform(options.seed, "long-tail/remove", ids, classes)
    return pool[long_tail.sample(labels, targets, add, remove)]


def _label_recipe(source: Source, options: Options) -> dict[str, Any]:
    law = options.long_tail
    tail: dict[str, Any] = {"kind": "none"} if law.kind == "none" else asdict(law)
    recipe = {
        "source": source.name,
        "long_tail": tail,
        "regime": str(regimes.parse(options.regime)),
        "val_fraction": options.val_fraction,
    }
    if source.part is None:
        recipe["test_fraction"] = options.test_fraction
    return recipe


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
