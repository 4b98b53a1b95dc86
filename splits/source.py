"""The result of every source: names, ids, a label matrix, and paths of images or features."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from splits import own_labels
from splits.errors import InputError
from splits.labels import Labels, SparseLabels

TRAIN, TEST, VAL = 0, 1, 2
"""The codes of the parts in `Source.part`."""

_ROWS_PER_CHECK = 4096


@dataclass(frozen=True, eq=False)
class Source:
    """One data set before any selection; checked on creation.

    Attributes:
        name: the name of the data set.
        class_names: C unique names.
        image_ids: unicode [N], unique; random numbers are keyed by them.
        labels: int8 [N, C], codes 1, 0, -1; an array, or sparse if an array would be too large.
        part: uint8 [N], 0 train, 1 test and 2 val, or None if the source has no test part.
        paths: unicode [N], image files relative to their root, or None.
        roots: the folders of the images: one per part (train, test), a single one, or none.
        features: float32 [N, V, D], V views of D numbers, or None.
        digests: file name -> hexadecimal SHA-256, for each file that was read.
        path: the file or folder that was read, for messages; None if there is none.
        observed: the source's own observed labels, [N, C], codes 1, 0, -1, dense or sparse, for
            the images outside the test part; None if a regime decides what is observed.
        candidates: whether the positives of `observed` are candidates.
        notes: messages for the user about the files.
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
    observed: Labels | None = None
    candidates: bool = False
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Check the shapes and the contents of the arrays.

        Raises:
            InputError: wrong shapes or types, an invalid label code, an empty or repeated image id
                or class name, features that are not finite, an empty set.
        """
        self._check_shapes()
        _check_names(self._where, "class name", self.class_names)
        _check_names(self._where, "image id", self.image_ids)
        if self.paths is not None:
            _check_text(self._where, "path", self.paths)
        self._check_codes()
        self._check_observed()
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
        for name, array, dtype, dimensions in columns:
            if array is None:
                continue
            has_type = array.dtype.str[1:].startswith(dtype)
            if array.ndim != dimensions or len(array) != rows or not has_type:
                raise InputError(
                    f"{self._where}: {name} must have type {dtype}, {dimensions} dimension(s) and "
                    f"{rows} rows like the labels, not {array.dtype} of shape {array.shape}."
                )
        if len(self.roots) > (1 if self.part is None else 2):
            raise InputError(
                f"{self._where}: there are {len(self.roots)} image folders; there must be one, or "
                f"one per part."
            )

    def _check_codes(self) -> None:
        dense = None if isinstance(self.labels, SparseLabels) else self.labels
        if dense is not None and (dense.min() < -1 or dense.max() > 1):
            wrong = (dense < -1) | (dense > 1)
            row, column = np.unravel_index(int(wrong.argmax()), wrong.shape)
            raise InputError(
                f"{self._where}: the label of image {self.image_ids[row]!s} (row {row}) for class "
                f"{self.class_names[column]!r} is {dense[row, column]}; a label must be 1 "
                f"(positive), 0 (negative) or -1 (unknown)."
            )
        if self.part is not None and (self.part > VAL).any():
            first = int((self.part > VAL).argmax())
            raise InputError(
                f"{self._where}: the part of image {self.image_ids[first]!s} (row {first}) is "
                f"{self.part[first]}; it must be 0 (train), 1 (test) or 2 (val)."
            )

    def _check_observed(self) -> None:
        """Compare the observed labels outside the test part with the true ones."""
        if self.observed is None:
            return
        if self.observed.shape != self.labels.shape:
            raise InputError(
                f"{self._where}: the observed labels have shape {self.observed.shape}; they must "
                f"have the shape of the true labels, {self.labels.shape}."
            )
        rows = np.arange(len(self.image_ids))
        if self.part is not None:
            rows = rows[self.part != TEST]
        conflict = own_labels.first_conflict(self.labels, self.observed, rows, self.candidates)
        if conflict is not None:
            row, column, reason = conflict
            raise InputError(
                f"{self._where}: image {self.image_ids[row]!s} (row {row}), class "
                f"{self.class_names[column]!r}: {reason}."
            )

    def _check_finite(self, features: np.ndarray) -> None:
        if 0 in features.shape:
            raise InputError(
                f"{self._where}: features of shape {features.shape} are empty; at least one view "
                f"of one number is needed."
            )
        for start in range(0, len(features), _ROWS_PER_CHECK):
            finite = np.isfinite(features[start : start + _ROWS_PER_CHECK]).all(axis=(1, 2))
            if not finite.all():
                row = start + int(finite.argmin())
                raise InputError(
                    f"{self._where}: the features of image {self.image_ids[row]!s} (row {row}) "
                    f"contain a number that is NaN, infinite or too large for float32."
                )


def digest_file(path: Path) -> str:
    """The SHA-256 of a file, which is read in pieces.

    Args:
        path: an existing file.

    Returns:
        64 hexadecimal digits.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_names(source: str, noun: str, names: Sequence[str] | np.ndarray) -> None:
    _check_text(source, noun, names)
    positions: dict[str, int] = {}
    for position, name in enumerate(map(str, names)):
        if not name.strip():
            raise InputError(f"{source}: {noun} number {position} is empty.")
        if name in positions:
            raise InputError(
                f"{source}: {noun} {name!r} occurs twice, at positions {positions[name]} and "
                f"{position}; it must be unique."
            )
        positions[name] = position


def _check_text(source: str, noun: str, names: Sequence[str] | np.ndarray) -> None:
    for name in map(str, names):
        try:
            name.encode()
        except UnicodeEncodeError:
            raise InputError(f"{source}: {noun} {name!r} is not valid Unicode text.") from None
