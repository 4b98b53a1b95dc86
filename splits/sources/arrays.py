"""Reads a data set from one `.npz` file of plain arrays.

Keys of the labels: a dense `Y` [N, C] of 0, 1 and -1 (unknown), or the rows of a sparse matrix in
`indptr` [N+1], `indices` and `shape` [2]. Optional keys: features `X` [N, D] or [N, V, D],
`split` [N] (0 train, 1 test), `label_names` [C], `image_ids` [N], and `file_names` [N], the paths
of the images below the folder `images`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from splits import npy
from splits.errors import InputError
from splits.source import Source, digest_file
from splits.sources._matrix import zeros
from splits.sources._text import need_file
from splits.sources.registry import Option

FORM = "arrays:FILE.npz"
HELP = "Plain arrays in an .npz file: labels Y, or indptr, indices and shape; optionally X etc."
OPTIONS = {
    "labels": Option("", "the key of the labels, or the prefix of _indptr and _indices"),
    "features": Option("X", "the key of the features, or none"),
    "images": Option(
        "", "the folder that file_names are relative to", is_path=True, record="never"
    ),
    "minus_one": Option("unknown", "the meaning of -1 in Y", ("unknown", "negative")),
    "zero": Option("negative", "the meaning of 0 in Y", ("negative", "positive", "unknown")),
}

_SPARSE = ("indptr", "indices", "shape")
_CODES = {"positive": 1, "negative": 0, "unknown": -1}
_OTHERS = ("split", "label_names", "image_ids", "file_names")


def load(
    path: Path,
    name: str | None = None,
    *,
    labels: str = "",
    features: str = "X",
    images: str = "",
    minus_one: str = "unknown",
    zero: str = "negative",
) -> Source:
    """Read a source from an `.npz` file.

    Args:
        path: the file.
        name: the name of the data set; by default the stem of the file name.
        labels: the key of a dense label matrix, or the prefix of a sparse one (`p75` for
            `p75_indptr` and `p75_indices`); `Y` or no prefix by default.
        features: the key of the features, or "none".
        images: the folder that `file_names` are relative to.
        minus_one: the meaning of -1 in a dense matrix, "unknown" or "negative".
        zero: the meaning of 0 in a dense matrix, "negative", "positive" or "unknown".

    Returns:
        The source. Without names, classes are called class_0, class_1, ... and images 0, 1, ...;
        features are float32 [N, V, D], with V = 1 if the file has no view axis.

    Raises:
        InputError: no such file, not an `.npz` file or a damaged one, missing or ambiguous labels,
            arrays of Python objects, arrays of inconsistent shapes, invalid values.
    """
    path = Path(path)
    arrays = _read(path, set(keys(labels, features)))
    return from_arrays(
        choose(path, arrays, labels, features),
        path,
        name or path.stem,
        {path.name: digest_file(path)},
        images=images,
        minus_one=minus_one,
        zero=zero,
    )


def keys(labels: str, features: str) -> list[str]:
    """The keys to read for the options `labels` and `features`; a file need not have all."""
    dense_or_sparse = (
        [labels, f"{labels}_indptr", f"{labels}_indices"] if labels else ["Y", *_SPARSE[:2]]
    )
    return [*dense_or_sparse, "shape", *_OTHERS, *([] if features == "none" else [features])]


def choose(
    path: Path, arrays: Mapping[str, np.ndarray], labels: str, features: str
) -> dict[str, np.ndarray]:
    """Rename the arrays of a file to the keys of `from_arrays`.

    Args:
        path: the file.
        arrays: its arrays by their own keys.
        labels: as in `load`.
        features: as in `load`.

    Raises:
        InputError: the file has no labels or features of this name.
    """
    selected = {key: arrays[key] for key in (*_OTHERS, "shape") if key in arrays}
    if not labels:
        selected |= {key: arrays[key] for key in ("Y", *_SPARSE) if key in arrays}
    elif labels in arrays:
        selected["Y"] = arrays[labels]
    elif f"{labels}_indptr" in arrays:
        sparse = {key: f"{labels}_{key}" for key in _SPARSE[:2]}
        selected |= {key: arrays[name] for key, name in sparse.items() if name in arrays}
    else:
        raise InputError(
            f"{path}: there are no labels {labels!r}, nor {labels}_indptr and {labels}_indices."
        )
    if "Y" in selected and labels:
        selected.pop("shape", None)
    if features in arrays:
        selected["X"] = arrays[features]
    elif features not in ("X", "none"):
        raise InputError(f"{path}: there are no features {features!r}.")
    return selected


def from_arrays(
    arrays: Mapping[str, np.ndarray],
    path: Path,
    name: str,
    digests: dict[str, str],
    *,
    images: str = "",
    minus_one: str = "unknown",
    zero: str = "negative",
) -> Source:
    """A source from arrays in memory.

    Args:
        arrays: the arrays, by the keys in the description of this module.
        path: their file, for messages.
        name: the name of the data set.
        digests: the digests of the files that were read.
        images: as in `load`.
        minus_one: as in `load`.
        zero: as in `load`.

    Raises:
        InputError: as `load`.
    """
    labels = _labels(path, dict(arrays))
    if (minus_one, zero) != ("unknown", "negative"):
        if "Y" not in arrays:
            raise InputError(
                f"{path}: minus_one and zero have no effect on sparse labels, which store only "
                f"positives; they can only be used with a matrix Y."
            )
        labels = np.array([_CODES[zero], 1, _CODES[minus_one]], np.int8)[labels]
    rows, classes = labels.shape
    names = arrays.get("label_names", np.array([f"class_{c}" for c in range(classes)]))
    ids = arrays.get("image_ids", np.arange(rows))
    _expect(path, "label_names", names, kinds="U", shape=(classes,), of="text")
    _expect(path, "image_ids", ids, kinds="Uiu", shape=(rows,), of="text or integers")
    return Source(
        name=name,
        class_names=tuple(names.tolist()),
        image_ids=ids.astype(np.str_),
        labels=labels,
        part=_part(path, arrays.get("split"), rows),
        paths=_paths(path, arrays.get("file_names"), rows, images),
        roots=(Path(images),) if images else (),
        features=_features(path, arrays.get("X"), rows),
        digests=digests,
        path=path,
    )


def _read(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Some arrays of the file, each decompressed once."""
    need_file(path, "an .npz file of arrays")
    if not zipfile.is_zipfile(path):
        raise InputError(
            f"{path}: this is not an .npz file, or it is truncated; write one with numpy.savez."
        )
    arrays: dict[str, np.ndarray] = {}
    key = ""
    try:
        with np.load(path, allow_pickle=False) as file:
            for key in (key for key in file.files if key in names):
                arrays[key] = file[key]
    except npy.BROKEN_NPZ as error:
        if "allow_pickle" in str(error):
            raise InputError(
                f"{path}: the array {key!r} contains Python objects, which are not read because "
                f"they can run code; save it as numbers or as text (unicode)."
            ) from None
        where = f"the array {key!r}" if key else "the file"
        raise InputError(f"{path}: {where} is damaged and cannot be read ({error}).") from None
    for key, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise InputError(f"{path}: {key!r} is not an array; write it with numpy.savez.")
    return arrays


