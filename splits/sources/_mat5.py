"""Reads the matrices of MATLAB files of level 5 (`save -v6` and `-v7`), dense or sparse.

SciPy's reader of this format trusts the sizes in a file and was measured to end the process on
damaged ones. Here every size is compared with the bytes that are there before it is used.

The format: a header of 128 bytes, then elements. An element has a tag, its type and its number of
bytes, and its content. A matrix is an element whose content is a list of elements: its class, its
shape, its name and its numbers; a compressed element contains one of these.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

from splits.sources._matrix import check_dense

_HEADER = 128
_NAME_BYTES = 1 << 16  # of a compressed matrix that are read for its class, shape and name
_MATRIX, _COMPRESSED = 14, 15
_TYPES = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
_SPARSE = 5
_NUMERIC = range(6, 16)
_COMPLEX, _LOGICAL = 0x800, 0x200
_BYTE, _DOUBLE = 2, 9
_KINDS = {1: "a cell array", 2: "a structure", 3: "an object", 4: "text"}


class DamagedError(Exception):
    """Content that cannot be read; the message is a phrase."""


@dataclass(frozen=True)
class _Head:
    """The class (with its flags), the shape and the name of a matrix."""

    flags: int
    shape: tuple[int, ...]
    name: str
    end: int  # where the numbers begin

    @property
    def kind(self) -> int:
        return self.flags & 0xFF


def is_level_5(start: bytes) -> bool:
    """Whether a file that begins with these 128 bytes is of level 5."""
    return len(start) >= _HEADER and start[126:128] in (b"IM", b"MI") and 0 not in start[:4]


def read(path: Path, names: Sequence[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Some matrices of a file, and the names of all variables.

    Args:
        path: a file of level 5.
        names: the matrices to read.

    Returns:
        Name -> matrix, in the type of the file, and the names in the order of the file.

    Raises:
        DamagedError: the file is truncated, contradicts itself, or holds something other than real
            numbers under one of the names.
        TooLargeError: a sparse matrix that is too large for an array.
    """
    content = memoryview(path.read_bytes())
    order = "<" if bytes(content[126:128]) == b"IM" else ">"
    matrices: dict[str, np.ndarray] = {}
    known = []
    for kind, data in _elements(content, _HEADER, order, compressed=True):
        if kind == _COMPRESSED:
            head = _head(_inflated(data, order, _NAME_BYTES), order)
        elif kind == _MATRIX:
            head = _head(data, order)
        else:
            continue
        if not head.name:  # data of MATLAB itself
            continue
        known.append(head.name)
        if head.name in names:
            full = _inflated(data, order, None) if kind == _COMPRESSED else data
            matrices[head.name] = _matrix(full, head, order)
    return matrices, known


def _inflated(data: memoryview, order: str, limit: int | None) -> memoryview:
    """The content of the matrix in a compressed element, or its first bytes."""
    try:
        decompress = zlib.decompressobj()
        tag = decompress.decompress(data, 8)
        if len(tag) < 8:
            raise DamagedError("a compressed matrix has no beginning")
        kind, size = struct.unpack(f"{order}II", tag)
        if kind != _MATRIX:
            raise DamagedError("a compressed element is no matrix")
        wanted = size if limit is None else min(size, limit)
        content = decompress.decompress(decompress.unconsumed_tail, wanted) if wanted else b""
    except zlib.error:
        raise DamagedError("a compressed matrix cannot be decompressed") from None
    if len(content) < wanted:
        raise DamagedError(f"a matrix of {size:,} bytes ends after {len(content):,}")
    return memoryview(content)


