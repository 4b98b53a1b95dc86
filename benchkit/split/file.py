"""The split file: one self-contained HDF5 file per split, written once.

No other module writes HDF5. `benchkit.split.hdf5` checks the objects of a file before it is read.

    attributes   format, name, recipe, fingerprint, fingerprint_labels, fingerprint_features,
                 metadata_digest, complete
    classes/     name, train_count, observed_count, shot; attribute thresholds
    train|val|test/
                 id, path, true [N,C], observed [N,C] (train and val), features [N,V,D]
    provenance   one JSON text: seed, source digests and options, library versions; an attribute, or
                 a dataset if it is too long for one

A label matrix is a dataset or, if the source's is sparse, a group of the arrays of `SparseLabels`:
indptr, indices, values and fill. The storage is part of the identity. It follows from the source
and the regime: true labels as the source has them, observed ones as `regimes.observe` returns them.

`metadata_digest` covers what a reader sees and no fingerprint covers: name, recipe, thresholds,
paths, provenance and format. Files of earlier versions have none and stay readable.

Text is stored as fixed-length UTF-8 bytes, because HDF5 stores variable-length strings in heaps
with undefined padding, so that the same split would not give the same bytes. `complete` is written
last: killed writers were measured to leave files that open, with the right shapes, and all zeros.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchkit.base.errors import BenchkitError
from benchkit.base.files import atomic
from benchkit.base.messages import Log, no_log
from benchkit.base.paths import regular_file
from benchkit.split import checks, hdf5, metadata
from benchkit.split.model import (
    PARTS,
    Part,
    Split,
    combined_fingerprint,
    content_digest,
    decode,
    encode,
)
from leaderboard.record import canonical
from splits.labels import Labels, SparseLabels

FORMAT = 1
_ATTRIBUTE = 1 << 15  # bytes of text; HDF5 attributes must be smaller than 64 KiB


# ----------------------------------------------------------------------------- writing


class _Disk(io.FileIO):
    """A file that stores its first write error or interrupt instead of reporting it to HDF5.

    If HDF5 meets a full disk while it closes a dataset, it was measured to drop the data, to report
    nothing, and to crash at exit. After a Ctrl-C inside a write it cannot close the file.
    """

    error: OSError | KeyboardInterrupt | None = None

    def write(self, data: Any) -> int:
        size = 0
        try:
            rest = memoryview(data).cast("B")
            size = rest.nbytes
            while rest and self.error is None:
                rest = rest[super().write(rest) :]
        except (OSError, KeyboardInterrupt) as error:
            self.error = self.error or error
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except (OSError, KeyboardInterrupt) as error:
            self.error = self.error or error
            return size or 0

    def flush(self) -> None:  # Python does not find an inherited function during an interrupt
        super().flush()


@contextlib.contextmanager
def _created(path: Path) -> Iterator[h5py.File]:
    """Create an HDF5 file; on exit, raise the first error or interrupt of a write."""
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
            "metadata_digest": _metadata_digest(split),
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


def _metadata_digest(split: Split) -> str:
    """The SHA-256 of the metadata and paths, which complete the fingerprints."""
    paths = (
        (f"{name}/path", encode(part.paths))
        for name, part in split.parts.items()
        if part.paths is not None
    )
    document = {
        "format": FORMAT,
        "name": split.name,
        "recipe": split.recipe,
        "thresholds": split.thresholds,
        "provenance": split.provenance,
    }
    return content_digest(paths, [document])


# ----------------------------------------------------------------------------- reading


_ADVICE = "make the split again, or restore the file"
_WRONG_METADATA = "its name, recipe, thresholds, paths or provenance do not match their digest"
_Items = Mapping[str, "h5py.Dataset | h5py.Group"]


@dataclass(frozen=True)
class _Digests:
    """The digests in a file; `metadata` is None in files of earlier versions."""

    fingerprints: Mapping[str, str]
    metadata: str | None


def read(path: Path, *, features: bool = True, check: bool = True) -> Split:
    """Read a split file.

    The labels are compared with their fingerprint, name, paths and provenance with their digest,
    and the invariants of the labels are checked. `verify` and `benchkit.runs` also recompute the
    fingerprint of the features, which takes longer than reading them.

    Args:
        path: the file.
        features: whether to load the features. Without them, `split.fingerprints()` is not that
            of the file; `stored_fingerprints` is.
        check: False reads a file whose content contradicts its fingerprint or itself, but whose
            shapes agree.

    Raises:
        BenchkitError: the file is missing, not HDF5, truncated, unfinished or of another format,
            its arrays are not all in the file itself or do not agree, or its content was changed
            after it was written.
    """
    split, digests = _read(path, features)
    if check:
        _check(path, split, digests)
    return split


def _read(path: Path, features: bool) -> tuple[Split, _Digests]:
    """A split whose shapes agree, and the digests in its file."""
    with _open(path) as file, hdf5.damage(path, _ADVICE):
        items = hdf5.tree(file)
        split = _load(path, file, items, features)
        digests = _Digests(_fingerprints(file), _stored_metadata_digest(file))
        _ = split.regime  # of valid options
        problem = checks.shape_problem(split)
        if problem is None and not features:  # of features that are not loaded
            names = {name: f"{name}/features" for name in split.parts}
            stored = {k: _dataset(items, v) if v in items else None for k, v in names.items()}
            problem = checks.features_problem(stored, split)
    if problem is not None:
        raise _damaged(path, problem)
    return split, digests


def _damaged(path: Path, reason: str) -> BenchkitError:
    return BenchkitError(f"{path} is damaged: {reason}; {_ADVICE}")


def _check(path: Path, split: Split, stored: _Digests) -> None:
    """Refuse a split that differs from its digests or violates an invariant of its labels."""
    labels, fingerprints = split.labels_fingerprint(), stored.fingerprints
    reason = None
    if labels != fingerprints["labels"]:
        reason = "its labels do not match their fingerprint"
    elif combined_fingerprint(labels, fingerprints["features"]) != fingerprints["both"]:
        reason = "its three fingerprints do not match each other"
    elif _differs(split, stored.metadata):
        reason = _WRONG_METADATA
    if reason is not None:
        raise BenchkitError(f"{path} was changed after it was written: {reason}; {_ADVICE}")
    problems = checks.name_problems(split) + checks.label_problems(split)
    if problems:
        raise _damaged(path, problems[0])


def _differs(split: Split, metadata_digest: str | None) -> bool:
    return metadata_digest is not None and metadata_digest != _metadata_digest(split)


def _open(path: Path) -> h5py.File:
    if path.is_dir():
        raise BenchkitError(f"{path} is a folder, not a split file; give the path of a file")
    if not path.exists():
        raise BenchkitError(f"{path} does not exist; `benchkit make-split` makes split files")
    regular_file(path, "split file")
    try:
        file = h5py.File(path, "r")
    except PermissionError:
        raise BenchkitError(f"{path} may not be read; check its permissions") from None
    except (OSError, ValueError) as error:
        if "truncated" in str(error):
            raise BenchkitError(f"{path} is a truncated HDF5 file; make the split again") from None
        raise BenchkitError(f"{path} is not a split file: it is not HDF5") from None
    with contextlib.ExitStack() as undo, hdf5.damage(path, _ADVICE):
        undo.callback(file.close)
        if not _is_complete(file):
            raise BenchkitError(
                f"{path} has no 'complete' attribute: its writer was interrupted, or it is not a "
                "split file; make the split again"
            )
        version = hdf5.text(hdf5.attribute(file, "format"))
        if version != str(FORMAT):
            raise BenchkitError(f"{path} has format {version}; this version reads format {FORMAT}")
        undo.pop_all()
    return file


def _is_complete(file: h5py.File) -> bool:
    try:
        return bool(hdf5.attribute(file, "complete") == 1)
    except KeyError:
        return False


def stored_fingerprints(path: Path) -> dict[str, str]:
    """The fingerprints in a file, `labels`, `features` and `both`, without recomputing them."""
    with _open(path) as file, hdf5.damage(path, _ADVICE):
        return _fingerprints(file)


def _fingerprints(file: h5py.File) -> dict[str, str]:
    suffixes = {"labels": "_labels", "features": "_features", "both": ""}
    return {
        kind: hdf5.text(hdf5.attribute(file, f"fingerprint{suffix}"))
        for kind, suffix in suffixes.items()
    }


def _stored_metadata_digest(file: h5py.File) -> str | None:
    if "metadata_digest" not in file.attrs:
        return None
    return hdf5.text(hdf5.attribute(file, "metadata_digest"))


def _load(path: Path, file: h5py.File, items: _Items, features: bool) -> Split:
    parts = {}
    for name in PARTS:
        if name not in items:
            continue
        ids = _strings(items, f"{name}/id")
        shape = (len(ids), _dataset(items, "classes/name").size)
        parts[name] = Part(
            ids=ids,
            paths=_strings(items, f"{name}/path") if f"{name}/path" in items else None,
            true=_labels(items, f"{name}/true", shape),
            observed=(
                _labels(items, f"{name}/observed", shape) if f"{name}/observed" in items else None
            ),
            features=(
                _dataset(items, f"{name}/features")[()]
                if features and f"{name}/features" in items
                else None
            ),
        )
    classes = items["classes"]
    try:
        return Split(
            name=hdf5.text(hdf5.attribute(file, "name")),
            recipe=metadata.recipe(_json(file, "recipe", "recipe")),
            class_names=tuple(str(name) for name in _strings(items, "classes/name")),
            train_count=_dataset(items, "classes/train_count")[()],
            observed_count=_dataset(items, "classes/observed_count")[()],
            shot=_dataset(items, "classes/shot")[()],
            thresholds=metadata.thresholds(_json(classes, "thresholds", "text of the thresholds")),
            parts=parts,
            provenance=metadata.provenance(_provenance(items)),
        )
    except metadata.WrongTextError as error:
        raise _damaged(path, str(error)) from None


def _dataset(items: _Items, name: str) -> h5py.Dataset:
    item = items[name]
    if not isinstance(item, h5py.Dataset):
        raise KeyError(name)
    return item


def _strings(items: _Items, name: str) -> np.ndarray:
    encoded = _dataset(items, name)[()]
    if encoded.ndim != 1 or encoded.dtype.kind != "S":
        raise ValueError(f"{name} is not a list of texts")
    return decode(encoded)


def _labels(items: _Items, name: str, shape: tuple[int, int]) -> Labels:
    if isinstance(items[name], h5py.Dataset):
        return np.asarray(_dataset(items, name)[()])
    arrays = {
        key: _dataset(items, f"{name}/{key}")[()] for key in ("indptr", "indices", "values", "fill")
    }
    return SparseLabels.from_arrays(shape, arrays)


def _json(group: h5py.Group, attribute: str, noun: str) -> dict[str, Any]:
    return metadata.parse(hdf5.text(hdf5.attribute(group, attribute)), noun)


def _provenance(items: _Items) -> dict[str, Any]:
    if "provenance/json" in items:
        return metadata.parse(hdf5.text(_dataset(items, "provenance/json")[()]), "provenance")
    return _json(items["provenance"], "json", "provenance")


def verify(path: Path) -> list[str]:
    """Recompute the fingerprints and the digest of a split file and check its invariants.

    Returns:
        One message per problem; empty for an intact file.

    Raises:
        BenchkitError: the file cannot be read even without its checks, see `read`.
    """
    split, digests = _read(path, features=True)
    stored = digests.fingerprints
    problems = []
    for kind, value in split.fingerprints().items():
        if stored[kind] != value:
            noun = "fingerprint" if kind == "both" else f"fingerprint of the {kind}"
            length = 12 if stored[kind][:12] != value[:12] else None
            problems.append(
                f"the {noun} is {value[:length]}, the file says {stored[kind][:length]}"
            )
    if _differs(split, digests.metadata):
        problems.append(_WRONG_METADATA)
    return (
        problems
        + checks.name_problems(split)
        + checks.label_problems(split)
        + checks.feature_problems(split)
    )
