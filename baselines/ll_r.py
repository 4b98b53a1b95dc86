"""LL-R: unknown labels count as negative until their loss is among the largest; then they go.

The large losses themselves are found here for the three schemes: LL-R rejects them, LL-Ct
(`baselines.ll_ct`) turns them positive for a step, LL-Cp (`baselines.ll_cp`) for good.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.core import Batch, Clock, Draw, Method, MethodInfo, Run, Step, hyper, positives
from baselines.core.losses import bce_terms

REGIMES = ("pal", "ppl", "spl", "missing")
PAPER = "Kim et al., Large Loss Matters in Weakly Supervised Multi-Label Classification, CVPR 2022"
SEARCH = (0.1, 0.2, 0.3, 0.4, 0.5)  # in the paper; on Open Images 0.005 and 0.01


def relative_share(delta: float | Tensor, like: Tensor) -> Tensor:
    """D = delta / 100 in float64, delta read to six decimals.

    A count is a rounded product, and a stacked run has its delta in float32: 0.2 read as
    0.20000000298 would count one label more. Reading six decimals makes both the same number.

    Args:
        delta: in percent.
        like: any tensor, for the device.

    Returns:
        float64 scalar.
    """
    percent = like.new_ones((), dtype=torch.float64) * delta
    return torch.round(percent * 1e6) / 1e6 / 100.0


def large_count(entries: int, clean_rate: float | Tensor, like: Tensor) -> Tensor:
    """The number of large losses in a batch, k = ceil(n (1 - clean rate)).

    Args:
        entries: n = B*C.
        clean_rate: 1 - (t - 1) D in epoch t.
        like: any tensor, for the device.

    Returns:
        int64 scalar. Evaluated in float64 as written, rounding errors included: n = 160 and 0.95
        give 9, as in the authors' code.
    """
    rate = like.new_ones((), dtype=torch.float64) * clean_rate
    return torch.ceil(entries * (1.0 - rate)).long()


def cumulative_count(logits: Tensor, delta: float | Tensor, epoch: int) -> Tensor:
    """The number of large losses of LL-R and LL-Ct, which grows by the epoch, none in the first.

    Args:
        logits: [B, C].
        delta: in percent per epoch.
        epoch: t, counted from 1.

    Returns:
        int64 scalar.
    """
    rate = 1.0 - (epoch - 1) * relative_share(delta, logits)
    return large_count(logits.numel(), rate, logits)


def large_losses(
    logits: Tensor, labels: Tensor, count: Tensor, *, as_released: bool = False
) -> tuple[Tensor, Tensor]:
    """Which unknown labels have the largest losses if taken as negative.

        u = -log(1 - p) on unknown labels, 0 elsewhere;   T = the k-th largest u of the batch

    Args:
        logits: [B, C].
        labels: [B, C], 1 positive, 0 negative, -1 unknown.
        count: k, int64 scalar; 0 for none.
        as_released: with fewer than k unknown labels T is 0, and the authors' code then takes every
            entry of the batch, observed positives included. Otherwise only unknown labels are
            taken.

    Returns:
        u >= T and u > T, bool [B, C] each.

    Source: Kim et al., CVPR 2022.
    """
    unknown = labels == -1
    u = torch.where(unknown, bce_terms(logits.detach(), torch.zeros_like(logits)), 0.0)
    ordered = torch.sort(u.flatten(), descending=True).values
    place = (count - 1).clamp(0, ordered.shape[0] - 1).reshape(1)
    threshold = ordered.gather(0, place)
    any_label = torch.ones_like(unknown) if as_released else unknown
    taken = (u >= threshold) & any_label & (count > 0)
    return taken, taken & (u > threshold)


def rejection(logits: Tensor, labels: Tensor, large: Tensor) -> Tensor:
    """Cross-entropy without the large losses.

        L = (1 / BC) sum_{not large} H(y, p),   unknown -> y = 0

    Args:
        logits: [B, C].
        labels: [B, C], 1 positive, anything else negative.
        large: bool [B, C].

    Returns:
        A scalar; rejected entries stay in the denominator.

    Source: Kim et al., CVPR 2022, LL-R.
    """
    terms = bce_terms(logits, positives(labels, logits.dtype))
    return torch.where(large, 0.0, terms).mean()


def correction(logits: Tensor, labels: Tensor, large: Tensor) -> Tensor:
    """Cross-entropy in which the large losses are taken against the opposite label.

        L = mean_{b,c} [ H(1 - y, p) where large, else H(y, p) ],   unknown -> y = 0

    Args:
        logits: [B, C].
        labels: [B, C], 1 positive, anything else negative.
        large: bool [B, C].

    Returns:
        A scalar.

    Source: Kim et al., CVPR 2022, LL-Ct and LL-Cp.
    """
    label = positives(labels, logits.dtype)
    return bce_terms(logits, torch.where(large, 1.0 - label, label)).mean()


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters of LL-R."""

    delta: float = hyper(
        0.2,
        "percent of a batch's labels by which the rejected ones grow per epoch",
        search=SEARCH,
        low=0.0,
        high=100.0,
    )
    as_released: bool = hyper(
        False, "with fewer unknown labels than are wanted, reject whole batches as the code does"
    )


class LLR(Method):
    """Large loss rejection.

    Meant where labels are unknown, because only those are rejected.
    """

    info = MethodInfo(
        key="ll-r",
        title="LL-R",
        paper=PAPER,
        year=2022,
        equation="L = (1/BC) sum H(y, p) over all labels but the unknown with -log(1-p) >= T,  "
        "unknown -> y = 0,\n"
        "T = k-th largest in the batch,  k = ceil(BC (t-1) delta/100) in epoch t",
        unknown="estimated",
        regimes=REGIMES,
        differs="The authors' code lowers the clean rate by repeated subtraction, here it is a "
        "product; k may differ by one. Where fewer than k labels are unknown it rejects the whole "
        "batch, observed positives included (as_released=true); here the unknown ones. Observed "
        "negatives are never rejected in either.",
        source="authors' code",
        reference="snucml/LargeLossMatters@5025d16, losses.py: compute_batch_loss",
        tolerance="1e-9; step 1e-5 in float32",
        evidence=(
            "tests/baselines/test_partial_label_vectors.py::test_large_loss_equals_the_authors_code",
            "tests/baselines/test_large_loss.py::test_numpy_reference",
            "tests/baselines/test_large_loss.py::test_first_epoch_is_plain_then_the_share_grows",
        ),
    )
    Hyper = Hyper

    def step(self, run: Run, batch: Batch, clock: Clock, draw: Draw) -> Step:
        """The equation of `rejection`."""
        logits = self.logits(run, batch.features)
        count = cumulative_count(logits, self.hyper.delta, clock.epoch)
        released = self.hyper.as_released
        large, _ = large_losses(logits, batch.observed, count, as_released=released)
        loss = rejection(logits, batch.observed, large)
        return Step(loss, corrected=large & (batch.observed == -1))