def _expect(
    path: Path, key: str, array: np.ndarray, *, kinds: str, shape: tuple[int, ...], of: str
) -> None:
    if array.dtype.kind not in kinds or array.shape != shape:
        raise InputError(
            f"{path}: {key!r} must be {of} of shape {shape} to fit the labels, not {array.dtype} "
            f"of shape {array.shape}."
        )


def _labels(path: Path, arrays: dict[str, np.ndarray]) -> np.ndarray:
    sparse = [key for key in _SPARSE if key in arrays]
    if "Y" in arrays and sparse:
        raise InputError(f"{path}: there are two sets of labels, 'Y' and {sparse[0]!r}; keep one.")
    if "Y" in arrays:
        return _dense(path, arrays["Y"])
    if len(sparse) < len(_SPARSE):
        missing = [key for key in _SPARSE if key not in arrays]
        detail = f" ({', '.join(map(repr, missing))} missing)" if sparse else ""
        raise InputError(
            f"{path}: there are no labels{detail}; the file needs 'Y' [N, C], or 'indptr', "
            f"'indices' and 'shape'."
        )
    return _from_rows(path, *(arrays[key] for key in _SPARSE))


def _dense(path: Path, labels: np.ndarray) -> np.ndarray:
    if labels.ndim != 2 or labels.dtype.kind not in "biuf":
        raise InputError(
            f"{path}: 'Y' must be a matrix of numbers [N, C], not {labels.dtype} of shape "
            f"{labels.shape}."
        )
    wrong = (labels != 0) & (labels != 1) & (labels != -1)
    if wrong.any():
        row, column = np.unravel_index(int(wrong.argmax()), wrong.shape)
        raise InputError(
            f"{path}: 'Y' has the label {labels[row, column]} at row {row}, class {column}; a "
            f"label must be 1 (positive), 0 (negative) or -1 (unknown)."
        )
    return labels.astype(np.int8)


