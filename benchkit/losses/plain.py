"""Losses for complete labels without a long tail: cross-entropy, focal and asymmetric loss."""

from __future__ import annotations

from torch import Tensor

from baselines.bce_ls import smoothed_bce
from baselines.core.losses import bce_terms, positives, reduced
from baselines.shared.asymmetric import asymmetric_loss as _asymmetric_loss
from baselines.shared.focal import focal_loss as _focal_loss
from benchkit.losses.checks import check_batch


def binary_cross_entropy(logits: Tensor, labels: Tensor, *, reduction: str = "mean") -> Tensor:
    """Binary cross-entropy; unknown labels count as negative.

        element = -y log p - (1 - y) log(1 - p),   p = sigmoid(z)

    Args:
        logits: float [B, C], z.
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        reduction: "mean" over all B*C entries, "sum" or "none".

    Returns:
        A scalar, or [B, C] with "none".

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `reduction`.

    Source: textbook; the ERM row of Wu et al., Distribution-Balanced Loss, ECCV 2020.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, 0, -1], [0, 1, 0]])
        >>> binary_cross_entropy(logits, labels)
        tensor(0.6931)
    """
    check_batch(logits, labels)
    return reduced(bce_terms(logits, positives(labels, logits.dtype)), reduction)


def smoothed_binary_cross_entropy(
    logits: Tensor, labels: Tensor, *, smoothing: float | Tensor = 0.1, reduction: str = "mean"
) -> Tensor:
    """Binary cross-entropy with smoothed labels (BCE-LS); unknown labels count as negative.

        t = (1 - e) y + e (1 - y)
        element = t nl(p) + (1 - t) nl(1 - p),   nl(a) = -log(a + 1e-5),   p = sigmoid(z)

    Args:
        logits: float [B, C], z.
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        smoothing: e, in [0, 1/2].
        reduction: "mean" over all B*C entries, "sum" or "none".

    Returns:
        A scalar, or [B, C] with "none".

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `reduction`.

    Source: Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021. The authors'
    code, followed here, moves a label by e and not by the e/2 that is usual for two classes.

    Example:
        >>> logits, labels = torch.ones(2, 3), torch.tensor([[1, 0, -1], [0, 1, 0]])
        >>> smoothed_binary_cross_entropy(logits, labels)
        tensor(0.9466)
    """
    check_batch(logits, labels)
    target = positives(labels, logits.dtype)
    return smoothed_bce(logits, target, smoothing=smoothing, reduction=reduction)


def focal_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    gamma: float | Tensor = 2.0,
    form: str = "resample",
    balance: float | Tensor = 2.0,
    alpha: float | Tensor = 0.25,
    focal_gradient: bool = True,
    reduction: str = "mean",
) -> Tensor:
    """Sigmoid focal loss; unknown labels count as negative.

        e = -y log p - (1 - y) log(1 - p),   p_t = exp(-e)
        element = a (1 - p_t)^gamma e

        a = balance                        form = "resample"
        a = alpha                          form = "focal-loss"
        a = alpha y + (1 - alpha)(1 - y)   form = "alpha"

    Args:
        logits: float [B, C].
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        gamma: focal exponent, at least 0.
        form: "alpha" is the paper's; the other two are those of the code of the DB loss.
        balance: factor of the form "resample".
        alpha: factor of the other two forms.
        focal_gradient: whether the factor (1 - p_t)^gamma carries gradient.
        reduction: "mean" over all B*C entries, "sum" or "none".

    Returns:
        A scalar, or [B, C] with "none".

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `form` or `reduction`.

    Source: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, equation 5.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, 0, -1], [0, 1, 0]])
        >>> focal_loss(logits, labels, form="alpha")
        tensor(0.1011)
    """
    check_batch(logits, labels)
    return _focal_loss(
        logits,
        positives(labels, logits.dtype),
        gamma=gamma,
        form=form,
        balance=balance,
        alpha=alpha,
        focal_gradient=focal_gradient,
        reduction=reduction,
    )


def asymmetric_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    gamma_negative: float | Tensor = 4.0,
    gamma_positive: float | Tensor = 0.0,
    clip: float | Tensor = 0.05,
    focal_gradient: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """Asymmetric loss (ASL); unknown labels count as negative.

        p = sigmoid(z),   p_m = max(p - m, 0)
        y = 1:  -(1 - p)^g+ log max(p, 1e-8)
        y = 0:  -p_m^g- log max(1 - p_m, 1e-8)

    Args:
        logits: float [B, C], z.
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        gamma_negative: g-, at least 0.
        gamma_positive: g+, at least 0.
        clip: m, the probability margin below which a negative is dropped.
        focal_gradient: whether the powers carry gradient; the authors train without.
        reduction: "mean" over all B*C entries, "sum" (the authors' code) or "none".

    Returns:
        A scalar, or [B, C] with "none".

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `reduction`.

    Source: Ridnik et al., Asymmetric Loss For Multi-Label Classification, ICCV 2021; the defaults
    are those of the authors' COCO training.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, 0, -1], [0, 1, 0]])
        >>> asymmetric_loss(logits, labels)
        tensor(0.2474)
    """
    check_batch(logits, labels)
    return _asymmetric_loss(
        logits,
        positives(labels, logits.dtype),
        gamma_negative=gamma_negative,
        gamma_positive=gamma_positive,
        clip=clip,
        focal_gradient=focal_gradient,
        reduction=reduction,
    )
