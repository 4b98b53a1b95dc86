"""The features of a split: those of the source, those of a backbone, or none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchkit.base.errors import BenchkitError
from splits.source import TEST, Source


@dataclass(frozen=True)
class Features:
    """Features of a source, computed for the rows that a split keeps.

    Attributes:
        of: rows of the source -> [n, V, D]; None for a split without features.
        recipe: part of the identity: the kind (raw, backbone or none) and how they are computed.
        provenance: library versions.
    """

    of: Callable[[np.ndarray], np.ndarray] | None
    recipe: dict[str, Any]
    provenance: dict[str, Any]

    def stored_as(self, kind: str) -> Features:
        """The same features, stored as float16 or float32."""
        compute = self.of
        if compute is None:
            return self
        recipe = {**self.recipe, "type": kind}
        return Features(
            lambda rows: compute(rows).astype(kind, copy=False), recipe, self.provenance
        )


def source_features(source: Source) -> Features:
    """The features that a source contains, if any."""
    features = source.features
    if features is None:
        return Features(None, {"kind": "none"}, {})
    return Features(lambda rows: features[rows], {"kind": "raw"}, {})


def check_images(source: Source) -> None:
    """Check that a backbone can find the images of a source.

    Raises:
        BenchkitError: the source has no image paths or no image folder.
    """
    if source.paths is None or not source.roots:
        raise BenchkitError(
            f"source '{source.name}' names no images, so --backbone has nothing to compute "
            "features from; name the folder of the images (--help-source KIND lists the options "
            "of a source), or leave --backbone out"
        )


def backbone_features(
    source: Source, extract: Callable[[list[Path], list[str]], np.ndarray], recipe: dict[str, Any]
) -> Features:
    """Features that a backbone computes from the images of a source.

    Args:
        source: a source with paths and roots.
        extract: (image paths, image ids) -> [n, V, D].
        recipe: how the features are computed, the digest of the weights included.

    Raises:
        BenchkitError: see `check_images`.
    """
    check_images(source)
    assert source.paths is not None
    paths, roots = source.paths, source.roots

    def compute(rows: np.ndarray) -> np.ndarray:
        is_test = np.zeros(len(paths), bool) if source.part is None else source.part == TEST
        files = [roots[-1 if is_test[row] else 0] / str(paths[row]) for row in rows]
        return extract(files, [str(source.image_ids[row]) for row in rows])

    versions = {name: metadata.version(name) for name in ("torch", "torchvision", "Pillow")}
    return Features(compute, {"kind": "backbone", **recipe}, {"feature_versions": versions})