def _elements(
    content: memoryview, position: int, order: str, *, compressed: bool = False
) -> Iterator[tuple[int, memoryview]]:
    """The type and the content of each element."""
    while position < len(content):
        kind, data, position = _element(content, position, order)
        if not compressed or kind != _COMPRESSED:
            position = -(-position // 8) * 8
        yield kind, data


def _element(content: memoryview, position: int, order: str) -> tuple[int, memoryview, int]:
    """The type and the content of the element at a position, and its end."""
    if position + 8 > len(content):
        raise DamagedError("it ends inside an element")
    kind, size = struct.unpack_from(f"{order}II", content, position)
    if kind >> 16:  # a small element: both numbers in 4 bytes, then its content
        kind, size = kind & 0xFFFF, kind >> 16
        if size > 4:
            raise DamagedError("a small element has more than 4 bytes")
        return kind, content[position + 4 : position + 4 + size], position + 8
    end = position + 8 + size
    if end > len(content):
        raise DamagedError(
            f"an element declares {size:,} bytes, and {len(content) - position - 8:,} are left"
        )
    return kind, content[position + 8 : end], end


def _head(content: memoryview, order: str) -> _Head:
    kind, flags, position = _element(content, 0, order)
    if kind != 6 or len(flags) != 8:
        raise DamagedError("a matrix has no flags")
    word = struct.unpack_from(f"{order}I", flags)[0]
    if word & 0xFF > 15:  # functions and other objects have no shape
        return _Head(word, (), "", len(content))
    kind, shape, position = _element(content, _padded(position), order)
    if kind not in (5, 6) or len(shape) % 4 or not 8 <= len(shape) <= 4 * 32:
        raise DamagedError("a matrix has no shape")
    sizes = tuple(np.frombuffer(shape, f"{order}i4").tolist())
    if min(sizes) < 0:
        raise DamagedError("a matrix has a negative size")
    kind, name, position = _element(content, _padded(position), order)
    if kind not in (1, 2, 16):
        raise DamagedError("a matrix has no name")
    return _Head(word, sizes, bytes(name).decode("latin1"), _padded(position))


def _padded(position: int) -> int:
    return -(-position // 8) * 8


def _matrix(content: memoryview, head: _Head, order: str) -> np.ndarray:
    if head.kind != _SPARSE and head.kind not in _NUMERIC:
        kind = _KINDS.get(head.kind, "something else")
        raise DamagedError(f"the variable {head.name!r} must be a matrix of numbers, not {kind}")
    if head.flags & _COMPLEX:
        raise DamagedError(f"the variable {head.name!r} must not hold complex numbers")
    elements = list(_elements(content, head.end, order))
    if head.kind == _SPARSE:
        return _from_sparse(head, elements, order)
    arrays = [_numbers(kind, data, order) for kind, data in elements]
    count = math.prod(head.shape)
    if not count and not arrays:
        arrays = [np.zeros(0)]
    if len(arrays) != 1 or len(arrays[0]) != count:
        raise DamagedError(f"the variable {head.name!r} does not have {count:,} numbers")
    return arrays[0].reshape(head.shape, order="F")


def _numbers(kind: int, data: memoryview, order: str) -> np.ndarray:
    if kind not in _TYPES:
        raise DamagedError("a list of numbers has an unknown type")
    dtype = np.dtype(f"{order}{_TYPES[kind]}")
    if len(data) % dtype.itemsize:
        raise DamagedError("a list of numbers ends inside a number")
    return np.frombuffer(data, dtype).astype(dtype.newbyteorder("="))


def _from_sparse(head: _Head, elements: list[tuple[int, memoryview]], order: str) -> np.ndarray:
    """The array of a sparse matrix, which is stored by columns."""
    name = f"the sparse variable {head.name!r} is damaged"
    if len(elements) != 3 or len(head.shape) != 2:
        raise DamagedError(f"{name} (it has {len(elements)} of 3 lists)")
    rows, columns = head.shape
    indices, starts = (_numbers(kind, data, order) for kind, data in elements[:2])
    kind, data = elements[2]
    if head.flags & _LOGICAL and kind == _DOUBLE and len(data) < 8 * len(indices):
        kind = _BYTE  # MATLAB declares the bytes of a logical matrix as doubles
    values = _numbers(kind, data, order)
    if len(starts) != columns + 1 or starts[0] != 0 or (np.diff(starts.astype("i8")) < 0).any():
        raise DamagedError(f"{name} (its column pointers must increase from 0)")
    count = int(starts[-1])
    if count > min(len(indices), len(values)):
        raise DamagedError(f"{name} (its column pointers exceed its {len(indices)} entries)")
    indices, values = indices[:count].astype(np.int64), values[:count]
    if count and not 0 <= indices.min() <= indices.max() < rows:
        raise DamagedError(f"{name} (a row index is not one of the {rows} rows)")
    # Rows without columns take memory too.
    check_dense(max(rows, 1) * max(columns, 1), count, values.itemsize)
    matrix = sparse.csc_array((values, indices, starts.astype(np.int64)), shape=(rows, columns))
    array: np.ndarray = matrix.toarray()
    return array
