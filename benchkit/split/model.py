"""A split in memory, and its fingerprint: what it is, wherever it is stored.

The fingerprint is the SHA-256 over name, type, shape and little-endian bytes of the logical arrays
and over the recipe, in two parts: `labels` is the same on every machine, `features` may differ in
the last bits between processors and libraries. Together they are the identity of the split.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from splits.labels import Labels, SparseLabels

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Part:
    """The images of train, val or test.

    Attributes:
        ids: unicode [N].
        paths: unicode [N] relative to the image folder, or None.
        true: int8 [N, C], 1 / 0 / -1 (the source itself does not know), dense or sparse.
        observed: int8 [N, C], dense or sparse, or None for test.
        features: float16 or float32 [N, V, D], or None.
    """

    ids: np.ndarray
    paths: np.ndarray | None
    true: Labels
    observed: Labels | None
    features: np.ndarray | None


@dataclass(frozen=True)
class Split:
    """A split in memory.

    Attributes:
        name: for tables.
        recipe: the laws that made it, in two parts: `labels` and `features`; no seed, no path.
        class_names: C names.
        train_count: int64 [C], true positives of the training part.
        observed_count: int64 [C], observed positives (or candidates) of the training part.
        shot: uint8 [C], 0 many, 1 medium, 2 few.
        thresholds: many, few, reference ("true" or "observed").
        parts: train, test, and val where one is held out.
        provenance: seed, digests, versions; not part of the identity.
    """

    name: str
    recipe: Mapping[str, Any]
    class_names: tuple[str, ...]
    train_count: np.ndarray
    observed_count: np.ndarray
    shot: np.ndarray
    thresholds: Mapping[str, Any]
    parts: Mapping[str, Part]
    provenance: Mapping[str, Any]

    @property
    def regime(self) -> str:
        """The label regime, as in `--regime`."""
        return str(self.recipe["labels"]["regime"])

    def arrays(self, kind: str) -> Iterator[tuple[str, np.ndarray]]:
        """The logical arrays of one fingerprint part, `labels` or `features`, in order."""
        if kind == "labels":
            yield "classes/name", encode(self.class_names)
            yield "classes/train_count", self.train_count
            yield "classes/observed_count", self.observed_count
            yield "classes/shot", self.shot
        for name in PARTS:
            part = self.parts.get(name)
            if part is None:
                continue
            if kind == "features":
                if part.features is not None:
                    yield f"{name}/features", part.features
                continue
            yield f"{name}/id", encode(part.ids)
            yield from _matrix(f"{name}/true", part.true)
            if part.observed is not None:
                yield from _matrix(f"{name}/observed", part.observed)

    def fingerprints(self) -> dict[str, str]:
        """SHA-256 of `labels`, of `features`, and of both: the identity of the split."""
        labels = _digest(self.arrays("labels"), [self.recipe["labels"], dict(self.thresholds)])
        features = _digest(self.arrays("features"), [self.recipe["features"]])
        both = hashlib.sha256(f"{labels}:{features}".encode()).hexdigest()
        return {"labels": labels, "features": features, "both": both}


def _matrix(name: str, labels: Labels) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(labels, SparseLabels):
        yield from ((f"{name}/{key}", array) for key, array in labels.arrays().items())
    else:
        yield name, labels


def encode(texts: Any) -> np.ndarray:
    """Unicode names as a fixed-length UTF-8 byte array."""
    plain = texts.tolist() if isinstance(texts, np.ndarray) else texts
    encoded = [str(text).encode() for text in plain]
    return np.array(encoded, dtype=f"S{max(map(len, encoded), default=1) or 1}")


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _digest(arrays: Iterator[tuple[str, np.ndarray]], texts: list[Any]) -> str:
    digest = hashlib.sha256()
    for name, array in arrays:
        little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
        head = canonical([name, little.dtype.str, list(little.shape)])
        digest.update(head.encode() + b"\0")
        digest.update(little.view(np.uint8).data if little.size else b"")
    for text in texts:
        digest.update(canonical(text).encode() + b"\0")
    return digest.hexdigest()
