"""Reads a data set from one `.npz` file of plain arrays.

Keys of the labels: a dense `Y` [N, C] of 0, 1 and -1 (unknown), or the compressed rows of a sparse
matrix in `indptr` [N+1], `indices` and `shape` [2], optionally with the codes `values` of the
stored labels (1 by default) and the code `fill` of all others (0 by default). Optional keys:
features `X` [N, D] or [N, V, D], `split` [N] (0 train, 1 test, 2 val), `label_names` [C],
`image_ids` [N], and `file_names` [N], the paths of the images below the folder `images`.
"""

from __future__ import annotations

import difflib
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from splits import npy
from splits.errors import InputError
from splits.labels import Labels
from splits.source import TEST, TRAIN, VAL, Source, digest_file
from splits.sources._label_arrays import read_dense, read_shape, read_sparse, recoded
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
    "minus_one": Option("unknown", "the meaning of -1 in the labels", ("unknown", "negative")),
    "zero": Option(
        "negative", "the meaning of 0 in the labels", ("negative", "positive", "unknown")
    ),
    "observed": Option(
        "", "the key (or prefix) of observed labels 1, 0, -1 beside the true ones", record="changed"
    ),
    "candidates": Option(
        "", "the key (or prefix) of candidate labels 1, 0 beside the true ones", record="changed"
    ),
}

_ROWS = ("indptr", "indices")
_ENTRIES = ("values", "fill", "data", "format")  # the last two are written by SciPy
_SPARSE = (*_ROWS, "shape")
_OTHERS = ("split", "label_names", "image_ids", "file_names")
_KNOWN = ("Y", "X", *_SPARSE, "values", "fill", *_OTHERS)
_MOST_NAMED = 5  # keys in a message
_MOST_COMPARED = 1000  # keys that are compared with the known ones


def check(options: Mapping[str, object], _: str) -> None:
    """Check that the options can be combined.

    Raises:
        InputError: both observed and candidate labels.
    """
    if options["observed"] and options["candidates"]:
        raise InputError("observed and candidates cannot be combined; leave one of them out.")


def load(
    path: Path,
    name: str | None = None,
    *,
    labels: str = "",
    features: str = "X",
    images: str = "",
    minus_one: str = "unknown",
    zero: str = "negative",
    observed: str = "",
    candidates: str = "",
) -> Source:
    """Read a source from an `.npz` file.

    Args:
        path: the file.
        name: the name of the data set; by default the stem of the file name.
        labels: the key of a dense label matrix, or the prefix of a sparse one (`p75` for
            `p75_indptr`, `p75_indices`, ...); `Y` or no prefix by default.
        features: the key of the features, or "none".
        images: the folder that `file_names` are relative to.
        minus_one: the meaning of -1 in the labels, "unknown" or "negative".
        zero: the meaning of 0 in the labels, "negative", "positive" or "unknown".
        observed: the key or prefix of observed labels of the same shape: 1, 0, -1 (unknown).
        candidates: the key or prefix of candidate labels of the same shape, 1 or 0; not both.

    Returns:
        The source. Without names, classes are called class_0, class_1, ... and images 0, 1, ...;
        features are float32 [N, V, D], with V = 1 if the file has no view axis. Sparse labels are
        `SparseLabels`, except those without `values` and `fill` that are small enough for an array.

    Raises:
        InputError: no such file, not an `.npz` file or a damaged one, missing or ambiguous labels,
            arrays of Python objects, arrays of inconsistent shapes, invalid values, observed labels
            that contradict the true ones.
    """
    path = Path(path)
    arrays, unused = _read(path, labels, features, observed, candidates)
    selected = choose(path, arrays, labels, features, observed, candidates)
    return from_arrays(
        selected,
        path,
        name or path.stem,
        {path.name: digest_file(path)},
        images=images,
        minus_one=minus_one,
        zero=zero,
        notes=_notes(arrays, unused, labels, features),
    )


def keys(labels: str, features: str, observed: str = "", candidates: str = "") -> list[str]:
    """The keys to read for the options of `load`; a file need not have all."""
    prefixed = [
        prefix + key
        for prefix in (f"{labels}_" if labels else "", f"{observed}_", f"{candidates}_")
        for key in (*_ROWS, *_ENTRIES)
        if prefix != "_"
    ]
    plain = [labels or "Y", "shape", *_OTHERS, observed, candidates]
    return [*filter(None, plain), *prefixed, *([] if features == "none" else [features])]


