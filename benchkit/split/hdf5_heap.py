"""A check of the heaps of an HDF5 file, in which texts of variable length are stored.

A heap is a list of objects with their sizes, and object 0 is the free space at its end. If the size
of object 0 is damaged to 0, the HDF5 library was measured to read the heap forever.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

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
