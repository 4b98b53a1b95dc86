"""The split file: one self-contained HDF5 file per split, written once.

No other module opens HDF5.

    attributes   format, name, recipe, fingerprint, fingerprint_labels, fingerprint_features,
                 complete
    classes/     name, train_count, observed_count, shot; attribute thresholds
    train|val|test/
                 id, path, true [N,C], observed [N,C] (train and val), features [N,V,D]
    provenance   one JSON text: seed, source digests and options, library versions; an attribute, or
                 a dataset if it is too long for one

A label matrix is a dataset or, if the source's is sparse, a group of the arrays of `SparseLabels`:
indptr, indices, values and fill. The storage is part of the identity. It follows from the source
and the regime: true labels as the source has them, observed ones as `regimes.observe` returns them.

Text is stored as fixed-length UTF-8 bytes, because HDF5 stores variable-length strings in heaps
with undefined padding, so that the same split would not give the same bytes. `complete` is written
last: killed writers were measured to leave files that open, with the right shapes, and all zeros.
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
from benchkit.base.files import atomic
from benchkit.base.messages import Log, no_log
from benchkit.split.model import PARTS, Part, Split, encode
from leaderboard.record import canonical
from splits import labels as matrices
from splits import shots
from splits.consistency import contradictions
from splits.labels import Labels, SparseLabels

FORMAT = 1
_ATTRIBUTE = 1 << 15  # bytes of text; HDF5 attributes must be smaller than 64 KiB


# ----------------------------------------------------------------------------- writing


class _Disk(io.FileIO):
    """A file that stores its first write error instead of reporting it to HDF5.

    If HDF5 meets a full disk while it closes a dataset, it was measured to drop the data, to report
    nothing, and to crash at exit.
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
    """Create an HDF5 file; on exit, raise the first OSError of a write."""
    with _Disk(path, "w+") as disk:
        try:
            with h5py.File(disk, "w") as file:
                yield file
        finally:
            if disk.error is not None:
                raise disk.error


