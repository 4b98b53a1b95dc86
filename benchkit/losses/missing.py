"""Losses for missing positives: unknown labels are negative until the model contradicts.

Hill weakens the loss of confident negatives; SPLC and the large-loss schemes correct or drop the
unknown labels that the model itself takes for positive.
"""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.core.losses import positives
from baselines.hill import hill_loss as _hill_loss
from baselines.ll_cp import constant_count
from baselines.ll_r import rejection
from baselines.shared.large_loss import correction, cumulative_count, large_losses
from baselines.splc import confident_unknown
from baselines.splc import splc_loss as _splc_loss
from benchkit.losses.checks import averaged, check_batch


def hill_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    lam: float | Tensor = 1.5,
    margin: float | Tensor = 1.0,
    gamma: float | Tensor = 2.0,
    reduction: str = "mean",
) -> Tensor:
    """Hill loss; unknown labels count as negative.

        y = 1:  -(1 - s)^gamma log s,   s = sigmoid(z - m)
        y = 0:  (lambda - p) p^2,       p = sigmoid(z)

    With lambda = 1.5 the gradient of a negative vanishes where the model is sure of a positive.

    Args:
        logits: float [B, C], z.
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        lam: lambda, the height of the hill.
        margin: m, subtracted from the logits of positives.
        gamma: focal exponent of positives, at least 0.
        reduction: "mean" over all B*C entries, "sum" (the authors' code) or "none".

    Returns:
        A scalar, or [B, C] with "none".

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `reduction`.

    Source: Zhang et al., Simple and Robust Loss Design for Multi-Label Learning with Missing
    Labels, arXiv:2112.07368.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, 0, -1], [0, 1, 0]])
        >>> hill_loss(logits, labels)
        tensor(0.4006)
    """
    check_batch(logits, labels)
    positive = positives(labels, logits.dtype)
    return _hill_loss(logits, positive, lam=lam, margin=margin, gamma=gamma, reduction=reduction)


def splc_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    epoch: int,
    tau: float | Tensor = 0.6,
    change_epoch: int = 1,
    margin: float | Tensor = 1.0,
    gamma: float | Tensor = 2.0,
    reduction: str = "mean",
) -> Tensor:
    """Self-paced loss correction (SPLC): unknown labels are negative until the model is sure.

        u = z - m on observed positives, else z;   s = sigmoid(u)
        t = 1:  -(1 - s)^gamma log s,   t = 0:  -s^gamma log(1 - s)

    t is 1 on observed positives and, after `change_epoch` epochs, on unknown labels with
    sigmoid(z) > tau.

    Args:
        logits: float [B, C], z.
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        epoch: the current epoch, from 1.
        tau: the probability above which an unknown label is taken as positive.
        change_epoch: epochs before the first correction.
        margin: m.
        gamma: focal exponent, at least 0.
        reduction: "mean" over all B*C entries, "sum" (the authors' code) or "none".

    Returns:
        A scalar, or [B, C] with "none".

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `reduction`.

    Source: Zhang et al., Simple and Robust Loss Design for Multi-Label Learning with Missing
    Labels, arXiv:2112.07368.

    Example:
        >>> logits, labels = torch.ones(2, 3), torch.tensor([[1, 0, -1], [0, 1, -1]])
        >>> splc_loss(logits, labels, epoch=2)
        tensor(0.2993)
    """
    check_batch(logits, labels)
    corrected = confident_unknown(logits, labels, tau)
    if epoch - 1 < change_epoch:
        corrected = torch.zeros_like(corrected)
    return _splc_loss(logits, labels, corrected, margin=margin, gamma=gamma, reduction=reduction)


