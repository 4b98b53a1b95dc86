"""Sparse label matrices, for data sets whose dense matrix does not fit into memory.

A `SparseLabels` stores, row by row, the entries that differ from one code, its `fill`: 0 if most
labels are known negatives, -1 if most are unknown. The representation is unique for each fill, so
equal labels have equal arrays.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from splits.errors import InputError


@dataclass(frozen=True, eq=False)
class SparseLabels:
    """A label matrix [N, C] in compressed rows; checked on creation.

    Row i has the codes `values[indptr[i] : indptr[i + 1]]` at the classes `indices[...]` of the
    same range, and the code `fill` everywhere else.

    Attributes:
        shape: N and C, at least 1 class.
        indptr: int64 [N + 1], from 0 to the number of entries, not decreasing.
        indices: int32 [entries], increasing within each row.
        values: int8 [entries], codes 1, 0, -1, none equal to `fill`.
        fill: 0 or -1.
    """

    shape: tuple[int, int]
    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    fill: int

    def __post_init__(self) -> None:
        if len(self.shape) != 2 or self.shape[0] < 0 or self.shape[1] < 1:
            raise InputError(f"Sparse labels need a shape [N, C], C >= 1, not {self.shape}.")
        if self.fill not in (0, -1):
            raise InputError(f"The fill of sparse labels must be 0 or -1, not {self.fill}.")
        for name in ("indptr", "indices", "values"):
            array, dtype = getattr(self, name), _DTYPES[name]
            if array.ndim != 1 or array.dtype != dtype:
                raise InputError(
                    f"Sparse labels need {name} as a list of {dtype}, not {array.dtype} of shape "
                    f"{array.shape}."
                )
        self._check_rows()
        self._check_entries()

    def _check_rows(self) -> None:
        rows, entries = self.shape[0], len(self.indices)
        if len(self.indptr) != rows + 1 or len(self.values) != entries:
            raise InputError(
                f"Sparse labels of {rows} images need {rows + 1} entries of indptr and as many "
                f"values as indices, not {len(self.indptr)}, {len(self.values)} and {entries}."
            )
        if self.indptr[0] != 0 or self.indptr[-1] != entries or (np.diff(self.indptr) < 0).any():
            raise InputError(
                f"The indptr of sparse labels must increase from 0 to the number of entries, "
                f"{entries}."
            )

    def _check_entries(self) -> None:
        if not len(self.indices):
            return
        if self.indices.min() < 0 or self.indices.max() >= self.shape[1]:
            wrong = (self.indices < 0) | (self.indices >= self.shape[1])
            self._refuse(wrong, f"which is not one of the {self.shape[1]} classes")
        if self.values.min() < -1 or self.values.max() > 1:
            wrong = (self.values < -1) | (self.values > 1)
            self._refuse(wrong, "with a label other than 1, 0 and -1")
        if (self.values == self.fill).any():
            wrong = self.values == self.fill
            self._refuse(
                wrong, f"with the fill value {self.fill}, which must not be stored explicitly"
            )
        increasing = np.diff(self.indices) > 0
        borders = self.indptr[1:-1]  # at the start of a row the class may decrease
        increasing[borders[(borders > 0) & (borders < len(self.indices))] - 1] = True
        if not increasing.all():
            wrong = np.append(False, ~increasing)
            self._refuse(wrong, "twice or out of order")

    def _refuse(self, wrong: np.ndarray, why: str) -> None:
        entry = int(wrong.argmax())
        row = int(np.searchsorted(self.indptr, entry, side="right")) - 1
        raise InputError(f"Sparse labels name class {self.indices[entry]} in row {row} {why}.")

    def __len__(self) -> int:
        return self.shape[0]

    @classmethod
    def from_triplets(
        cls,
        rows: np.ndarray,
        columns: np.ndarray,
        values: np.ndarray,
        shape: tuple[int, int],
        fill: int,
    ) -> SparseLabels:
        """Labels from a list of (row, class, code) in any order.

        Args:
            rows: integers [entries] in 0 .. N-1.
            columns: integers [entries] in 0 .. C-1.
            values: codes 1, 0, -1 [entries]; entries equal to `fill` are left out.
            shape: N and C.
            fill: the code of all other entries, 0 or -1.

        Returns:
            The labels.

        Raises:
            InputError: lists of different lengths, a row or class outside the matrix, an invalid
                code, or a repeated entry.
        """
        rows, columns, values = np.asarray(rows), np.asarray(columns), np.asarray(values)
        if not len(rows) == len(columns) == len(values):
            raise InputError(
                f"The rows, classes and codes of labels must have the same length, not "
                f"{len(rows)}, {len(columns)} and {len(values)}."
            )
        for noun, array, end in (("row", rows, shape[0]), ("class", columns, shape[1])):
            wrong = (array < 0) | (array >= end)
            if wrong.any():
                entry = int(wrong.argmax())
                raise InputError(
                    f"Label number {entry} names {noun} {array[entry]}; there are {end}."
                )
        wrong = (values < -1) | (values > 1)
        if wrong.any():
            entry = int(wrong.argmax())
            raise InputError(
                f"The label at row {rows[entry]}, class {columns[entry]} is {values[entry]}; a "
                f"label must be 1 (positive), 0 (negative) or -1 (unknown)."
            )
        keys = rows.astype(np.int64) * shape[1] + columns
        if not (np.diff(keys) > 0).all():
            order = np.argsort(keys, kind="stable")
            keys, values = keys[order], values[order]
            repeated = np.diff(keys) == 0
            if repeated.any():
                row, column = divmod(int(keys[repeated.argmax()]), shape[1])
                raise InputError(f"The label at row {row}, class {column} occurs twice.")
        return cls._from_keys(keys, values.astype(np.int8, copy=False), shape, fill)

    @classmethod
    def from_dense(cls, array: np.ndarray, fill: int) -> SparseLabels:
        """The labels of a dense matrix, int8 [N, C]; entries equal to `fill` are not stored."""
        keys = np.flatnonzero(array != fill)
        values = array.reshape(-1)[keys].astype(np.int8, copy=False)
        return cls._from_keys(keys, values, (array.shape[0], array.shape[1]), fill)

    @classmethod
    def _from_keys(
        cls, keys: np.ndarray, values: np.ndarray, shape: tuple[int, int], fill: int
    ) -> SparseLabels:
        """From increasing keys `row * C + class`."""
        stored = values != fill
        if not stored.all():
            keys, values = keys[stored], values[stored]
        starts = np.arange(shape[0] + 1, dtype=np.int64) * shape[1]
        indptr = np.searchsorted(keys, starts).astype(np.int64)
        return cls(shape, indptr, (keys % shape[1]).astype(np.int32), values, fill)

    def to_dense(self) -> np.ndarray:
        """The same labels as an array, int8 [N, C]."""
        dense = np.full(self.shape, self.fill, np.int8)
        dense[self.row_numbers(), self.indices] = self.values
        return dense

    def row_numbers(self) -> np.ndarray:
        """The row of each entry, int64 [entries]."""
        return np.repeat(np.arange(self.shape[0]), np.diff(self.indptr))

    def rows(self, selected: np.ndarray) -> SparseLabels:
        """The labels of some rows, in the given order.

        Args:
            selected: row numbers, integers [n], any order; or bool [N].

        Returns:
            Labels of shape [n, C].
        """
        selected = np.asarray(selected)
        if selected.dtype == bool:
            selected = np.flatnonzero(selected)
        selected = selected.astype(np.int64, copy=False)
        begin = self.indptr[selected]
        sizes = self.indptr[selected + 1] - begin
        indptr = np.append(np.int64(0), np.cumsum(sizes))
        # The entries of row k of the result are begin[k], begin[k] + 1, ...
        entries = np.arange(indptr[-1]) + np.repeat(begin - indptr[:-1], sizes)
        shape = (len(selected), self.shape[1])
        return SparseLabels(shape, indptr, self.indices[entries], self.values[entries], self.fill)

    def columns(self, selected: np.ndarray) -> SparseLabels:
        """The labels of some classes, in the given order.

        Args:
            selected: unique column numbers, integers [k], k >= 1.

        Returns:
            Labels of shape [N, k].
        """
        if np.array_equal(selected, np.arange(self.shape[1])):
            return self
        new_column = np.full(self.shape[1], -1, np.int32)
        new_column[selected] = np.arange(len(selected), dtype=np.int32)
        kept = new_column[self.indices] >= 0
        rows, columns = self.row_numbers()[kept], new_column[self.indices[kept]]
        shape = (self.shape[0], len(selected))
        return self.from_triplets(rows, columns, self.values[kept], shape, self.fill)

    def counts(self, code: int) -> np.ndarray:
        """The number of images with a code, per class: int64 [C]; implicit entries included."""
        if code != self.fill:
            return self._stored(self.values == code)
        return self.shape[0] - self._stored(slice(None))

    @classmethod
    def stacked(cls, pieces: Sequence[SparseLabels]) -> SparseLabels:
        """The rows of several matrices with the same classes and fill, one after the other."""
        first = pieces[0]
        starts = np.cumsum([0, *(len(piece.indices) for piece in pieces)])
        indptr = [piece.indptr[1:] + start for piece, start in zip(pieces, starts, strict=False)]
        return cls(
            (sum(map(len, pieces)), first.shape[1]),
            np.concatenate([np.zeros(1, np.int64), *indptr]),
            np.concatenate([piece.indices for piece in pieces]),
            np.concatenate([piece.values for piece in pieces]),
            first.fill,
        )

    def _stored(self, entries: np.ndarray | slice) -> np.ndarray:
        counts = np.bincount(self.indices[entries], minlength=self.shape[1])
        return counts.astype(np.int64, copy=False)

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays that, with the shape, define the labels; `from_arrays` reads them."""
        fill = np.array([self.fill], np.int8)
        return {"indptr": self.indptr, "indices": self.indices, "values": self.values, "fill": fill}

    @classmethod
    def from_arrays(cls, shape: tuple[int, int], arrays: Mapping[str, np.ndarray]) -> SparseLabels:
        """The labels of `arrays()`; other entries of the mapping are ignored."""
        fill = int(arrays["fill"][0])
        return cls(shape, arrays["indptr"], arrays["indices"], arrays["values"], fill)

    @property
    def nbytes(self) -> int:
        """The size of the three arrays in bytes."""
        return self.indptr.nbytes + self.indices.nbytes + self.values.nbytes


