"""Fixtures of the tests of this package: real data if present, and numbers keyed by names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from benchkit.base.random import image_class_uniform
from splits.numbers import Uniform

UniformFor = Callable[..., Uniform]


@pytest.fixture(scope="session")
def data() -> Callable[[str], Path]:
    """A file of the real data; the test is skipped if the file does not exist."""
    folder = Path(__file__).resolve().parents[2].parent / "shared" / "data"

    def find(name: str) -> Path:
        if not (folder / name).is_file():
            pytest.skip(f"real data file {name} is not on this machine")
        return folder / name

    return find


@pytest.fixture(scope="session")
def uniform_for() -> UniformFor:
    """Numbers for images 0..N-1 (or given ids) and classes class_0..class_{C-1}."""

    def make(
        shape: tuple[int, int],
        seed: int = 0,
        stream: str = "regime",
        ids: Sequence[int] | np.ndarray | None = None,
    ) -> Uniform:
        names = [str(i) for i in (range(shape[0]) if ids is None else ids)]
        return image_class_uniform(seed, stream, names, [f"class_{c}" for c in range(shape[1])])

    return make