def _from_rows(
    path: Path, indptr: np.ndarray, indices: np.ndarray, shape: np.ndarray
) -> np.ndarray:
    """The dense matrix of the compressed rows `indices[indptr[i] : indptr[i + 1]]`."""
    for key, array in (("indptr", indptr), ("indices", indices), ("shape", shape)):
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise InputError(
                f"{path}: {key!r} must be a list of integers, not {array.dtype} of shape "
                f"{array.shape}."
            )
    if len(shape) != 2 or (shape < 1).any():
        raise InputError(
            f"{path}: 'shape' must be two numbers >= 1, images and classes, not {shape.tolist()}."
        )
    rows, classes = shape.tolist()
    indptr, indices = indptr.astype(np.int64), indices.astype(np.int64)
    if len(indptr) != rows + 1:
        raise InputError(
            f"{path}: 'indptr' has {len(indptr)} entries; {rows} images need {rows + 1}."
        )
    if indptr[0] != 0 or indptr[-1] != len(indices):
        raise InputError(
            f"{path}: 'indptr' must increase from 0 to the length of 'indices', {len(indices)}, "
            f"not from {indptr[0]} to {indptr[-1]}."
        )
    decreases = np.diff(indptr) < 0
    if decreases.any():
        raise InputError(
            f"{path}: 'indptr' decreases after row {int(decreases.argmax())}; it must increase."
        )
    row = np.repeat(np.arange(rows), np.diff(indptr))
    outside = (indices < 0) | (indices >= classes)
    if outside.any():
        entry = int(outside.argmax())
        raise InputError(
            f"{path}: 'indices' names class {indices[entry]} in row {row[entry]}; there are "
            f"{classes} classes, 0 to {classes - 1}."
        )
    order = np.lexsort((indices, row))
    repeated = (np.diff(row[order]) == 0) & (np.diff(indices[order]) == 0)
    if repeated.any():
        entry = int(order[repeated.argmax()])
        raise InputError(
            f"{path}: 'indices' names class {indices[entry]} twice in row {row[entry]}; classes "
            f"must be unique."
        )
    labels = zeros(path, rows, classes)
    labels[row, indices] = 1
    return labels


def _paths(path: Path, names: np.ndarray | None, rows: int, images: str) -> np.ndarray | None:
    """The file names, unicode [N], relative to the folder of the images."""
    if images and names is None:
        raise InputError(
            f"{path}: there are no 'file_names'; images={images} can only be used with them."
        )
    if images and not Path(images).is_dir():
        raise InputError(f"{images}: there is no such folder of images.")
    if names is None:
        return None
    _expect(path, "file_names", names, kinds="U", shape=(rows,), of="text")
    for row, name in enumerate(names.tolist()):
        below = PurePosixPath(name)
        if not name.strip() or below.is_absolute() or ".." in below.parts:
            raise InputError(
                f"{path}: 'file_names' is {name!r} in row {row}; a file name must be relative and "
                f"without '..'."
            )
    return names


def _part(path: Path, split: np.ndarray | None, rows: int) -> np.ndarray | None:
    if split is None:
        return None
    _expect(path, "split", split, kinds="biu", shape=(rows,), of="0 (train) or 1 (test)")
    wrong = (split != 0) & (split != 1)
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"{path}: 'split' is {split[row]} in row {row}; it must be 0 (train) or 1 (test)."
        )
    return split.astype(np.uint8)


def _features(path: Path, features: np.ndarray | None, rows: int) -> np.ndarray | None:
    if features is None:
        return None
    if features.ndim not in (2, 3) or len(features) != rows or features.dtype.kind not in "biuf":
        raise InputError(
            f"{path}: 'X' must be numbers [N, D] or [N, V, D] with the {rows} rows of the labels, "
            f"not {features.dtype} of shape {features.shape}."
        )
    with np.errstate(over="ignore"):  # `Source` refuses infinite numbers
        features = features.astype(np.float32)
    return features[:, None, :] if features.ndim == 2 else features
