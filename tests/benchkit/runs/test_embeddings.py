"""Class embeddings: what is refused before training."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchkit.base.errors import BenchkitError
from benchkit.runs import embeddings


def test_arrays_without_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.npy"
    np.save(path, np.zeros((3, 2)))
    assert embeddings.read(path, 3)[0].shape == (3, 2)
    for shape in [(3, 0), (2, 2), (3,), (3, 2, 1)]:
        np.save(path, np.zeros(shape))
        with pytest.raises(
            BenchkitError, match=r"e\.npy are float64 of shape .*; a row of numbers"
        ):
            embeddings.read(path, 3)
    np.save(path, np.array(["a", "b", "c"]))
    with pytest.raises(BenchkitError, match="a row of numbers for each of the split's 3 classes"):
        embeddings.read(path, 3)


def test_absurd_widths_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.npy"
    np.save(path, np.zeros((3, embeddings.MOST_COLUMNS), np.float32))
    assert embeddings.read(path, 3)[0].shape == (3, 16_384)
    np.save(path, np.zeros((3, embeddings.MOST_COLUMNS + 1), np.float32))
    with pytest.raises(BenchkitError, match="16,385 numbers for each class; at most 16,384 are"):
        embeddings.read(path, 3)


def test_pipes_devices_and_other_formats_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npy")
    with pytest.raises(BenchkitError, match=r"pipe\.npy is a named pipe"):
        embeddings.read(tmp_path / "pipe.npy", 3)
    with pytest.raises(BenchkitError, match="/dev/zero is a device"):
        embeddings.read(Path("/dev/zero"), 3)
    with pytest.raises(BenchkitError, match="is a folder"):
        embeddings.read(tmp_path, 3)
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 2)))
    with pytest.raises(BenchkitError, match=r"not a readable \.npy file of numbers"):
        embeddings.read(tmp_path / "a.npz", 3)


@given(st.lists(st.tuples(st.integers(0, 151), st.integers(0, 255)), min_size=1, max_size=3))
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_changed_bytes_are_refused_or_read(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    path = tmp_path / "e.npy"
    np.save(path, np.ones((3, 2), np.float32))
    data = bytearray(path.read_bytes())
    for at, value in changes:
        data[at] = value
    path.write_bytes(data)
    try:
        array, _ = embeddings.read(path, 3)
    except BenchkitError:
        return
    assert array.dtype == np.float32 and len(array) == 3 and np.isfinite(array).all()
