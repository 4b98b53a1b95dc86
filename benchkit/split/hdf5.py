"""Reading HDF5 files that may be damaged, or made to harm.

A file of this format can name arrays in other files (external links, external storage, virtual
datasets), declare shapes that take no space on disk, and hold types that point elsewhere. The
functions here check every object before any of its data is read:

- every link on the way to an array is a hard link, so it leads to an object of the same file;
- the data of an array are in the file itself, and their filters are available;
- an array holds numbers or text;
- the declared size is bounded by the stored size and by the memory of the machine.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchkit.base.errors import BenchkitError
from benchkit.base.files import format_size
from benchkit.base.paths import regular_file
from benchkit.split import hdf5_heap
from splits.errors import InputError

ATTRIBUTE_LIMIT = 1 << 16  # bytes, the limit of HDF5 for an attribute in its compact form
_OBJECTS = 256  # objects in a split file; benchkit writes fewer than 50
_DEPTH = 4  # levels of groups in a split file; benchkit writes 3
_MEMBERS = 4096  # arrays in one group of another file
_MOST_COMPRESSED = 1100  # deflate, the strongest filter of HDF5, reaches 1032
_FILTERS = {
    h5py.h5z.FILTER_DEFLATE,
    h5py.h5z.FILTER_SHUFFLE,
    h5py.h5z.FILTER_FLETCHER32,
    h5py.h5z.FILTER_SZIP,
    h5py.h5z.FILTER_NBIT,
    h5py.h5z.FILTER_SCALEOFFSET,
    h5py.h5z.FILTER_LZF,
}
_COMPRESSORS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SZIP, h5py.h5z.FILTER_LZF}
_NUMBERS = {h5py.h5t.INTEGER, h5py.h5t.FLOAT}

DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,  # also RecursionError
    TypeError,
    ValueError,
)
"""The errors of h5py, NumPy and JSON for a damaged file."""


class RefusedError(BenchkitError):
    """An object that is not read, because it is not an array of the file itself."""


@contextlib.contextmanager
def damage(path: Path, advice: str) -> Iterator[None]:
    """Turn the errors of a damaged file into a BenchkitError.

    Args:
        path: the file.
        advice: the end of the message.
    """
    try:
        yield
    except InputError as error:
        raise BenchkitError(f"{path} is damaged: {str(error).rstrip('.')}; {advice}") from None
    except MemoryError:
        raise BenchkitError(f"{path} does not fit into memory") from None
    except UnicodeDecodeError:
        raise BenchkitError(f"{path} is damaged: a text in it is not UTF-8; {advice}") from None
    except KeyError as error:
        name = str(error.args[0]) if error.args else ""
        # h5py puts a sentence of the HDF5 library into a KeyError; others hold the missing key.
        reason = f": it has no '{name}'" if name and " " not in name else ""
        raise BenchkitError(f"{path} is damaged{reason}; {advice}") from None
    except DAMAGE:
        raise BenchkitError(f"{path} is damaged; {advice}") from None


def tree(file: h5py.File) -> dict[str, h5py.Dataset | h5py.Group]:
    """All groups and arrays of a split file by name, checked before any data is read.

    Raises:
        RefusedError: an object that is not an array or a group of this file, or arrays that declare
            more bytes than the file has.
    """
    items: dict[str, h5py.Dataset | h5py.Group] = {}
    _walk(file, "", items, 0)
    declared = sum(declared_size(item) for item in items.values() if isinstance(item, h5py.Dataset))
    _check_size(file, "its arrays", declared, _file_size(file))
    return items


def _walk(
    group: h5py.Group, prefix: str, items: dict[str, h5py.Dataset | h5py.Group], depth: int
) -> None:
    for key in group:
        name = f"{prefix}{key}"
        if depth == _DEPTH or len(items) == _OBJECTS:
            raise RefusedError(
                f"{group.file.filename}: '{name}' is one object too many; a split file has at most "
                f"{_OBJECTS} of them in {_DEPTH} levels"
            )
        item = member(group, key, name)
        if isinstance(item, h5py.Group):
            items[name] = item
            _walk(item, f"{name}/", items, depth + 1)
        else:
            _check_type(item, name, other_text=False)
            items[name] = item


def member(group: h5py.Group, key: str, name: str) -> h5py.Dataset | h5py.Group:
    """One member of a group, opened but not read.

    Args:
        group: a group of the file.
        key: the name of the member, without a slash.
        name: its full name, for messages.

    Raises:
        KeyError: there is no such member.
        RefusedError: the member is a link, a named type, or an array whose data are elsewhere.
    """
    path, encoded = group.file.filename, key.encode("utf-8", "surrogateescape")
    if encoded in (b"", b".") or not group.id.links.exists(encoded):
        raise KeyError(name)
    kind = group.id.links.get_info(encoded).type
    if kind != h5py.h5l.TYPE_HARD:
        noun = {h5py.h5l.TYPE_SOFT: "a soft link", h5py.h5l.TYPE_EXTERNAL: "an external link"}
        raise RefusedError(
            f"{path}: '{name}' is {noun.get(kind, 'a link of a program')}; links are not followed, "
            "so the file must hold the array itself"
        )
    object_id = h5py.h5o.open(group.id, encoded)
    if isinstance(object_id, h5py.h5g.GroupID):
        return h5py.Group(object_id)
    if not isinstance(object_id, h5py.h5d.DatasetID):
        raise RefusedError(f"{path}: '{name}' is a named type, not an array or a group")
    _check_storage(path, name, object_id.get_create_plist())
    return h5py.Dataset(object_id)


def _check_storage(path: str, name: str, properties: Any) -> None:
    """Check that the data of a dataset are in its file, behind filters that can be applied."""
    elsewhere = None
    if properties.get_layout() == h5py.h5d.VIRTUAL:
        elsewhere = "a virtual dataset"
    elif properties.get_external_count():
        elsewhere = "stored in another file"
    if elsewhere is not None:
        raise RefusedError(
            f"{path}: '{name}' is {elsewhere}; the file must hold the data of its arrays itself"
        )
    filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
    if sum(code in _COMPRESSORS for code in filters) > 1:
        raise RefusedError(f"{path}: '{name}' is compressed more than once; store it uncompressed")
    for code in filters:
        if code not in _FILTERS or not h5py.h5z.filter_avail(code):
            raise RefusedError(
                f"{path}: '{name}' needs the HDF5 filter {code}, which is not available; store the "
                "array uncompressed"
            )


def _check_type(dataset: h5py.Dataset, name: str, *, other_text: bool) -> None:
    """Check that a dataset holds numbers or text.

    Args:
        dataset: the dataset.
        name: its full name, for messages.
        other_text: whether text of variable length and truth values are accepted as well.
    """
    kind = dataset.id.get_type()
    group = kind.get_class()
    accepted = group in _NUMBERS or group == h5py.h5t.STRING
    if group == h5py.h5t.STRING and kind.is_variable_str():
        accepted = other_text
    if other_text and group == h5py.h5t.ENUM:
        accepted = kind.dtype == np.dtype(bool)
    if not accepted or dataset.id.get_space().get_simple_extent_type() == h5py.h5s.NULL:
        raise RefusedError(
            f"{dataset.file.filename}: the array '{name}' holds neither numbers nor text"
        )


def declared_size(dataset: h5py.Dataset) -> int:
    """The bytes of an array of the declared shape."""
    shape = dataset.id.get_space().get_simple_extent_dims()
    return math.prod(shape) * dataset.id.get_type().get_size()


def _file_size(file: h5py.File) -> int:
    return os.stat(file.filename).st_size


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _check_size(file: h5py.File, noun: str, declared: int, stored: int) -> None:
    memory = _memory()
    if declared > stored:
        raise RefusedError(
            f"{file.filename} is damaged: {noun} declare {format_size(declared)}, more than the "
            f"{format_size(stored)} that are stored"
        )
    if declared > memory:
        raise RefusedError(
            f"{file.filename}: {noun} take {format_size(declared)}; this machine has "
            f"{format_size(memory)} of memory"
        )


def attribute(item: h5py.Group, name: str) -> Any:
    """A number or fixed-length text that an attribute holds.

    Raises:
        KeyError: there is no such attribute.
        RefusedError: the attribute holds something else, or too much.
    """
    encoded = name.encode()
    if not h5py.h5a.exists(item.id, encoded):
        raise KeyError(name)
    opened = h5py.h5a.open(item.id, encoded)
    kind, space = opened.get_type(), opened.get_space()
    is_text = kind.get_class() == h5py.h5t.STRING and not kind.is_variable_str()
    is_scalar = space.get_simple_extent_type() == h5py.h5s.SCALAR
    if not is_scalar or not (is_text or kind.get_class() in _NUMBERS):
        raise RefusedError(
            f"{item.file.filename}: the attribute '{name}' is neither one number nor one text of "
            "fixed length"
        )
    if kind.get_size() > ATTRIBUTE_LIMIT:
        raise RefusedError(
            f"{item.file.filename}: the attribute '{name}' has {format_size(kind.get_size())}; at "
            f"most {format_size(ATTRIBUTE_LIMIT)} are read"
        )
    return item.attrs[name]


def text(value: Any) -> str:
    """A text of fixed length as unicode.

    Raises:
        TypeError: a number.
        UnicodeDecodeError: not UTF-8.
    """
    if not isinstance(value, bytes):
        raise TypeError("not a text")
    return bytes(value).decode()


# ----------------------------------------------------------------------------- other files


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read arrays from any HDF5 file.

    Args:
        path: the file.
        names: arrays or groups; `a/b` is the array `b` in the group `a`.

    Returns:
        The arrays that the file has, text as unicode. A group `a` gives its arrays as `a/b`, and
        its attributes that are one number or one text as `a@b`.

    Raises:
        BenchkitError: no such file, not HDF5, damaged, an array of neither numbers nor text, or one
            whose data are not in the file.
    """
    if path.is_dir():
        raise BenchkitError(f"{path}: this is a folder; give the path of a file")
    if not path.exists():
        raise BenchkitError(f"{path}: there is no such file")
    regular_file(path, "HDF5 file")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        reason = "it is truncated" if "truncated" in str(error) else "it has no HDF5 header"
        raise BenchkitError(f"{path} is not an HDF5 file, or damaged: {reason}") from None
    arrays: dict[str, np.ndarray] = {}
    with damage(path, "write it again"), file:
        datasets: dict[str, h5py.Dataset] = {}
        for name in names:
            arrays |= _find(file, name, datasets)
        for name, dataset in datasets.items():
            _check_type(dataset, name, other_text=True)
            stored = min(dataset.id.get_storage_size(), _file_size(file))
            bound = stored * (
                _MOST_COMPRESSED if dataset.id.get_create_plist().get_nfilters() else 1
            )
            _check_size(file, f"the elements of '{name}'", declared_size(dataset), bound)
        _check_heaps(path, file, datasets)
        for name, dataset in datasets.items():
            arrays[name] = _values(dataset, name)
    return arrays


