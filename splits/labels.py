"""Label matrices that are stored sparsely, because a dense one of their size does not fit.

A `SparseLabels` keeps, row by row, the entries that differ from one code, its `fill`: 0 where
nearly all is known to be negative, -1 where nearly nothing is known. There is one way to store a
matrix for each fill, so that equal labels are equal arrays.
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
    """A label matrix [N, C] in compressed rows; checked when it is made.

    Row i has the codes `values[indptr[i] : indptr[i + 1]]` at the classes `indices[...]` of the
    same range, and the code `fill` everywhere else.

    Attributes:
        shape: N and C, at least 1 class.
        indptr: int64 [N + 1], from 0 to the number of entries, never falling.
        indices: int32 [entries], rising within each row.
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
            raise InputError(f"Sparse labels are filled up with 0 or -1, not {self.fill}.")
        for what in ("indptr", "indices", "values"):
            array, dtype = getattr(self, what), _DTYPES[what]
            if array.ndim != 1 or array.dtype != dtype:
                raise InputError(
                    f"Sparse labels need {what} as a list of {dtype}, not {array.dtype} of shape "
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
                f"The indptr of sparse labels must rise from 0 to the {entries} entries, and it "
                f"does not."
            )

    def _check_entries(self) -> None:
        if not len(self.indices):
            return
        if self.indices.min() < 0 or self.indices.max() >= self.shape[1]:
            wrong = (self.indices < 0) | (self.indices >= self.shape[1])
            self._refuse(wrong, f"which is none of the {self.shape[1]} classes")
        if self.values.min() < -1 or self.values.max() > 1:
            wrong = (self.values < -1) | (self.values > 1)
            self._refuse(wrong, "with a label other than 1, 0 and -1")
        if (self.values == self.fill).any():
            wrong = self.values == self.fill
            self._refuse(wrong, f"with the label {self.fill}, which goes without saying")
        rising = np.diff(self.indices) > 0
        borders = self.indptr[1:-1]  # where a row begins, the class may fall
        rising[borders[(borders > 0) & (borders < len(self.indices))] - 1] = True
        if not rising.all():
            wrong = np.append(False, ~rising)
            self._refuse(wrong, "twice or out of order")

    def _refuse(self, wrong: np.ndarray, why: str) -> None:
        at = int(wrong.argmax())
        row = int(np.searchsorted(self.indptr, at, side="right")) - 1
        raise InputError(f"Sparse labels name class {self.indices[at]} in row {row} {why}.")

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
            fill: the code of every entry that the list does not name, 0 or -1.

        Returns:
            The labels.

        Raises:
            InputError: lists of different lengths, a row or class outside the matrix, a code that
                is none, or an entry that comes twice.
        """
        rows, columns, values = np.asarray(rows), np.asarray(columns), np.asarray(values)
        if not len(rows) == len(columns) == len(values):
            raise InputError(
                f"A list of labels needs as many rows as classes and codes, not {len(rows)}, "
                f"{len(columns)} and {len(values)}."
            )
        for what, array, end in (("row", rows, shape[0]), ("class", columns, shape[1])):
            wrong = (array < 0) | (array >= end)
            if wrong.any():
                at = int(wrong.argmax())
                raise InputError(f"Label number {at} names {what} {array[at]}; there are {end}.")
        wrong = (values < -1) | (values > 1)
        if wrong.any():
            at = int(wrong.argmax())
            raise InputError(
                f"The label at row {rows[at]}, class {columns[at]} is {values[at]}; a label is 1 "
                f"(positive), 0 (negative) or -1 (unknown)."
            )
        keys = rows.astype(np.int64) * shape[1] + columns
        if not (np.diff(keys) > 0).all():
            order = np.argsort(keys, kind="stable")
            keys, values = keys[order], values[order]
            twice = np.diff(keys) == 0
            if twice.any():
                row, column = divmod(int(keys[twice.argmax()]), shape[1])
                raise InputError(f"The label at row {row}, class {column} comes twice.")
        return cls._from_keys(keys, values.astype(np.int8, copy=False), shape, fill)

    @classmethod
    def from_dense(cls, array: np.ndarray, fill: int) -> SparseLabels:
        """The same labels as a dense matrix, int8 [N, C]; every entry but `fill` is kept."""
        keys = np.flatnonzero(array != fill)
        values = array.reshape(-1)[keys].astype(np.int8, copy=False)
        return cls._from_keys(keys, values, (array.shape[0], array.shape[1]), fill)

    @classmethod
    def _from_keys(
        cls, keys: np.ndarray, values: np.ndarray, shape: tuple[int, int], fill: int
    ) -> SparseLabels:
        """From places `row * C + class`, rising."""
        said = values != fill
        if not said.all():
            keys, values = keys[said], values[said]
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

    def rows(self, chosen: np.ndarray) -> SparseLabels:
        """The labels of some rows, in the order asked for.

        Args:
            chosen: row numbers, integers [n], any order; or bool [N].

        Returns:
            Labels of shape [n, C].
        """
        chosen = np.asarray(chosen)
        if chosen.dtype == bool:
            chosen = np.flatnonzero(chosen)
        chosen = chosen.astype(np.int64, copy=False)
        begin = self.indptr[chosen]
        sizes = self.indptr[chosen + 1] - begin
        indptr = np.append(np.int64(0), np.cumsum(sizes))
        # The entries of row k of the result are begin[k], begin[k] + 1, ...
        places = np.arange(indptr[-1]) + np.repeat(begin - indptr[:-1], sizes)
        shape = (len(chosen), self.shape[1])
        return SparseLabels(shape, indptr, self.indices[places], self.values[places], self.fill)

    def columns(self, chosen: np.ndarray) -> SparseLabels:
        """The labels of some classes, in the order asked for.

        Args:
            chosen: different column numbers, integers [k], k >= 1.

        Returns:
            Labels of shape [N, k].
        """
        if np.array_equal(chosen, np.arange(self.shape[1])):
            return self
        place = np.full(self.shape[1], -1, np.int32)
        place[chosen] = np.arange(len(chosen), dtype=np.int32)
        kept = place[self.indices] >= 0
        rows, columns = self.row_numbers()[kept], place[self.indices[kept]]
        shape = (self.shape[0], len(chosen))
        return self.from_triplets(rows, columns, self.values[kept], shape, self.fill)

    def counts(self, code: int) -> np.ndarray:
        """How many images have a code, for each class: int64 [C]. Entries not stored count too."""
        if code != self.fill:
            return self._stored(self.values == code)
        return self.shape[0] - self._stored(slice(None))

    @classmethod
    def stacked(cls, pieces: Sequence[SparseLabels]) -> SparseLabels:
        """The rows of several matrices below one another; same classes, same fill."""
        first = pieces[0]
        starts = np.cumsum([0, *(len(piece.indices) for piece in pieces)])
        indptr = [piece.indptr[1:] + at for piece, at in zip(pieces, starts, strict=False)]
        return cls(
            (sum(map(len, pieces)), first.shape[1]),
            np.concatenate([np.zeros(1, np.int64), *indptr]),
            np.concatenate([piece.indices for piece in pieces]),
            np.concatenate([piece.values for piece in pieces]),
            first.fill,
        )

    def _stored(self, which: np.ndarray | slice) -> np.ndarray:
        found = np.bincount(self.indices[which], minlength=self.shape[1])
        return found.astype(np.int64, copy=False)

    def arrays(self) -> dict[str, np.ndarray]:
        """What a file has to keep of them, besides their shape, for `from_arrays`."""
        fill = np.array([self.fill], np.int8)
        return {"indptr": self.indptr, "indices": self.indices, "values": self.values, "fill": fill}

    @classmethod
    def from_arrays(cls, shape: tuple[int, int], arrays: Mapping[str, np.ndarray]) -> SparseLabels:
        """The labels that `arrays` came from; other entries of the mapping do not matter."""
        fill = int(arrays["fill"][0])
        return cls(shape, arrays["indptr"], arrays["indices"], arrays["values"], fill)

    @property
    def nbytes(self) -> int:
        """The size of the three arrays in bytes."""
        return self.indptr.nbytes + self.indices.nbytes + self.values.nbytes


Labels = np.ndarray | SparseLabels
"""A label matrix, int8 [N, C], dense or sparse."""

_BLOCK = 1 << 18  # stored labels that are looked at together

_DTYPES = {"indptr": np.dtype("i8"), "indices": np.dtype("i4"), "values": np.dtype("i1")}


def take(labels: Labels, chosen: np.ndarray) -> Labels:
    """Some rows of a label matrix, stored as it is; `chosen` as in `SparseLabels.rows`."""
    return labels.rows(chosen) if isinstance(labels, SparseLabels) else labels[chosen]


def dense(labels: Labels) -> np.ndarray:
    """A label matrix as an array: itself, or what `to_dense` gives."""
    return labels.to_dense() if isinstance(labels, SparseLabels) else labels


def counts(labels: Labels, code: int) -> np.ndarray:
    """How many images have a code, for each class: int64 [C]."""
    if isinstance(labels, SparseLabels):
        return labels.counts(code)
    return np.count_nonzero(labels == code, axis=0).astype(np.int64)


def positives(labels: Labels) -> sparse.csr_array:
    """Where a label matrix is positive, as SciPy's compressed rows of ones, int64 [N, C]."""
    return _where(labels, 1)


