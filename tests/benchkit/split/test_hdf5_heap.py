"""Texts of variable length that the HDF5 library would read forever are refused."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest

from benchkit.base.errors import BenchkitError
from benchkit.split.hdf5 import read_arrays
from benchkit.split.hdf5_heap import is_endless


def test_a_heap_without_an_end(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["names"] = ["cat", "a dog"]
    assert not is_endless(path, 8)
    assert read_arrays(path, ["names"])["names"].tolist() == ["cat", "a dog"]
    raw = bytearray(path.read_bytes())
    objects = raw.index(b"GCOL") + 16 + 2 * 24  # behind two texts of up to 8 bytes
    assert raw[objects : objects + 2] == b"\0\0" and any(raw[objects + 8 : objects + 16])
    raw[objects + 8 : objects + 16] = bytes(8)
    path.write_bytes(raw)
    assert is_endless(path, 8)
    with pytest.raises(BenchkitError, match=r"a\.h5 is damaged"):
        read_arrays(path, ["names"])