def _check_heaps(path: Path, file: h5py.File, datasets: Mapping[str, h5py.Dataset]) -> None:
    """Refuse texts of variable length that the HDF5 library would read forever, or into any memory.

    The library reserves the stated length of a text before it looks for the text.
    """
    kinds = {name: h5py.check_string_dtype(dataset.dtype) for name, dataset in datasets.items()}
    texts = [datasets[name] for name, kind in kinds.items() if kind and kind.length is None]
    if not texts:
        return
    size_of_addresses, size_of_lengths = file.id.get_create_plist().get_sizes()
    if hdf5_heap.is_endless(path, size_of_lengths):
        raise ValueError("a heap of texts has no end")
    if file.userblock_size:  # h5py does not say which positions count it
        return
    for dataset in texts:
        longest = hdf5_heap.longest_text(path, _storage(dataset), size_of_addresses)
        if longest > _file_size(file):
            raise ValueError("a text is longer than the file")


def _storage(dataset: h5py.Dataset) -> list[tuple[int, int]]:
    """The positions and sizes in the file of the uncompressed elements of a dataset."""
    properties, id_ = dataset.id.get_create_plist(), dataset.id
    if properties.get_layout() == h5py.h5d.CONTIGUOUS and id_.get_offset() is not None:
        return [(id_.get_offset(), id_.get_storage_size())]
    if properties.get_layout() != h5py.h5d.CHUNKED or properties.get_nfilters():
        return []
    chunks = (id_.get_chunk_info(index) for index in range(id_.get_num_chunks()))
    return [(chunk.byte_offset, chunk.size) for chunk in chunks]