def write(split: Split, path: Path, log: Log = no_log) -> dict[str, str]:
    """Write a split file atomically.

    Args:
        split: the split.
        path: the file.
        log: called with a message for each leftover of an interrupted writer that is removed.

    Returns:
        The fingerprints of the split.

    Raises:
        BenchkitError: the disk is full or the folder is not writable.
    """
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
        features: whether to load the features. Without them, `split.fingerprints()` is not that
            of the file; `stored_fingerprints` is.

    Raises:
        BenchkitError: the file is missing, not HDF5, truncated, unfinished or of another format,
            or its arrays do not agree.
    """
    with _open(path) as file, _damage(path):
        split = _load(file, features)
        # The keys that later readers expect in the two JSON attributes.
        _ = split.regime, split.recipe["features"], _shots(split)
    _check(split, path)
    return split


@contextlib.contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Turn the errors of h5py, NumPy and JSON on a damaged file into a BenchkitError."""
    try:
        yield
    except (LookupError, OSError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        reason = str(error).strip("'\".") or type(error).__name__
        raise BenchkitError(f"{path} is damaged: {reason}; make the split again") from None


def _open(path: Path) -> h5py.File:
    if path.is_dir():
        raise BenchkitError(f"{path} is a folder, not a split file; give the path of a file")
    if not path.is_file():
        raise BenchkitError(f"{path} does not exist; `benchkit make-split` makes split files")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        if "truncated" in str(error):
            raise BenchkitError(f"{path} is a truncated HDF5 file; make the split again") from None
        raise BenchkitError(f"{path} is not a split file: it is not HDF5") from None
    with contextlib.ExitStack() as undo, _damage(path):
        undo.callback(file.close)
        if file.attrs.get("complete") != 1:
            raise BenchkitError(
                f"{path} has no 'complete' attribute: its writer was interrupted, or it is not a "
                "split file; make the split again"
            )
        version = _text(file.attrs.get("format", b"?"))
        if version != str(FORMAT):
            raise BenchkitError(f"{path} has format {version}; this version reads format {FORMAT}")
        undo.pop_all()
    return file


def stored_fingerprints(path: Path) -> dict[str, str]:
    """The fingerprints in a file, `labels`, `features` and `both`, without recomputing them."""
    with _open(path) as file, _damage(path):
        suffixes = {"labels": "_labels", "features": "_features", "both": ""}
        return {
            kind: _text(file.attrs[f"fingerprint{suffix}"]) for kind, suffix in suffixes.items()
        }


def _text(value: Any) -> str:
    return bytes(value).decode() if isinstance(value, bytes | np.bytes_) else str(value)


def _strings(file: h5py.File, name: str) -> np.ndarray:
    encoded = file[name][()]
    if encoded.ndim != 1:
        raise ValueError(f"{name} is not a one-dimensional array of text")
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
    """Check shapes and label codes; `verify` also checks fingerprints and invariants."""
    classes = len(split.class_names)
    for name in ("train_count", "observed_count", "shot"):
        shape = getattr(split, name).shape
        if shape != (classes,):
            raise BenchkitError(f"{path}: classes/{name} has shape {shape}, not ({classes},)")
    for name in ("train", "test"):
        if name not in split.parts:
            raise BenchkitError(f"{path} has no group '{name}'; make the split again")
    if split.shot.dtype.kind not in "iu" or not np.isin(split.shot, (0, 1, 2)).all():
        raise BenchkitError(f"{path}: classes/shot holds a group other than 0, 1 and 2")
    for name, part in split.parts.items():
        _check_part(name, part, classes, path)
    shapes = {
        None if part.features is None else part.features.shape[1:] for part in split.parts.values()
    }
    if len(shapes) > 1:
        raise BenchkitError(
            f"{path}: the features of its parts differ in shape; make the split again"
        )


def _check_part(name: str, part: Part, classes: int, path: Path) -> None:
    rows = len(part.ids)
    if name != "test" and part.observed is None:
        raise BenchkitError(f"{path} has no '{name}/observed'; make the split again")
    if part.paths is not None and part.paths.shape != (rows,):
        raise BenchkitError(f"{path}: {name}/path has shape {part.paths.shape}, not ({rows},)")
    for kind, labels in (("true", part.true), ("observed", part.observed)):
        if labels is None:
            continue
        if labels.shape != (rows, classes):
            raise BenchkitError(
                f"{path}: {name}/{kind} has shape {labels.shape}, not ({rows}, {classes})"
            )
        if isinstance(labels, SparseLabels):
            continue  # its codes were checked when it was read
        if labels.dtype != np.int8 or (labels.size and (labels.min() < -1 or labels.max() > 1)):
            raise BenchkitError(f"{path}: {name}/{kind} holds a label outside {{-1, 0, 1}}")
    features = part.features
    if features is not None and (features.ndim != 3 or features.shape[0] != rows):
        raise BenchkitError(
            f"{path}: {name}/features has shape {features.shape}, not ({rows}, V, D)"
        )


def verify(path: Path) -> list[str]:
    """Recompute the fingerprints of a split file and check its invariants.

    Returns:
        One message per problem; empty for an intact file.

    Raises:
        BenchkitError: the file cannot be read, see `read`.
    """
    split, stored = read(path), stored_fingerprints(path)
    problems = []
    for kind, value in split.fingerprints().items():
        if stored[kind] != value:
            noun = "fingerprint" if kind == "both" else f"fingerprint of the {kind}"
            problems.append(f"the {noun} is {value[:12]}, the file says {stored[kind][:12]}")
    return problems + _check_names(split) + _check_labels(split) + _check_features(split)


def _check_names(split: Split) -> list[str]:
    problems = []
    if len(set(split.class_names)) != len(split.class_names):
        problems.append("a class name occurs twice")
    ids = [image for part in split.parts.values() for image in part.ids.tolist()]
    if len(set(ids)) != len(ids):
        problems.append("an image id occurs twice")
    return problems


def _check_labels(split: Split) -> list[str]:
    """Check counts and shot groups, and that observed labels obey their regime."""
    train = split.train
    problems = []
    if not np.array_equal(matrices.counts(train.true, 1), split.train_count):
        problems.append("classes/train_count is not the number of true training positives")
    for name in ("train", "val"):
        part = split.parts.get(name)
        if part is not None and part.observed is not None:
            broken = contradictions(part.true, part.observed, split.regime.kind)
            problems += [f"{name}: {problem}" for problem in broken]
    if train.observed is not None and not np.array_equal(
        matrices.counts(train.observed, 1), split.observed_count
    ):
        problems.append("classes/observed_count is not the number of observed training positives")
    if not np.array_equal(split.shot, _shots(split)):
        problems.append("classes/shot does not follow from the counts and the thresholds")
    return problems


def _check_features(split: Split) -> list[str]:
    return [
        f"{name}/features holds a value that is not finite"
        for name, part in split.parts.items()
        if part.features is not None and not np.isfinite(part.features).all()
    ]


def _shots(split: Split) -> np.ndarray:
    return shots.groups_of(split.train_count, split.observed_count, split.thresholds)


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read arrays from any HDF5 file.

    Args:
        path: the file.
        names: arrays or groups; `a/b` is the array `b` in the group `a`.

    Returns:
        The arrays that the file has, text as unicode. A group `a` gives its arrays as `a/b` and its
        attributes as `a@b`.

    Raises:
        BenchkitError: no such file, not HDF5, damaged, or an array of neither numbers nor text.
    """
    if path.is_dir():
        raise BenchkitError(f"{path}: this is a folder; give the path of a file")
    if not path.is_file():
        raise BenchkitError(f"{path}: there is no such file")
    arrays: dict[str, np.ndarray] = {}
    try:
        with h5py.File(path, "r") as file:
            for name in names:
                item = file.get(name)
                members = {name: item}
                if isinstance(item, h5py.Group):
                    members = {f"{name}/{key}": value for key, value in item.items()}
                    arrays |= {f"{name}@{key}": np.asarray(v) for key, v in item.attrs.items()}
                for key, value in members.items():
                    if isinstance(value, h5py.Dataset):
                        is_text = h5py.check_string_dtype(value.dtype) is not None
                        # h5py marks bytes as ASCII, whatever their encoding.
                        array = value.asstr("utf-8")[()] if is_text else value[()]
                        arrays[key] = np.asarray(array, str) if is_text else array
    except (LookupError, OSError, ValueError, TypeError, RuntimeError) as error:
        reason = str(error).strip("'\"")
        raise BenchkitError(f"{path} is not an HDF5 file, or damaged: {reason}") from None
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biufU":
            raise BenchkitError(f"{path}: the array {name!r} holds neither numbers nor text")
    return arrays