def large_loss_rejection(
    logits: Tensor,
    labels: Tensor,
    *,
    epoch: int,
    delta: float | Tensor = 0.2,
    as_released: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """Large loss rejection (LL-R): unknown labels are negative, those with large losses ignored.

        element = 0 where the label is unknown and -log(1 - p) >= T, else BCE(z, y)
        T = the k-th largest -log(1 - p) among unknown labels,   k = ceil(B C (e - 1) delta / 100)

    Args:
        logits: float [B, C].
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        epoch: e, the current epoch, from 1; nothing is rejected in the first.
        delta: percent of a batch's labels by which the rejected ones grow per epoch.
        as_released: reject the whole batch where fewer than k labels are unknown, as the authors'
            code does, instead of the unknown ones.
        reduction: "mean" over all B*C entries, rejected ones included, "sum" or "none".

    Returns:
        A scalar, or [B, C] with "none".

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `reduction`.

    Source: Kim et al., Large Loss Matters in Weakly Supervised Multi-Label Classification, CVPR
    2022.

    Example:
        >>> logits, labels = torch.arange(6.0).reshape(2, 3), torch.tensor([[1, 0, -1], [0, 1, -1]])
        >>> large_loss_rejection(logits, labels, epoch=11, delta=1.0)
        tensor(1.2000)
    """
    check_batch(logits, labels)
    count = cumulative_count(logits, delta, epoch)
    large, _ = large_losses(logits, labels, count, as_released=as_released)
    return averaged(rejection, reduction, logits, labels, large)


def large_loss_correction(
    logits: Tensor,
    labels: Tensor,
    *,
    epoch: int,
    delta: float | Tensor = 0.2,
    as_released: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """Large loss correction (LL-Ct): unknown labels are negative, those with large losses positive.

        element = BCE(z, 1 - y) where the label is unknown and -log(1 - p) >= T, else BCE(z, y)
        T = the k-th largest -log(1 - p) among unknown labels,   k = ceil(B C (e - 1) delta / 100)

    Args:
        logits: float [B, C].
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        epoch: e, the current epoch, from 1; nothing is corrected in the first.
        delta: percent of a batch's labels by which the corrected ones grow per epoch.
        as_released: flip the whole batch where fewer than k labels are unknown, as the authors'
            code does, instead of the unknown ones.
        reduction: "mean" over all B*C entries, "sum" or "none".

    Returns:
        A scalar, or [B, C] with "none".

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `reduction`.

    Source: Kim et al., Large Loss Matters in Weakly Supervised Multi-Label Classification, CVPR
    2022.

    Example:
        >>> logits, labels = torch.arange(6.0).reshape(2, 3), torch.tensor([[1, 0, -1], [0, 1, -1]])
        >>> large_loss_correction(logits, labels, epoch=11, delta=1.0)
        tensor(1.2011)
    """
    check_batch(logits, labels)
    count = cumulative_count(logits, delta, epoch)
    large, _ = large_losses(logits, labels, count, as_released=as_released)
    return averaged(correction, reduction, logits, labels, large)


def permanent_large_loss_correction(
    logits: Tensor,
    labels: Tensor,
    *,
    epoch: int,
    delta: float | Tensor = 0.1,
    reduction: str = "mean",
) -> Tensor:
    """Permanent large loss correction (LL-Cp): the loss of LL-Ct with a constant number of labels.

        element = BCE(z, 1 - y) where the label is unknown and -log(1 - p) >= T, else BCE(z, y)
        T = the k-th largest -log(1 - p) among unknown labels,   k = ceil(B C delta / 100)

    The method also sets unknown labels with -log(1 - p) > T to 1 in the label matrix, for good. The
    caller does this; `labels` are the labels as corrected so far.

    Args:
        logits: float [B, C].
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        epoch: the current epoch, from 1; nothing is corrected in the first.
        delta: percent of a batch's labels that is corrected per step.
        reduction: "mean" over all B*C entries, "sum" or "none".

    Returns:
        A scalar, or [B, C] with "none".

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `reduction`.

    Source: Kim et al., Large Loss Matters in Weakly Supervised Multi-Label Classification, CVPR
    2022.

    Example:
        >>> logits, labels = torch.arange(6.0).reshape(2, 3), torch.tensor([[1, 0, -1], [0, 1, -1]])
        >>> permanent_large_loss_correction(logits, labels, epoch=2, delta=10.0)
        tensor(1.2011)
    """
    check_batch(logits, labels)
    count = constant_count(logits, delta, epoch)
    large, _ = large_losses(logits, labels, count)
    return averaged(correction, reduction, logits, labels, large)