def _find(file: h5py.File, name: str, datasets: dict[str, h5py.Dataset]) -> dict[str, np.ndarray]:
    """Add the arrays of a name to `datasets`, and return the attributes of a group."""
    item: h5py.Dataset | h5py.Group = file
    keys = [key for key in name.split("/") if key]
    try:
        for key in keys:
            if not isinstance(item, h5py.Group):
                return {}
            item = member(item, key, name)
    except KeyError:
        return {}
    if isinstance(item, h5py.Dataset):
        datasets[name] = item
        return {}
    if len(item) > _MEMBERS:
        raise RefusedError(f"{file.filename}: the group '{name}' has more than {_MEMBERS} members")
    for key in item:
        value = member(item, key, f"{name}/{key}")
        if isinstance(value, h5py.Dataset):
            datasets[f"{name}/{key}"] = value
    attributes = {}
    for key in item.attrs:
        with contextlib.suppress(RefusedError):
            value = attribute(item, key)
            attributes[f"{name}@{key}"] = np.asarray(
                text(value) if isinstance(value, bytes) else value
            )
    return attributes


def _values(dataset: h5py.Dataset, name: str) -> np.ndarray:
    if h5py.check_string_dtype(dataset.dtype) is None:
        return np.asarray(dataset[()])
    # h5py marks bytes as ASCII, whatever their encoding.
    texts = np.asarray(dataset.asstr("utf-8")[()], object)
    longest = max(map(len, texts.flat), default=0)
    # Texts of variable length may be shared inside the file, but take their full length here.
    _check_size(dataset.file, f"the texts of '{name}'", 4 * texts.size * longest, _memory())
    return texts.astype(str)
