"""Rules that select labels of images, and their application to dense and sparse matrices.

The rules themselves are the table `splits.regimes.RULES`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from splits.labels import Labels, SparseLabels
from splits.numbers import Uniform, round_half_up
from splits.variants import LabelRates

UNKNOWN = -1
_BLOCK = 1 << 18  # entries per block: its temporaries stay in the processor's cache


@dataclass(frozen=True)
class Level:
    """The level of a regime: its symbol, its meaning and its range.

    Attributes:
        symbol: R, Q or RHO.
        meaning: for messages.
        excluded: the end of [0, 1] that is not allowed, 0 or 1.
    """

    symbol: str
    meaning: str
    excluded: int

    def __contains__(self, level: float) -> bool:
        return 0 <= level <= 1 and level != self.excluded

    def __str__(self) -> str:
        interval = "(0, 1]" if self.excluded == 0 else "[0, 1)"
        return f"{self.symbol} in {interval}, {self.meaning}"


@dataclass(frozen=True, eq=False)
class Pool:
    """The labels that a rule decides about: all those of some images. Arrays have shape [n].

    Attributes:
        u: the uniform number of each label.
        rate: the level, or the rate of each label.
        rank: the rank of each label in its image, by ascending u (or u / w_c): 0, 1, ...
        size: the number of labels of its image in the pool.
        share: round(level * size), halves upwards.
    """

    u: np.ndarray
    rate: float | np.ndarray
    rank: np.ndarray
    size: np.ndarray
    share: np.ndarray


Selection = Callable[[Pool], np.ndarray]


@dataclass(frozen=True)
class Rule:
    """A regime: the labels it decides about, the selection, and the codes of all labels after it.

    Attributes:
        level: its level, or None for a regime without one.
        codes: the label codes that it decides about.
        select: way of counting -> selection, bool [n]; the first is the one of the papers.
        selected_become: the code of the selected labels; None leaves them as they are.
        others_become: the code of all other labels; None leaves them as they are.
        variants: the non-standard variants that apply.
    """

    level: Level | None = None
    codes: tuple[int, ...] = ()
    select: Mapping[str, Selection] = field(default_factory=dict)
    selected_become: int | None = None
    others_become: int | None = UNKNOWN
    variants: tuple[str, ...] = ()

    @property
    def standard_counts(self) -> str | None:
        """The way of counting in the papers; None for a rule without a selection."""
        return next(iter(self.select), None)

    def selection(self, counts: str | None) -> Selection:
        """The selection for a way of counting, by default that of the papers."""
        return self.select[counts or next(iter(self.select))]

    def decides_about(self, labels: np.ndarray) -> np.ndarray:
        """Which labels are in the pool."""
        return labels != UNKNOWN if self.codes == (1, 0) else labels == self.codes[0]


def below_rate(pool: Pool) -> np.ndarray:
    """The labels with u < rate."""
    return pool.u < pool.rate


def smallest_share(pool: Pool) -> np.ndarray:
    """The share of each image's labels that has the smallest u."""
    return pool.rank < pool.share


