"""What every source gives: names, ids, a label matrix, and where the images or features are."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from splits.errors import InputError
from splits.labels import Labels, SparseLabels

_ROWS_PER_CHECK = 4096


@dataclass(frozen=True, eq=False)
class Source:
    """One data set as it comes, before any selection; checked when it is made.

    Attributes:
        name: what the data set is called.
        class_names: C different names.
        image_ids: unicode [N], different over the whole set; random numbers are keyed by them.
        labels: int8 [N, C], codes 1, 0, -1; an array, or sparse where that would not fit.
        part: uint8 [N], 0 train and 1 test, or None where the source has no split of its own.
        paths: unicode [N], image files relative to their root, or None.
        roots: the folders of the images: one per part (train, test), or a single one, or none.
        features: float32 [N, V, D], V views of D numbers, or None.
        digests: the SHA-256 of each file read, hexadecimal, by file name.
        path: what was read, for sentences; None where nothing was.
    """

    name: str
    class_names: tuple[str, ...]
    image_ids: np.ndarray
    labels: Labels
    part: np.ndarray | None
    paths: np.ndarray | None
    roots: tuple[Path, ...]
    features: np.ndarray | None
    digests: dict[str, str]
    path: Path | None = None

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Check that the arrays fit one another and hold what they should.

        Raises:
            InputError: wrong shapes or types, a label that is no code, an image id or class name
                that is empty or comes twice, features that are not finite, an empty set.
        """
        self._check_shapes()
        _check_names(self._where, "class name", self.class_names)
        _check_names(self._where, "image id", self.image_ids)
        if self.paths is not None:
            _check_text(self._where, "path", self.paths)
        self._check_codes()
        if self.features is not None:
            self._check_finite(self.features)

    @property
    def _where(self) -> str:
        return self.name if self.path is None else str(self.path)

    def _check_shapes(self) -> None:
        if not isinstance(self.labels, SparseLabels) and (
            self.labels.ndim != 2 or self.labels.dtype != np.int8
        ):
            raise InputError(
                f"{self._where}: labels must be an int8 matrix [N, C], not {self.labels.dtype} of "
                f"shape {self.labels.shape}."
            )
        rows, classes = self.labels.shape
        if not rows or not classes:
            raise InputError(
                f"{self._where}: the set is empty ({rows} images, {classes} classes); at least one "
                f"of each is needed."
            )
        if len(self.class_names) != classes:
            raise InputError(
                f"{self._where}: {len(self.class_names)} class names for {classes} columns of "
                f"labels."
            )
        columns = (
            ("image ids", self.image_ids, "U", 1),
            ("part", self.part, "u1", 1),
            ("paths", self.paths, "U", 1),
            ("features", self.features, "f4", 3),
        )
        for what, array, dtype, dimensions in columns:
            if array is None:
                continue
            typed = array.dtype.str[1:].startswith(dtype)
            if array.ndim != dimensions or len(array) != rows or not typed:
                raise InputError(
                    f"{self._where}: {what} must have type {dtype}, {dimensions} dimension(s) and "
                    f"{rows} rows like the labels, not {array.dtype} of shape {array.shape}."
                )
        if len(self.roots) > (1 if self.part is None else 2):
            raise InputError(
                f"{self._where}: {len(self.roots)} image folders; give one, or one per part of a "
                f"set that has parts."
            )

    def _check_codes(self) -> None:
        dense = None if isinstance(self.labels, SparseLabels) else self.labels
        if dense is not None and (dense.min() < -1 or dense.max() > 1):
            wrong = (dense < -1) | (dense > 1)
            row, column = np.unravel_index(int(wrong.argmax()), wrong.shape)
            raise InputError(
                f"{self._where}: the label of image {self.image_ids[row]!s} (row {row}) for class "
                f"{self.class_names[column]!r} is {dense[row, column]}; a label is 1 "
                f"(positive), 0 (negative) or -1 (unknown)."
            )
        if self.part is not None and (self.part > 1).any():
            first = int((self.part > 1).argmax())
            raise InputError(
                f"{self._where}: the part of image {self.image_ids[first]!s} (row {first}) is "
                f"{self.part[first]}; it is 0 (train) or 1 (test)."
            )

    def _check_finite(self, features: np.ndarray) -> None:
        if 0 in features.shape:
            raise InputError(
                f"{self._where}: features of shape {features.shape} hold no number; at least one "
                f"view of one number is needed."
            )
        for start in range(0, len(features), _ROWS_PER_CHECK):
            finite = np.isfinite(features[start : start + _ROWS_PER_CHECK]).all(axis=(1, 2))
            if not finite.all():
                row = start + int(finite.argmin())
                raise InputError(
                    f"{self._where}: the features of image {self.image_ids[row]!s} (row {row}) "
                    f"hold a number that is NaN, infinite or too large for float32."
                )


def digest_file(path: Path) -> str:
    """The SHA-256 of a file, read in pieces.

    Args:
        path: an existing file.

    Returns:
        64 hexadecimal digits.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_names(source: str, what: str, names: Sequence[str] | np.ndarray) -> None:
    _check_text(source, what, names)
    first: dict[str, int] = {}
    for position, name in enumerate(map(str, names)):
        if not name.strip():
            raise InputError(f"{source}: {what} number {position} is empty.")
        if name in first:
            raise InputError(
                f"{source}: {what} {name!r} comes twice, at positions {first[name]} and "
                f"{position}; each must be there once."
            )
        first[name] = position


def _check_text(source: str, what: str, names: Sequence[str] | np.ndarray) -> None:
    for name in map(str, names):
        try:
            name.encode()
        except UnicodeEncodeError:
            raise InputError(f"{source}: {what} {name!r} is not valid Unicode text.") from None
