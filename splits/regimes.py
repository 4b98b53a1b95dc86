"""What an annotator gets to see: from a true label matrix to an observed one.

Every regime is a rule on ONE uniform number per (image, class), so that two levels of a regime
nest and two settings differ only by what the setting means. Where labels are withheld, nothing but
what the rule keeps is observed: in PPL, SPL and missing, a true negative is as unknown as a
dropped positive, because a dropped positive among known negatives would give itself away.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from splits.errors import InputError
from splits.numbers import Uniform, round_half_up
from splits.statistics import check_labels

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


def observe(labels: np.ndarray, regime: Regime, uniform: Uniform) -> np.ndarray:
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
    shows nothing in ppl, spl and missing.

    Args:
        labels: true labels, int8 [N, C], codes 1, 0, -1.
        regime: the regime.
        uniform: numbers `(rows, columns) -> float64` in [0, 1), broadcasting, keyed by image id
            and class name.

    Returns:
        int8 [N, C], a new array.

    Raises:
        InputError: not a label matrix.

    Source: PAL, PPL and SPL: arXiv 2308.00166; missing: Zhang et al., ICCV 2023, whose script is
    not public; candidates: the law of the released LT-PML generators.
    """
    check_labels(labels)
    observed = np.array(labels, np.int8)
    if regime.kind == "full":
        return observed
    level = 0.0 if regime.level is None else float(regime.level)
    step = max(1, _BLOCK // labels.shape[1])
    for start in range(0, len(labels), step):
        rows = np.arange(start, min(start + step, len(labels)))
        block = observed[rows[0] : rows[-1] + 1]  # a view
        if regime.kind in ("pal", "candidates"):
            u = uniform(rows[:, None], np.arange(labels.shape[1])[None, :])
            if regime.kind == "pal":
                block[u >= level] = -1
            else:
                block[(block == 0) & (u < level)] = 1
        else:
            _keep_positives(block, rows, regime, level, uniform)
    return observed


def _keep_positives(
    block: np.ndarray, rows: np.ndarray, regime: Regime, level: float, uniform: Uniform
) -> None:
    """Reduce a block, in place, to the positives that ppl, spl or missing keep."""
    row, column = np.nonzero(block == 1)
    u = uniform(rows[row], column)
    count = np.bincount(row, minlength=len(block))
    # The positives of a row, by ascending u: their place in the row is 0, 1, ...
    order = np.lexsort((u, row))
    place = np.empty_like(order)
    place[order] = np.arange(len(order)) - np.repeat(np.cumsum(count) - count, count)
    if regime.kind == "missing":
        kept = (u >= level) | (place == count[row] - 1)
    elif regime.kind == "ppl":
        share = [max(1, round_half_up(level, n)) for n in range(block.shape[1] + 1)]
        kept = place < np.array(share)[count[row]]
    else:
        kept = place == 0
    block[:] = -1
    block[row[kept], column[kept]] = 1


def observed_rates(labels: np.ndarray, observed: np.ndarray) -> Rates:
    """How much an observed label matrix shows, over all entries and per class.

        observed         share of entries that are not unknown
        positives_kept   share of the true positives that are observed as positive
        candidate_noise  share of the observed positives that are known not to be true

    Args:
        labels: true labels, int8 [N, C].
        observed: observed labels, int8 [N, C].

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
    known = np.count_nonzero(observed != -1, axis=0)
    shown = np.count_nonzero(observed == 1, axis=0)
    positive = np.count_nonzero(labels == 1, axis=0)
    kept = np.count_nonzero((labels == 1) & (observed == 1), axis=0)
    noise = np.count_nonzero((labels == 0) & (observed == 1), axis=0)
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