Labels = np.ndarray | SparseLabels
"""A label matrix, int8 [N, C], dense or sparse."""

_BLOCK = 1 << 18  # stored labels per block
_COUNTED_ROWS = 1 << 12  # rows counted at a time, in uint16 because that is twice as fast

_DTYPES = {"indptr": np.dtype("i8"), "indices": np.dtype("i4"), "values": np.dtype("i1")}


def take(labels: Labels, selected: np.ndarray) -> Labels:
    """Some rows of a label matrix, dense or sparse as it is; see `SparseLabels.rows`."""
    return labels.rows(selected) if isinstance(labels, SparseLabels) else labels[selected]


def dense(labels: Labels) -> np.ndarray:
    """A label matrix as an array; an array is returned unchanged."""
    return labels.to_dense() if isinstance(labels, SparseLabels) else labels


def counts(labels: Labels, code: int) -> np.ndarray:
    """The number of images with a code, per class: int64 [C]."""
    if isinstance(labels, SparseLabels):
        return labels.counts(code)
    total = np.zeros(labels.shape[1], np.int64)
    for start in range(0, len(labels), _COUNTED_ROWS):
        matches = labels[start : start + _COUNTED_ROWS] == code
        total += np.add.reduce(matches.view(np.uint8), axis=0, dtype=np.uint16)
    return total


