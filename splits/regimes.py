"""What an annotator gets to see: from a true label matrix to an observed one.

Every regime is a rule on ONE uniform number per (image, class), so that two levels of a regime
nest and two settings differ only by what the setting means. Where labels are withheld, nothing but
what the rule keeps is observed: in PPL, SPL and missing, a true negative is as unknown as a
dropped positive, because a dropped positive among known negatives would give itself away.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from splits.errors import InputError
from splits.labels import Labels, SparseLabels, count_both, counts
from splits.numbers import Uniform, round_half_up
from splits.statistics import check_labels
from splits.variants import PAPER, Variant

_BLOCK = 1 << 18  # entries worked on at a time: the temporaries stay in the processor's cache

_LEVELS: dict[str, tuple[str, Callable[[float], bool]] | None] = {
    "full": None,
    "pal": ("R in (0, 1], the share of labels kept", lambda level: 0 < level <= 1),
    "ppl": ("R in (0, 1], the share of positives kept", lambda level: 0 < level <= 1),
    "spl": None,
    "missing": ("Q in [0, 1), the share of positives dropped", lambda level: 0 <= level < 1),
    "candidates": ("RHO in [0, 1), the share of negatives added", lambda level: 0 <= level < 1),
}
_FORMS = "full, pal:R, ppl:R, spl, missing:Q, candidates:RHO"


@dataclass(frozen=True)
class Regime:
    """A regime and its level, checked when it is made; `str` gives the form that `parse` reads.

    Attributes:
        kind: full, pal, ppl, spl, missing or candidates.
        level: R, Q or RHO, or None for the kinds that have no level.
    """

    kind: str
    level: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in _LEVELS:
            raise InputError(f"There is no regime {self.kind!r}; the regimes are {_FORMS}.")
        rule = _LEVELS[self.kind]
        if rule is None and self.level is not None:
            raise InputError(f"The regime {self.kind} has no level, but {self.level} was given.")
        if rule is not None and (self.level is None or not rule[1](self.level)):
            given = "none was given" if self.level is None else f"not {self.level}"
            raise InputError(f"The regime {self.kind} needs a level {rule[0]}; {given}.")

    def __str__(self) -> str:
        if self.level is None:
            return self.kind
        return f"{self.kind}:{repr(self.level + 0.0).removesuffix('.0')}"

    @classmethod
    def parse(cls, text: str) -> Regime:
        """Read `full`, `pal:R`, `ppl:R`, `spl`, `missing:Q` or `candidates:RHO`.

        Args:
            text: one of the forms above, for example `ppl:0.5`.

        Returns:
            The regime.

        Raises:
            InputError: an unknown kind, a level that is no number or out of range, a level too
                many or too few.
        """
        kind, colon, level = text.strip().partition(":")
        if not colon:
            return cls(kind)
        try:
            number = float(level)
        except ValueError:
            raise InputError(
                f"The level of the regime {text!r} is not a number; the regimes are {_FORMS}."
            ) from None
        return cls(kind, number)


parse = Regime.parse


class Rates(TypedDict):
    """Shares that describe an observed label matrix; NaN where there is nothing to share."""

    observed: float
    positives_kept: float
    candidate_noise: float
    observed_by_class: np.ndarray
    positives_kept_by_class: np.ndarray
    candidate_noise_by_class: np.ndarray


def observe(labels: Labels, regime: Regime, uniform: Uniform, variant: Variant = PAPER) -> Labels:
    """The labels that the regime lets an image show.

    With one number u_ic per image and class, and n_i known positives in image i:

        full           o = y
        pal:R          o_ic = y_ic where u_ic < R, else unknown
        ppl:R          o_ic = 1 for the max(1, round(R n_i)) positives with the smallest u
        spl            o_ic = 1 for the positive with the smallest u
        missing:Q      o_ic = 1 for the positives with u_ic >= Q, or, where none is left, for the
                       one with the largest u
        candidates:RHO o_ic = 1 for the positives and for the negatives with u_ic < RHO, else 0

    Whatever ppl, spl and missing do not keep is unknown, true negatives too; halves round up.
    Labels that the source does not know stay unknown in every regime. An image without positives
    shows nothing in ppl, spl and missing. `splits.variants` describes the departures from these
    laws.

    Args:
        labels: true labels, int8 [N, C], codes 1, 0, -1, dense or sparse.
        regime: the regime.
        uniform: numbers `(rows, columns) -> float64` in [0, 1), broadcasting, keyed by image id
            and class name.
        variant: departures from the papers' laws.

    Returns:
        int8 [N, C]. Dense labels give a new array. Sparse labels give sparse ones, filled up with
        -1 except in full and candidates; should those need more memory than an array, which only
        pal and candidates among known negatives can do, they give an array.

    Raises:
        InputError: not a label matrix, or a variant that does not go with the regime or labels.

    Source: PAL, PPL and SPL: arXiv 2308.00166; missing: Zhang et al., ICCV 2023, whose script is
    not public; candidates: the law of the released LT-PML generators.
    """
    check_labels(labels)
    variant.check(regime.kind, labels.shape)
    law = _Law(regime.kind, 0.0 if regime.level is None else float(regime.level), variant)
    if isinstance(labels, SparseLabels):
        return _observe_sparse(labels, law, uniform)
    observed = np.array(labels, np.int8, order="C")
    if law.kind != "full":
        step = max(1, _BLOCK // labels.shape[1])
        for start in range(0, len(labels), step):
            _hide(observed[start : start + step], start, law, uniform)  # a view
    return observed


@dataclass(frozen=True)
class _Law:
    """A regime's rule: which of the labels that it looks at are chosen.

    Chosen is what pal, ppl, spl and missing show, and what candidates add.
    """

    kind: str
    level: float
    variant: Variant

    def looks_at(self, codes: np.ndarray) -> np.ndarray:
        """Of which labels it decides: known ones, negatives or positives."""
        if self.kind == "pal":
            return codes != -1
        return codes == (0 if self.kind == "candidates" else 1)

    @property
    def is_threshold(self) -> bool:
        """Whether each label is decided by its own number, whatever else its image shows."""
        exact = self.variant.is_exact(self.kind)
        return (self.kind == "pal" and not exact) or (self.kind == "candidates" and not exact)

    def chosen(self, rows: np.ndarray, columns: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Decide about labels, whole rows of them, given row by row: bool [n]."""
        rate = self.variant.rate(self.level, rows, columns)
        if self.is_threshold or not len(rows):
            return u < rate
        rows = rows - int(rows[0])
        count = np.bincount(rows)
        n, place = count[rows], _places(rows, count, self.variant.key(u, columns))
        if self.kind == "spl":
            return place == 0
        share = np.array([round_half_up(self.level, k) for k in range(int(count.max()) + 1)])[n]
        exact = self.variant.is_exact(self.kind)
        if self.kind == "ppl":
            return place < np.maximum(share, 1) if exact else (u < rate) | (place == 0)
        if self.kind == "missing":
            return place >= np.minimum(share, n - 1) if exact else (u >= rate) | (place == n - 1)
        return place < share


