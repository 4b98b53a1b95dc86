"""Texts of variable length that the HDF5 library would read forever, or into any memory."""

from __future__ import annotations

import resource
import struct
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


@pytest.mark.parametrize("chunks", [None, (2,)])
def test_a_text_that_states_a_length_beyond_the_file_is_refused(
    chunks: tuple[int] | None, tmp_path: Path
) -> None:
    path, texts = tmp_path / "a.h5", ["a", "été", "ccccc", "dd", "e" * 300]
    with h5py.File(path, "w") as file:
        text = h5py.string_dtype()
        dataset = file.create_dataset("texts", data=texts, dtype=text, chunks=chunks)
        offset = dataset.id.get_offset() if chunks is None else None
        offset = dataset.id.get_chunk_info(1).byte_offset if offset is None else offset
    assert read_arrays(path, ["texts"])["texts"].tolist() == texts
    content = bytearray(path.read_bytes())
    (length,) = struct.unpack_from("<L", content, offset)
    assert length == (1 if chunks is None else 5)
    struct.pack_into("<L", content, offset, 2**31)
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in KiB
    with pytest.raises(BenchkitError, match=r"a\.h5 is damaged; write it again"):
        read_arrays(path, ["texts"])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 2**19
