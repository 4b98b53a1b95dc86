"""What the tests of this room share: small sources and splits, reference vectors, real data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchkit.base import random
from benchkit.split.build import build
from benchkit.split.features import source_features
from benchkit.split.model import Split
from benchkit.split.options import Options
from splits.source import Source

VECTORS = Path(__file__).parent / "vectors"
DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"

SourceMaker = Callable[..., Source]
SplitMaker = Callable[..., Split]


@pytest.fixture(scope="session")
def vectors() -> Callable[[str], Any]:
    """A vector file by name, without its suffix, as parsed JSON."""
    return lambda name: json.loads((VECTORS / f"{name}.json").read_text())


@pytest.fixture(scope="session")
def data() -> Callable[[str], Path]:
    """A file of the shared real data; the test is skipped where it is absent."""

    def find(name: str) -> Path:
        if not (DATA / name).is_file():
            pytest.skip(f"real data file {name} is not on this machine")
        return DATA / name

    return find


def toy_source(
    images: int = 60,
    classes: int = 5,
    *,
    seed: int = 0,
    views: int = 1,
    width: int = 4,
    features: bool = True,
    parts: bool = True,
) -> Source:
    """A source whose class c is positive in a share of 0.6 / (c + 1) of the images.

    Args:
        images: N; every third is a test image where there are parts.
        classes: C.
        seed: of the labels and features.
        views: V.
        width: D.
        features: whether it has any.
        parts: whether it names a test part of its own.
    """
    rows, columns = np.arange(images)[:, None], np.arange(classes)[None, :]
    labels = (random.uniform(seed, "labels", rows, columns) < 0.6 / (columns + 1)).astype(np.int8)
    values = random.uniform(seed, "features", np.arange(images * views * width))
    matrix = (values.reshape(images, views, width) * 2 - 1).astype(np.float32)
    matrix[:, :, : min(width, classes)] += labels[:, None, : min(width, classes)]
    return Source(
        name="toy",
        class_names=tuple(f"class_{c}" for c in range(classes)),
        image_ids=np.array([f"image_{i}" for i in range(images)]),
        labels=labels,
        part=(np.arange(images) % 3 == 2).astype(np.uint8) if parts else None,
        paths=None,
        roots=(),
        features=matrix if features else None,
        digests={},
    )


def toy_split(options: Options | None = None, **source: Any) -> Split:
    """The split that `options` makes of `toy_source(**source)`; shot groups at 10 and 5."""
    made = toy_source(**source)
    options = Options(many=10, few=5) if options is None else options
    return build(made, options, source_features(made), "toy")


@pytest.fixture(scope="session")
def make_source() -> SourceMaker:
    """`toy_source`: a small source, by its size and seed."""
    return toy_source


@pytest.fixture(scope="session")
def make_toy() -> SplitMaker:
    """`toy_split`: a small split, by the options and the size of its source."""
    return toy_split
