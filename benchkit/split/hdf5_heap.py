"""Checks of the texts of variable length in an HDF5 file, which are stored in heaps.

A heap is a list of objects with their sizes, and object 0 is the free space at its end. If the size
of object 0 is damaged to 0, the HDF5 library was measured to read the heap forever.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np

_START = b"GCOL\x01\0\0\0"  # the signature and the version of a heap
_HEADER = 16  # bytes of the heap's header, and of an object's
_LENGTH = 8  # bytes of a size, in the files that all common writers make


def is_endless(path: Path, size_of_lengths: int) -> bool:
    """Whether the file has a heap that the HDF5 library would read forever.

    Args:
        path: an HDF5 file that is not empty.
        size_of_lengths: the bytes of a size in the file; other files than those with 8 pass.
    """
    if size_of_lengths != _LENGTH:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.find(_START)
        while start >= 0:
            if _is_endless(content, start):
                return True
            start = content.find(_START, start + 1)
    return False


def longest_text(path: Path, storage: Iterable[tuple[int, int]], size_of_addresses: int) -> int:
    """The largest length that the elements of an array of texts state.

        element = length (4 bytes), address of the heap, number of the object in the heap (4 bytes)

    Args:
        path: the file.
        storage: the positions and sizes in the file of the elements.
        size_of_addresses: the bytes of an address in the file.
    """
    element = np.dtype([("length", "<u4"), ("rest", f"V{size_of_addresses + 4}")])
    longest = 0
    with path.open("rb") as file:
        for position, size in storage:
            file.seek(position)
            stored = file.read(size)
            elements = np.frombuffer(stored, element, len(stored) // element.itemsize)
            longest = max(longest, int(elements["length"].max(initial=0)))
    return longest


def _is_endless(content: mmap.mmap, start: int) -> bool:
    if start + _HEADER > len(content):
        return False
    (size,) = struct.unpack_from("<Q", content, start + 8)
    end = min(start + size, len(content))
    position = start + _HEADER
    while position + _HEADER <= end:
        index, _, length = struct.unpack_from("<HH4xQ", content, position)
        if index == 0 and length == 0:
            return True
        position += length if index == 0 else _HEADER + -(-length // 8) * 8
    return False