@dataclass(frozen=True, eq=False)
class Decision:
    """A rule with the numbers that it decides with."""

    rule: Rule
    selection: Selection
    rates: LabelRates
    uniform: Uniform

    @property
    def is_elementwise(self) -> bool:
        """Whether each label is decided independently of the other labels of its image."""
        return self.selection is below_rate

    def selects(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Which labels of the pool are selected.

        Args:
            rows: row numbers of the labels; ascending [n] with all labels of each row, or, if the
                rule is elementwise, of any shape.
            columns: their columns.

        Returns:
            bool, in the common shape of `rows` and `columns`.
        """
        u = self.uniform(rows, columns)
        rate = self.rates.at(rows, columns)
        if self.is_elementwise or not len(rows):
            return u < rate
        rows = rows - int(rows[0])
        count = np.bincount(rows)
        shares = [round_half_up(self.rates.level, size) for size in range(int(count.max()) + 1)]
        size = count[rows]
        rank = _ranks(rows, count, self.rates.sort_keys(u, columns))
        return self.selection(Pool(u, rate, rank, size, np.array(shares)[size]))


def _ranks(rows: np.ndarray, count: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """The rank of each label among those of its row, by ascending key: 0, 1, ...

    Args:
        rows: ascending row numbers [n].
        count: the number of labels of each row, [rows].
        keys: float64 [n]; equal keys of a row keep their order.

    Returns:
        int64 [n].
    """
    first = np.cumsum(count) - count
    width = int(count.max())
    if len(count) * width > 2 * len(rows):  # rows of very different lengths
        order = np.lexsort((keys, rows))
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order)) - np.repeat(first, count)
        return rank
    # Sorting the short rows of a matrix is several times faster than sorting one long list.
    column = np.arange(len(rows)) - first[rows]
    table = np.full((len(count), width), np.inf)
    table[rows, column] = keys
    order = np.argsort(table, axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(width)[None, :], axis=1)
    return rank[rows, column]


def apply_dense(decision: Decision, labels: np.ndarray) -> np.ndarray:
    """Apply a rule to a dense matrix, in place.

    Args:
        decision: the rule and its numbers.
        labels: true labels, int8 [N, C], contiguous.

    Returns:
        The same array.
    """
    step = max(1, _BLOCK // labels.shape[1])
    for start in range(0, len(labels), step):
        _apply_block(decision, labels[start : start + step], start)
    return labels


def _apply_block(decision: Decision, block: np.ndarray, start: int) -> None:
    """Apply a rule in place to some rows of a dense matrix, beginning at row `start`."""
    rule = decision.rule
    if decision.is_elementwise:  # deciding about every entry is faster than finding the pool
        rows = np.arange(start, start + len(block))[:, None]
        columns = np.arange(block.shape[1])[None, :]
        selected = decision.selects(rows, columns)
        if rule.others_become is not None:
            block[~selected] = rule.others_become
        if rule.selected_become is not None:
            block[rule.decides_about(block) & selected] = rule.selected_become
        return
    flat = block.reshape(-1)  # also a view: one index is faster than a row and a column
    pool = np.flatnonzero(rule.decides_about(flat))
    rows, columns = np.divmod(pool, block.shape[1])
    selected = pool[decision.selects(rows + start, columns)]
    codes = flat[selected] if rule.selected_become is None else rule.selected_become
    if rule.others_become is not None:
        flat[:] = rule.others_become
    flat[selected] = codes


def apply_sparse(decision: Decision, labels: SparseLabels) -> Labels:
    """Apply a rule to a sparse matrix.

    Args:
        decision: the rule and its numbers.
        labels: true labels.

    Returns:
        Sparse labels, or an array if the rule also decides about the labels that are not stored
        and the array needs less memory.
    """
    rule = decision.rule
    if labels.fill in rule.codes:
        return _apply_to_fill(decision, labels)
    pieces = []
    for start, stop in _row_blocks(labels):
        begin, end = labels.indptr[start], labels.indptr[stop]
        columns, values = labels.indices[begin:end], labels.values[begin:end]
        rows = np.repeat(np.arange(start, stop), np.diff(labels.indptr[start : stop + 1]))
        pool = np.flatnonzero(rule.decides_about(values))
        selected = pool[decision.selects(rows[pool], columns[pool])]
        if rule.selected_become is not None:
            values = values.copy()
            values[selected] = rule.selected_become
        stored = slice(None) if rule.others_become is None else selected
        pieces.append(
            SparseLabels.from_triplets(
                rows[stored] - start,
                columns[stored],
                values[stored],
                (stop - start, labels.shape[1]),
                UNKNOWN,
            )
        )
    return SparseLabels.stacked(pieces)


def _row_blocks(labels: SparseLabels) -> list[tuple[int, int]]:
    """Ranges of rows with about a block of entries each; a longer row is a range of its own."""
    ends = np.searchsorted(labels.indptr, np.arange(_BLOCK, labels.indptr[-1], _BLOCK))
    borders = np.unique(np.concatenate([[0], ends, [len(labels)]])).tolist()
    return list(itertools.pairwise(borders))


def _apply_to_fill(decision: Decision, labels: SparseLabels) -> Labels:
    """Apply a rule that also decides about the labels that are not stored."""
    step = max(1, _BLOCK // labels.shape[1])
    others = decision.rule.others_become
    fill = labels.fill if others is None else others
    pieces: list[SparseLabels] = []
    full_array: np.ndarray | None = None
    size, limit = 0, math.prod(labels.shape)
    for start in range(0, len(labels), step):
        rows = np.arange(start, min(start + step, len(labels)))
        block = labels.rows(rows).to_dense()
        _apply_block(decision, block, start)
        if full_array is None:
            pieces.append(SparseLabels.from_dense(block, fill))
            size += pieces[-1].nbytes
            if size <= limit:
                continue
            full_array = np.empty(labels.shape, np.int8)
            full_array[: start + len(block)] = SparseLabels.stacked(pieces).to_dense()
            pieces = []
        else:
            full_array[start : start + len(block)] = block
    return SparseLabels.stacked(pieces) if full_array is None else full_array
