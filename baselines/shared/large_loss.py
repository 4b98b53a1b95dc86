"""The large losses of a batch, which LL-R rejects, and LL-Ct and LL-Cp correct."""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.core import positives
from baselines.core.losses import bce_terms

REGIMES = ("pal", "ppl", "spl", "missing")
PAPER = "Kim et al., Large Loss Matters in Weakly Supervised Multi-Label Classification, CVPR 2022"
SEARCH = (0.1, 0.2, 0.3, 0.4, 0.5)  # of the paper; 0.005 and 0.01 on Open Images


def relative_share(delta: float | Tensor, like: Tensor) -> Tensor:
    """D = delta / 100 in float64, with delta rounded to six decimals.

    A count is a rounded product, and delta is float32 in stacked runs: 0.20000000298 instead of 0.2
        could add one label. Rounding to six decimals makes both equal.

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
        int64 scalar. It is computed in float64 as written, with its rounding errors: n = 160 and
        0.95 give 9, as in the authors' code.
    """
    rate = like.new_ones((), dtype=torch.float64) * clean_rate
    return torch.ceil(entries * (1.0 - rate)).long()


def cumulative_count(logits: Tensor, delta: float | Tensor, epoch: int) -> Tensor:
    """The number of large losses of LL-R and LL-Ct; it grows from 0 in the first epoch.

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
    """The unknown labels with the largest losses if they count as negative.

        u = -log(1 - p) on unknown labels, 0 elsewhere;   T = the k-th largest u of the batch

    Args:
        logits: [B, C].
        labels: [B, C], 1 positive, 0 negative, -1 unknown.
        count: k, int64 scalar; 0 for none.
        as_released: with fewer than k unknown labels, T is 0, and the authors' code then takes
            every entry of the batch, including observed positives. By default only unknown labels
            are taken.

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


def correction(logits: Tensor, labels: Tensor, large: Tensor) -> Tensor:
    """Cross-entropy with the opposite label for large losses.

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