def _where(labels: Labels, code: int) -> sparse.csr_array:
    """Where a matrix has a code other than its fill, as rows of ones."""
    if not isinstance(labels, SparseLabels):
        return sparse.csr_array(labels == code).astype(np.int64)
    kept = labels.values == code
    indptr = np.append(0, np.cumsum(kept))[labels.indptr]
    ones = np.ones(int(indptr[-1]), np.int64)
    return sparse.csr_array((ones, labels.indices[kept], indptr), shape=labels.shape)


def count_both(true: Labels, observed: Labels, code: int) -> np.ndarray:
    """How many images have a code in one matrix and are positive in another: int64 [C].

    Args:
        true: where the code is looked for, [N, C].
        observed: where positives are looked for, [N, C].
        code: 1, 0 or -1.

    Returns:
        A count for each class.
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
    """Where at least one of two sparse matrices stores a label, and what both say there.

    What neither stores is the fill of each, everywhere else; the work grows with the labels that
    are stored, not with the size of the matrix.

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
        first, second = _places(one, start, stop), _places(two, start, stop)
        # Two rising lists: a stable sort merges them in one pass.
        order = np.argsort(np.concatenate([first, second]), kind="stable")
        of_one = order < len(first)
        merged = np.concatenate([first, second])[order]
        new = np.append(True, merged[1:] != merged[:-1])[: len(merged)]
        group = np.cumsum(new) - 1
        places = merged[new]
        codes = np.full((2, len(places)), [[one.fill], [two.fill]], np.int8)
        codes[0, group[of_one]] = one.values[one.indptr[start] : one.indptr[stop]]
        codes[1, group[~of_one]] = two.values[two.indptr[start] : two.indptr[stop]]
        rows, columns = np.divmod(places, one.shape[1])
        yield rows + start, columns, codes[0], codes[1]


def _places(labels: SparseLabels, start: int, stop: int) -> np.ndarray:
    """`row * C + class` of the stored labels of some rows, counted from the first of them."""
    sizes = np.diff(labels.indptr[start : stop + 1])
    starts = np.arange(stop - start) * labels.shape[1]
    return np.repeat(starts, sizes) + labels.indices[labels.indptr[start] : labels.indptr[stop]]