def _places(rows: np.ndarray, count: np.ndarray, key: np.ndarray) -> np.ndarray:
    """The place of each label among those of its row, by ascending key: 0, 1, ...

    Args:
        rows: ascending row numbers [n].
        count: how often each row comes, [rows].
        key: float64 [n]; of equal ones in a row the first comes first.

    Returns:
        int64 [n].
    """
    first = np.cumsum(count) - count
    width = int(count.max())
    if len(count) * width > 2 * len(rows):  # rows of very different lengths
        order = np.lexsort((key, rows))
        place = np.empty_like(order)
        place[order] = np.arange(len(order)) - np.repeat(first, count)
        return place
    # Sorting many short rows of a matrix is several times faster than one long list.
    column = np.arange(len(rows)) - first[rows]
    table = np.full((len(count), width), np.inf)
    table[rows, column] = key
    order = np.argsort(table, axis=1, kind="stable")
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(width)[None, :], axis=1)
    return place[rows, column]


def _hide(block: np.ndarray, start: int, law: _Law, uniform: Uniform) -> None:
    """Apply a law in place to whole rows of a dense matrix, of which the first is `start`."""
    if law.is_threshold:  # no need to find the labels: decide about every place
        rows = np.arange(start, start + len(block))[:, None]
        columns = np.arange(block.shape[1])[None, :]
        chosen = law.chosen(rows, columns, uniform(rows, columns))
        if law.kind == "pal":
            block[~chosen] = -1
        else:
            block[(block == 0) & chosen] = 1
        return
    flat = block.reshape(-1)  # a view too: one place is found faster than a row and a column
    places = np.flatnonzero(law.looks_at(flat))
    rows, columns = np.divmod(places, block.shape[1])
    rows += start
    chosen = places[law.chosen(rows, columns, uniform(rows, columns))]
    shown = flat[chosen]
    if law.kind == "candidates":
        shown = np.ones_like(shown)
    else:
        flat[:] = -1
    flat[chosen] = shown


def _observe_sparse(labels: SparseLabels, law: _Law, uniform: Uniform) -> Labels:
    if law.kind == "full":
        return labels
    if labels.fill == 0 and law.kind in ("pal", "candidates"):
        return _observe_filled(labels, law, uniform)
    pieces = []
    for start, stop in _row_blocks(labels):
        begin, end = labels.indptr[start], labels.indptr[stop]
        columns, values = labels.indices[begin:end], labels.values[begin:end]
        rows = np.repeat(np.arange(start, stop), np.diff(labels.indptr[start : stop + 1]))
        at = np.flatnonzero(law.looks_at(values))
        chosen = at[law.chosen(rows[at], columns[at], uniform(rows[at], columns[at]))]
        if law.kind == "candidates":
            values = values.copy()
            values[chosen] = 1
            chosen = np.arange(len(values))
        pieces.append(
            SparseLabels.from_triplets(
                rows[chosen] - start,
                columns[chosen],
                values[chosen],
                (stop - start, labels.shape[1]),
                -1,
            )
        )
    return SparseLabels.stacked(pieces)