def positives(labels: Labels) -> sparse.csr_array:
    """The indicator of the positive labels, as a SciPy matrix of ones, int64 [N, C]."""
    return _where(labels, 1)


def _where(labels: Labels, code: int) -> sparse.csr_array:
    """The indicator of a code other than the fill."""
    if not isinstance(labels, SparseLabels):
        return sparse.csr_array(labels == code).astype(np.int64)
    kept = labels.values == code
    indptr = np.append(0, np.cumsum(kept))[labels.indptr]
    ones = np.ones(int(indptr[-1]), np.int64)
    return sparse.csr_array((ones, labels.indices[kept], indptr), shape=labels.shape)


def count_both(true: Labels, observed: Labels, code: int) -> np.ndarray:
    """The number of images with a code in one matrix and a positive in another, per class.

    Args:
        true: the matrix with the code, [N, C].
        observed: the matrix with the positives, [N, C].
        code: 1, 0 or -1.

    Returns:
        int64 [C].
    """
    if not isinstance(true, SparseLabels) and not isinstance(observed, SparseLabels):
        return np.count_nonzero((true == code) & (observed == 1), axis=0).astype(np.int64)
    shown = positives(observed)
    if isinstance(true, SparseLabels) and true.fill == code:
        other = sum(count_both(true, observed, known) for known in {1, 0, -1} - {code})
        return counts(observed, 1) - other
    both = _where(true, code).multiply(shown).tocsr()
    return np.bincount(both.indices, minlength=shown.shape[1]).astype(np.int64, copy=False)


def pairs(
    one: SparseLabels, two: SparseLabels
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """The entries that at least one of two sparse matrices stores, with the codes of both.

    All other entries have the fill of each matrix. The work grows with the number of stored labels,
    not with the size of the matrix.

    Args:
        one: labels of shape [N, C].
        two: labels of the same shape.

    Yields:
        For blocks of whole rows: row numbers, ascending, columns, and the codes in both, each [n].
    """
    stored = one.indptr + two.indptr
    ends = np.searchsorted(stored, np.arange(_BLOCK, stored[-1], _BLOCK))
    borders = np.unique(np.concatenate([[0], ends, [len(one)]])).tolist()
    for start, stop in itertools.pairwise(borders):
        first, second = _keys(one, start, stop), _keys(two, start, stop)
        # Both lists are sorted, so a stable sort merges them in one pass.
        order = np.argsort(np.concatenate([first, second]), kind="stable")
        of_one = order < len(first)
        merged = np.concatenate([first, second])[order]
        new = np.append(True, merged[1:] != merged[:-1])[: len(merged)]
        group = np.cumsum(new) - 1
        keys = merged[new]
        codes = np.full((2, len(keys)), [[one.fill], [two.fill]], np.int8)
        codes[0, group[of_one]] = one.values[one.indptr[start] : one.indptr[stop]]
        codes[1, group[~of_one]] = two.values[two.indptr[start] : two.indptr[stop]]
        rows, columns = np.divmod(keys, one.shape[1])
        yield rows + start, columns, codes[0], codes[1]


def _keys(labels: SparseLabels, start: int, stop: int) -> np.ndarray:
    """`(row - start) * C + class` of the stored labels of the rows from `start` to `stop`."""
    sizes = np.diff(labels.indptr[start : stop + 1])
    starts = np.arange(stop - start) * labels.shape[1]
    return np.repeat(starts, sizes) + labels.indices[labels.indptr[start] : labels.indptr[stop]]
