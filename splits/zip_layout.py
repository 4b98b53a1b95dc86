"""Checks the layout of a zip file, such as an archive of images or an `.npz` file of arrays.

    [local header, data, data descriptor] per member, central directory, end record

The directory repeats the header of each member and gives its position, and the end record gives the
number of members. `zipfile` compares neither the number nor the positions, and the name of a member
only when it is read, so it would read fewer members from a directory that is damaged. Here every
byte before the end record must belong to a listed member or to the directory.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import IO
from zipfile import ZipInfo

_LOCAL = struct.Struct("<4s5H3L2H")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_MAX_COMMENT = 2**16 - 1  # bytes
_MAX_16, _MAX_32 = 2**16 - 1, 2**32 - 1  # "see the zip64 record"
_HAS_DESCRIPTOR = 8  # flag: the sizes and the checksum follow the data
_DESCRIPTOR = b"PK\x07\x08"


class LayoutError(ValueError):
    """The layout contradicts itself; the message is a phrase."""


def check(file: IO[bytes], members: Sequence[ZipInfo]) -> None:
    """Compare the members that `zipfile` read with the bytes of the file.

    Args:
        file: the zip file.
        members: its directory.

    Raises:
        LayoutError: the end record is not at the end or gives another number of members, the
            directory does not end there, its entries differ from the headers of the members, or
            members and directory do not fill the file.
    """
    start, end, count = _directory(file)
    file.seek(start)
    names = _names(file.read(end - start))
    if not len(names) == len(members) == count:
        raise LayoutError("its directory and its end record list different numbers of files")
    position = 0
    pairs = sorted(zip(members, names, strict=True), key=lambda pair: pair[0].header_offset)
    for member, name in pairs:
        if member.header_offset != position:
            raise LayoutError(f"its directory does not list the data at byte {position:,}")
        position = _member_end(file, member, name)
    if position != start:
        raise LayoutError(f"its directory does not list the data at byte {position:,}")


def _directory(file: IO[bytes]) -> tuple[int, int, int]:
    """The start and the end of the directory, and the number of its entries."""
    size = file.seek(0, 2)
    tail_start = max(0, size - _MAX_COMMENT - _END.size)
    file.seek(tail_start)
    tail = file.read()
    position = tail.rfind(b"PK\x05\x06")
    if position < 0 or position + _END.size > len(tail):
        raise LayoutError("it has no end record")
    _, *disks_and_counts, length, start, comment = _END.unpack_from(tail, position)
    if position + _END.size + comment != len(tail):
        raise LayoutError("its end record is not at its end")
    end = tail_start + position
    stated = (*disks_and_counts, length, start)
    file.seek(max(0, end - _LOCATOR.size - _END_64.size))
    record = file.read(min(end, _LOCATOR.size + _END_64.size))
    if record[-_LOCATOR.size :].startswith(b"PK\x06\x07"):
        end -= _LOCATOR.size + _END_64.size
        stated = _zip64(record, end, stated)
    disk, start_disk, count_here, count, length, start = stated
    if disk or start_disk or count_here != count:
        raise LayoutError("it is one of several volumes")
    if start + length != end:
        raise LayoutError("its directory does not end at its end record")
    return start, end, count


def _zip64(record: bytes, position: int, stated: tuple[int, ...]) -> tuple[int, ...]:
    """The numbers of the end record from the zip64 record at a position and its locator."""
    if len(record) < _END_64.size + _LOCATOR.size:
        raise LayoutError("its zip64 record is damaged")
    signature, size, _, _, *numbers = _END_64.unpack_from(record)
    _, disk, offset, disks = _LOCATOR.unpack_from(record, _END_64.size)
    is_valid = signature == b"PK\x06\x06" and size == _END_64.size - 12 and offset == position
    limits = (*[_MAX_16] * 4, *[_MAX_32] * 2)
    agrees = all(
        small in (limit, large) for small, large, limit in zip(stated, numbers, limits, strict=True)
    )
    if not is_valid or not agrees or disk or disks > 1:
        raise LayoutError("its zip64 record is damaged")
    return tuple(numbers)


def _names(directory: bytes) -> list[bytes]:
    """The names of the entries, which must fill the directory."""
    position, names = 0, []
    while position < len(directory):
        if position + _ENTRY.size > len(directory):
            raise LayoutError("its directory ends inside an entry")
        signature, *fields = _ENTRY.unpack_from(directory, position)
        if signature != b"PK\x01\x02":
            raise LayoutError("its directory is damaged")
        lengths = fields[9:12]  # of the name, the extra field and the comment
        position += _ENTRY.size
        names.append(directory[position : position + lengths[0]])
        position += sum(lengths)
    if position != len(directory):
        raise LayoutError("its directory ends inside an entry")
    return names


def _member_end(file: IO[bytes], member: ZipInfo, name: bytes) -> int:
    """The end of the header, the data and the descriptor of a member."""
    damaged = LayoutError(f"the header at byte {member.header_offset:,} contradicts its directory")
    file.seek(member.header_offset)
    header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size:
        raise damaged
    signature, _, flags, method, _, _, *sizes, length, extra = _LOCAL.unpack(header)
    if signature != b"PK\x03\x04" or method != member.compress_type or file.read(length) != name:
        raise damaged
    expected = (member.CRC, member.compress_size, member.file_size)
    end = member.header_offset + _LOCAL.size + length + extra + member.compress_size
    if (flags | member.flag_bits) & _HAS_DESCRIPTOR:
        file.seek(end)
        following = file.read(len(_DESCRIPTOR) + struct.calcsize("<L2Q"))
        # The longer form first: the shorter one can be its beginning, if a file is empty.
        forms = ["<L2Q", *(["<3L"] if max(expected) <= _MAX_32 else [])]
        for beginning in (_DESCRIPTOR, b""):
            for descriptor in (beginning + struct.pack(form, *expected) for form in forms):
                if following.startswith(descriptor):
                    return end + len(descriptor)
    zip64 = (expected[0], _MAX_32, _MAX_32)
    if any(size not in pair for size, *pair in zip(sizes, expected, zip64, strict=True)):
        raise damaged
    return end