def _row_blocks(labels: SparseLabels) -> list[tuple[int, int]]:
    """Ranges of rows with about a block of entries each, or one row where it alone has more."""
    ends = np.searchsorted(labels.indptr, np.arange(_BLOCK, labels.indptr[-1], _BLOCK))
    borders = np.unique(np.concatenate([[0], ends, [len(labels)]])).tolist()
    return list(itertools.pairwise(borders))


def _observe_filled(labels: SparseLabels, law: _Law, uniform: Uniform) -> Labels:
    """What a law shows where the labels that are not stored are known negatives."""
    step = max(1, _BLOCK // labels.shape[1])
    fill = -1 if law.kind == "pal" else 0
    pieces: list[SparseLabels] = []
    whole: np.ndarray | None = None
    size, limit = 0, math.prod(labels.shape)
    for start in range(0, len(labels), step):
        rows = np.arange(start, min(start + step, len(labels)))
        block = labels.rows(rows).to_dense()
        _hide(block, start, law, uniform)
        if whole is None:
            pieces.append(SparseLabels.from_dense(block, fill))
            size += pieces[-1].nbytes
            if size <= limit:
                continue
            whole = np.empty(labels.shape, np.int8)
            whole[: start + len(block)] = SparseLabels.stacked(pieces).to_dense()
            pieces = []
        else:
            whole[start : start + len(block)] = block
    return SparseLabels.stacked(pieces) if whole is None else whole


def observed_rates(labels: Labels, observed: Labels) -> Rates:
    """How much an observed label matrix shows, over all entries and per class.

        observed         share of entries that are not unknown
        positives_kept   share of the true positives that are observed as positive
        candidate_noise  share of the observed positives that are known not to be true

    Args:
        labels: true labels, int8 [N, C], dense or sparse.
        observed: observed labels, int8 [N, C], dense or sparse.

    Returns:
        The three shares as numbers, and each `_by_class` as float64 [C].

    Raises:
        InputError: matrices of different shapes.
    """
    if labels.shape != observed.shape:
        raise InputError(
            f"True and observed labels must have one shape, not {labels.shape} and "
            f"{observed.shape}."
        )
    known = labels.shape[0] - counts(observed, -1)
    shown, positive = counts(observed, 1), counts(labels, 1)
    kept, noise = count_both(labels, observed, 1), count_both(labels, observed, 0)
    entries = np.full(labels.shape[1], labels.shape[0])
    return Rates(
        observed=float(_share(known.sum(), entries.sum())),
        positives_kept=float(_share(kept.sum(), positive.sum())),
        candidate_noise=float(_share(noise.sum(), shown.sum())),
        observed_by_class=_share(known, entries),
        positives_kept_by_class=_share(kept, positive),
        candidate_noise_by_class=_share(noise, shown),
    )


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    out = np.full(np.shape(whole), math.nan)
    return np.divide(part, whole, out=out, where=np.asarray(whole) > 0)


def spml_observe(
    labels: np.ndarray, num_pos: int, num_neg: int, random_state: np.random.RandomState
) -> np.ndarray:
    """Observe a fixed number of labels per image exactly as SPML's sampling script does.

    Row after row, the positives are shuffled and the first `num_pos` observed, then the negatives
    are shuffled, also when `num_neg` is 0, and the first `num_neg` observed. An image with fewer
    shows all it has. The row order decides what is drawn.

    Args:
        labels: true labels, int8 [N, C], rows in the order of SPML's files.
        num_pos: positives per image, or -1 for all.
        num_neg: negatives per image, or -1 for all.
        random_state: NumPy's generator in the state to draw from; seed 1200 anew for each of the
            training and the validation file gives the published labels.

    Returns:
        int8 [N, C].

    Raises:
        InputError: not a label matrix, or a number below -1.

    Source: Cole et al., CVPR 2021, sampling script of the authors' code.
    """
    check_labels(labels)
    if num_pos < -1 or num_neg < -1:
        raise InputError(
            f"Labels per image must be -1 (all), 0 or more, not {num_pos} positives and "
            f"{num_neg} negatives."
        )
    observed = np.full(labels.shape, -1, np.int8)
    for row, line in enumerate(labels):
        for code, number in ((1, num_pos), (0, num_neg)):
            columns = np.flatnonzero(line == code)
            random_state.shuffle(columns)
            observed[row, columns[: len(columns) if number == -1 else number]] = code
    return observed