def choose(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    labels: str,
    features: str,
    observed: str = "",
    candidates: str = "",
) -> dict[str, np.ndarray]:
    """Rename the arrays of a file to the keys of `from_arrays`.

    Args:
        path: the file.
        arrays: its arrays by their own keys.
        labels: as in `load`.
        features: as in `load`.
        observed: as in `load`.
        candidates: as in `load`.

    Raises:
        InputError: the file has no labels or features of this name.
    """
    selected = {key: arrays[key] for key in (*_OTHERS, "shape") if key in arrays}
    if labels:
        selected |= _matrix(path, arrays, labels, "labels", "Y", "")
    else:
        selected |= {key: arrays[key] for key in ("Y", *_ROWS, *_ENTRIES) if key in arrays}
    if "Y" in selected and labels:
        selected.pop("shape", None)
    for noun, key in (("observed", observed), ("candidates", candidates)):
        if key:
            selected |= _matrix(path, arrays, key, noun, noun, f"{noun}_")
    if features in arrays:
        selected["X"] = arrays[features]
    elif features not in ("X", "none"):
        raise InputError(f"{path}: there are no features {features!r}.")
    return selected


def _matrix(
    path: Path, arrays: Mapping[str, np.ndarray], key: str, noun: str, dense: str, prefix: str
) -> dict[str, np.ndarray]:
    """One label matrix: under `dense`, or in compressed rows under `prefix`."""
    if key in arrays:
        return {dense: arrays[key]}
    names = {f"{prefix}{name}": f"{key}_{name}" for name in (*_ROWS, *_ENTRIES)}
    rows = {name: arrays[own] for name, own in names.items() if own in arrays}
    if f"{prefix}indptr" not in rows:
        raise InputError(
            f"{path}: there are no {noun} {key!r}, nor {key}_indptr and {key}_indices."
        )
    return rows


def from_arrays(
    arrays: Mapping[str, np.ndarray],
    path: Path,
    name: str,
    digests: dict[str, str],
    *,
    images: str = "",
    minus_one: str = "unknown",
    zero: str = "negative",
    notes: tuple[str, ...] = (),
) -> Source:
    """A source from arrays in memory.

    Args:
        arrays: the arrays, by the keys in the description of this module; observed and candidate
            labels under `observed` and `candidates`, or in compressed rows with this prefix.
        path: their file, for messages.
        name: the name of the data set.
        digests: the digests of the files that were read.
        images: as in `load`.
        minus_one: as in `load`.
        zero: as in `load`.
        notes: messages for the user.

    Raises:
        InputError: as `load`.
    """
    labels = _labels(path, arrays)
    if (minus_one, zero) != ("unknown", "negative"):
        if "Y" not in arrays and "values" not in arrays and "fill" not in arrays:
            raise InputError(
                f"{path}: minus_one and zero have no effect on sparse labels without 'values' and "
                f"'fill', which store only positives; add these arrays, or use a matrix Y."
            )
        labels = recoded(path, labels, minus_one, zero)
    rows, classes = labels.shape
    names = arrays.get("label_names", np.array([f"class_{c}" for c in range(classes)]))
    ids = arrays.get("image_ids", np.arange(rows))
    _expect(path, "label_names", names, kinds="U", shape=(classes,), of="text")
    _expect(path, "image_ids", ids, kinds="Uiu", shape=(rows,), of="text or integers")
    candidates = _observed(path, arrays, "candidates", labels.shape)
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
        observed=_observed(path, arrays, "observed", labels.shape)
        if candidates is None
        else candidates,
        candidates=candidates is not None,
        notes=notes,
    )


# ----------------------------------------------------------------------------- the file


