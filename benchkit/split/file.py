"""The split file: one self-contained HDF5 file per split, written once. The one module on HDF5.

    attributes   format, name, recipe, fingerprint, fingerprint_labels, fingerprint_features,
                 complete
    classes/     name, train_count, observed_count, shot; attribute thresholds
    train|val|test/
                 id, path, true [N,C], observed [N,C] (train and val), features [N,V,D]
    provenance   one JSON text: seed, source digests and options, library versions; an attribute, or
                 a dataset where it is too long for one

A label matrix is a dataset, or, where the source's is sparse, a group of `SparseLabels`' arrays:
indptr, indices, values and fill. How it is stored is part of its identity, and follows from the
source and the regime: true labels as the source has them, observed ones as `regimes.observe` does.

Text is stored as fixed-length UTF-8 bytes, because HDF5's variable-length strings live in heaps
whose padding is not defined and would break "the same bytes twice". `complete` is written last: a
killed writer has been measured to leave a file that opens, with the right shapes, and all zeros.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchkit.base.errors import BenchkitError
from benchkit.base.files import Log, atomic
from benchkit.split.model import PARTS, Part, Split, canonical, encode
from splits import labels as matrices
from splits.consistency import contradictions
from splits.labels import Labels, SparseLabels

FORMAT = 1
_ATTRIBUTE = 1 << 15  # bytes of text; HDF5 has no room for an attribute of 64 KiB


# ----------------------------------------------------------------------------- writing


class _Disk(io.FileIO):
    """A file that remembers a failed write instead of telling HDF5 of it.

    Told of a full disk while it closes a dataset, HDF5 has been measured to drop the data, to
    report nothing, and to crash at exit.
    """

    error: OSError | None = None

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        size = rest.nbytes
        try:
            while rest and self.error is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0


@contextlib.contextmanager
def _created(path: Path) -> Iterator[h5py.File]:
    """A new HDF5 file; raises the first OSError that writing met, once the file is closed."""
    with _Disk(path, "w+") as disk:
        try:
            with h5py.File(disk, "w") as file:
                yield file
        finally:
            if disk.error is not None:
                raise disk.error


def write(split: Split, path: Path, log: Log = lambda _: None) -> dict[str, str]:
    """Write a split file, complete or not at all; returns its fingerprints."""
    fingerprints = split.fingerprints()
    needed = sum(array.nbytes for kind in ("labels", "features") for _, array in split.arrays(kind))
    with atomic(path, log, needed + 2**16) as partial, _created(partial) as file:
        for name, value in {
            "format": str(FORMAT),
            "name": split.name,
            "recipe": canonical(split.recipe),
            "fingerprint": fingerprints["both"],
            "fingerprint_labels": fingerprints["labels"],
            "fingerprint_features": fingerprints["features"],
        }.items():
            file.attrs[name] = np.bytes_(value.encode())
        for kind in ("labels", "features"):
            for name, array in split.arrays(kind):
                file.create_dataset(name, data=array, track_times=False)
        file["classes"].attrs["thresholds"] = np.bytes_(canonical(split.thresholds).encode())
        for name, part in split.parts.items():
            if part.paths is not None:
                data = encode(part.paths)
                file.create_dataset(f"{name}/path", data=data, track_times=False)
        provenance = file.create_group("provenance")
        text = np.bytes_(canonical(split.provenance).encode())
        if len(text) < _ATTRIBUTE:
            provenance.attrs["json"] = text
        else:
            provenance.create_dataset("json", data=text, track_times=False)
        file.flush()
        file.attrs["complete"] = np.uint8(1)
    return fingerprints


# ----------------------------------------------------------------------------- reading


def read(path: Path, *, features: bool = True) -> Split:
    """Read a split file.

    Args:
        path: the file.
        features: whether to load features; without them the split's fingerprint is not whole.

    Raises:
        BenchkitError: missing, not HDF5, truncated, unfinished, of another format, or its arrays
            disagree.
    """
    with _open(path) as file, _damage(path):
        split = _load(file, features)
        # What later readers take for granted of the two JSON attributes.
        _ = split.regime, split.recipe["features"], _shots(split)
    _check(split, path)
    return split


@contextlib.contextmanager
def _damage(path: Path) -> Iterator[None]:
    """What h5py, NumPy and JSON raise on a file that is not as it was written, as a sentence."""
    try:
        yield
    except (LookupError, OSError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        reason = str(error).strip("'\"") or type(error).__name__
        raise BenchkitError(f"{path} is damaged: {reason}; make it again") from None


def _open(path: Path) -> h5py.File:
    if path.is_dir():
        raise BenchkitError(f"{path} is a folder, not a split file; name the file in it")
    if not path.is_file():
        raise BenchkitError(f"{path} does not exist; `benchkit make-split` makes a split file")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        if "truncated" in str(error):
            raise BenchkitError(f"{path} is a truncated HDF5 file; make it again") from None
        raise BenchkitError(f"{path} is not a split file: it is not HDF5") from None
    with contextlib.ExitStack() as undo, _damage(path):
        undo.callback(file.close)
        if file.attrs.get("complete") != 1:
            raise BenchkitError(
                f"{path} has no 'complete' mark: its writer was interrupted or it is not a split "
                "file; make it again"
            )
        found = _text(file.attrs.get("format", b"?"))
        if found != str(FORMAT):
            raise BenchkitError(f"{path} has format {found}; this version reads format {FORMAT}")
        undo.pop_all()
    return file


def stored_fingerprints(path: Path) -> dict[str, str]:
    """The fingerprints that a file carries, without recomputing them."""
    with _open(path) as file, _damage(path):
        names = {"labels": "_labels", "features": "_features", "both": ""}
        return {k: _text(file.attrs[f"fingerprint{tail}"]) for k, tail in names.items()}


def _text(value: Any) -> str:
    return bytes(value).decode() if isinstance(value, bytes | np.bytes_) else str(value)


def _strings(file: h5py.File, name: str) -> np.ndarray:
    encoded = file[name][()]
    if encoded.ndim != 1:
        raise ValueError(f"{name} is not a list of texts")
    return np.char.decode(encoded, "utf-8")


def _provenance(group: h5py.Group) -> Any:
    return group["json"][()] if "json" in group else group.attrs["json"]


def _labels(part: h5py.Group, name: str, shape: tuple[int, int]) -> Labels:
    if not isinstance(part[name], h5py.Group):
        return part[name][()]
    return SparseLabels.from_arrays(shape, {key: part[name][key][()] for key in part[name]})


def _load(file: h5py.File, features: bool) -> Split:
    parts = {}
    for name in PARTS:
        if name not in file:
            continue
        group = file[name]
        shape = (len(group["id"]), len(file["classes/name"]))
        parts[name] = Part(
            ids=_strings(file, f"{name}/id"),
            paths=_strings(file, f"{name}/path") if "path" in group else None,
            true=_labels(group, "true", shape),
            observed=_labels(group, "observed", shape) if "observed" in group else None,
            features=group["features"][()] if features and "features" in group else None,
        )
    return Split(
        name=_text(file.attrs["name"]),
        recipe=json.loads(_text(file.attrs["recipe"])),
        class_names=tuple(str(name) for name in _strings(file, "classes/name")),
        train_count=file["classes/train_count"][()],
        observed_count=file["classes/observed_count"][()],
        shot=file["classes/shot"][()],
        thresholds=json.loads(_text(file["classes"].attrs["thresholds"])),
        parts=parts,
        provenance=json.loads(_text(_provenance(file["provenance"]))),
    )


def _check(split: Split, path: Path) -> None:
    """Shapes and codes; what `verify` adds is the fingerprint and the invariants."""
    classes = len(split.class_names)
    for what in ("train_count", "observed_count", "shot"):
        found = getattr(split, what).shape
        if found != (classes,):
            raise BenchkitError(f"{path}: classes/{what} has shape {found}, not ({classes},)")
    for name in ("train", "test"):
        if name not in split.parts:
            raise BenchkitError(f"{path} has no group '{name}'; make it again")
    if split.shot.dtype.kind not in "iu" or not np.isin(split.shot, (0, 1, 2)).all():
        raise BenchkitError(f"{path}: classes/shot holds a group other than 0, 1 and 2")
    shapes = set()
    for name, part in split.parts.items():
        rows = len(part.ids)
        if name != "test" and part.observed is None:
            raise BenchkitError(f"{path} has no '{name}/observed'; make it again")
        if part.paths is not None and part.paths.shape != (rows,):
            raise BenchkitError(f"{path}: {name}/path has shape {part.paths.shape}, not ({rows},)")
        for what, array in (("true", part.true), ("observed", part.observed)):
            if array is None:
                continue
            if array.shape != (rows, classes):
                raise BenchkitError(
                    f"{path}: {name}/{what} has shape {array.shape}, not ({rows}, {classes})"
                )
            if isinstance(array, SparseLabels):
                continue  # its codes were checked when it was read
            if array.dtype != np.int8 or (array.size and (array.min() < -1 or array.max() > 1)):
                raise BenchkitError(f"{path}: {name}/{what} holds a label outside {{-1, 0, 1}}")
        if part.features is not None and (
            part.features.ndim != 3 or part.features.shape[0] != rows
        ):
            shape = part.features.shape
            raise BenchkitError(f"{path}: {name}/features has shape {shape}, not ({rows}, V, D)")
        shapes.add(None if part.features is None else part.features.shape[1:])
    if len(shapes) > 1:
        raise BenchkitError(f"{path}: the features of its parts differ in shape; make it again")


def verify(path: Path) -> list[str]:
    """Recompute the fingerprint and check every invariant; an empty list says all is well."""
    split, stored, found = read(path), stored_fingerprints(path), []
    for kind, value in split.fingerprints().items():
        if stored[kind] != value:
            what = "fingerprint" if kind == "both" else f"fingerprint of the {kind}"
            found.append(f"the {what} is {value[:12]}, the file says {stored[kind][:12]}")
    if len(set(split.class_names)) != len(split.class_names):
        found.append("a class name occurs twice")
    ids = [name for part in split.parts.values() for name in part.ids.tolist()]
    if len(set(ids)) != len(ids):
        found.append("an image id occurs twice")
    train = split.parts["train"]
    if not np.array_equal(matrices.counts(train.true, 1), split.train_count):
        found.append("classes/train_count is not the number of true training positives")
    for name in ("train", "val"):
        part = split.parts.get(name)
        if part is not None and part.observed is not None:
            kind = split.regime.partition(":")[0]
            problems = contradictions(part.true, part.observed, kind)
            found += [f"{name}: {problem}" for problem in problems]
    if train.observed is not None and not np.array_equal(
        matrices.counts(train.observed, 1), split.observed_count
    ):
        found.append("classes/observed_count is not the number of observed training positives")
    if not np.array_equal(split.shot, _shots(split)):
        found.append("classes/shot does not follow from the counts and the thresholds")
    for name, part in split.parts.items():
        if part.features is not None and not np.isfinite(part.features).all():
            found.append(f"{name}/features holds a value that is not finite")
    return found


def _shots(split: Split) -> np.ndarray:
    observed = split.thresholds["reference"] == "observed"
    counts = split.observed_count if observed else split.train_count
    many, few = split.thresholds["many"], split.thresholds["few"]
    return np.where(counts >= many, 0, np.where(counts >= few, 1, 2)).astype(np.uint8)


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Some arrays of any HDF5 file.

    Args:
        path: the file.
        names: arrays, or groups; `a/b` lies in the group `a`.

    Returns:
        Those of the arrays that the file has, text as unicode. Of a group `a`, the arrays in it as
        `a/b` and its attributes as `a@b`.

    Raises:
        BenchkitError: no such file, not HDF5, damaged, or an array of neither numbers nor text.
    """
    if path.is_dir():
        raise BenchkitError(f"{path}: this is a folder; give the file in it")
    if not path.is_file():
        raise BenchkitError(f"{path}: there is no such file")
    found: dict[str, np.ndarray] = {}
    try:
        with h5py.File(path, "r") as file:
            for name in names:
                item = file.get(name)
                inside = {name: item}
                if isinstance(item, h5py.Group):
                    inside = {f"{name}/{key}": value for key, value in item.items()}
                    found |= {f"{name}@{key}": np.asarray(v) for key, v in item.attrs.items()}
                for key, value in inside.items():
                    if isinstance(value, h5py.Dataset):
                        text = h5py.check_string_dtype(value.dtype) is not None
                        # Bytes are marked as ASCII by h5py, whatever their text is.
                        array = value.asstr("utf-8")[()] if text else value[()]
                        found[key] = np.asarray(array, str) if text else array
    except (LookupError, OSError, ValueError, TypeError, RuntimeError) as error:
        reason = str(error).strip("'\"")
        raise BenchkitError(f"{path} is not an HDF5 file, or damaged: {reason}") from None
    for name, array in found.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biufU":
            raise BenchkitError(f"{path}: the array {name!r} holds neither numbers nor text")
    return found