def _read(path: Path, *options: str) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays for the options of `keys`, each decompressed once, and the other keys."""
    names = set(keys(*options))
    need_file(path, "an .npz file of arrays")
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path}: {_format(path)}; write an .npz file with numpy.savez.")
    arrays: dict[str, np.ndarray] = {}
    key, unused = "", []
    try:
        with npy.load(path) as file:
            if "indptr" not in file.files:  # then these belong to no matrix
                names -= set(_ENTRIES) - set(options)
            for key in file.files:
                if key in names:
                    arrays[key] = npy.member(file, key)
                else:
                    unused.append(key)
    except npy.BROKEN_NPZ as error:
        if "allow_pickle" in str(error):
            raise InputError(
                f"{path}: the array {key!r} contains Python objects, which are not read because "
                f"they can run code; save it as numbers or as text (unicode)."
            ) from None
        where = f"the array {key!r}" if key else "the file"
        if isinstance(error, MemoryError):
            raise InputError(f"{path}: there is not enough memory for {where}.") from None
        reason = npy.reason(path, error)
        raise InputError(f"{path}: {where} is damaged and cannot be read ({reason}).") from None
    for key, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise InputError(f"{path}: {key!r} is not an array; write it with numpy.savez.")
    return arrays, unused


def _format(path: Path) -> str:
    """The format of a file other than `.npz`, as a sentence without its full stop."""
    with path.open("rb") as file:
        start = file.read(8)
    if not start:
        return "the file is empty"
    if start.startswith(b"\x93NUMPY"):
        return "this is one array without a name (.npy), not an .npz file"
    if start.startswith(b"PK"):
        return "this .npz file is truncated, because its end is missing"
    return "this is not an .npz file"


def _notes(
    arrays: Collection[str], unused: list[str], labels: str, features: str
) -> tuple[str, ...]:
    """A message about keys that are not read and may be misspelled, or may be the features."""
    hints = []
    for key in unused[:_MOST_COMPARED]:
        near = _nearest(key, [known for known in _KNOWN if known not in arrays])
        is_expected = (near == "Y" and labels) or (near == "X" and features == "none")
        if near and not is_expected and not (near in _SPARSE and "Y" in arrays):
            hints.append(f"unused array {key!r}; did you mean {near!r}?")
    if not hints and features == "X" and "X" not in arrays and unused:
        listed = ", ".join(map(repr, unused[:_MOST_NAMED]))
        more = f" and {len(unused) - _MOST_NAMED} more" if len(unused) > _MOST_NAMED else ""
        hints.append(
            f"unused arrays: {listed}{more}; features are read from 'X', or from KEY with "
            f"-o features=KEY"
        )
    return tuple(hints[:_MOST_NAMED])


def _nearest(key: str, known: Collection[str]) -> str | None:
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(key.lower(), by_lower, 1, cutoff=0.75)
    return by_lower[close[0]] if close else None


def _expect(
    path: Path, key: str, array: np.ndarray, *, kinds: str, shape: tuple[int, ...], of: str
) -> None:
    if array.dtype.kind not in kinds or array.shape != shape:
        raise InputError(
            f"{path}: {key!r} must be {of} of shape {shape} to fit the labels, not {array.dtype} "
            f"of shape {array.shape}."
        )


# ----------------------------------------------------------------------------- labels


def _labels(path: Path, arrays: Mapping[str, np.ndarray]) -> Labels:
    """The true labels."""
    sparse = [key for key in _SPARSE if key in arrays]
    if "Y" in arrays and sparse:
        raise InputError(f"{path}: there are two sets of labels, 'Y' and {sparse[0]!r}; keep one.")
    if "Y" in arrays:
        return read_dense(path, "Y", arrays["Y"])
    if len(sparse) < len(_SPARSE):
        missing = [key for key in _SPARSE if key not in arrays]
        detail = f" ({', '.join(map(repr, missing))} missing)" if sparse else ""
        raise InputError(
            f"{path}: there are no labels{detail}; the file needs 'Y' [N, C], or 'indptr', "
            f"'indices' and 'shape'."
        )
    return read_sparse(path, arrays, read_shape(path, arrays["shape"]))


def _observed(
    path: Path, arrays: Mapping[str, np.ndarray], key: str, shape: tuple[int, ...]
) -> Labels | None:
    """The labels `observed` or `candidates`, if there are any."""
    if key in arrays:
        return read_dense(path, key, arrays[key])
    rows = {
        name: arrays[f"{key}_{name}"] for name in (*_ROWS, *_ENTRIES) if f"{key}_{name}" in arrays
    }
    return read_sparse(path, rows, (shape[0], shape[1])) if rows else None


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
    _expect(path, "split", split, kinds="biu", shape=(rows,), of="0 (train), 1 (test) or 2 (val)")
    wrong = (split != TRAIN) & (split != TEST) & (split != VAL)
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"{path}: 'split' is {split[row]} in row {row}; it must be 0 (train), 1 (test) or 2 "
            f"(val)."
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
