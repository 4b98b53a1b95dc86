"""Losses for data where only some positives are known: assumed negatives and later methods.

The losses of Cole et al., CVPR 2021, and Zhou et al., ECCV 2022. Both use a guarded logarithm:

    nl(a) = -log(a + 1e-5),   p = sigmoid(z)
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from baselines.an import assume_negative
from baselines.bce_ls import smoothed_bce
from baselines.core.losses import negatives, positives
from baselines.epr import expected_positive_loss
from baselines.iu import ignore_unknown
from baselines.role import role_loss as _role_loss
from baselines.shared.entropy_maximisation import entropy_maximisation
from baselines.wan import weak_assume_negative
from benchkit.losses.checks import averaged, check_batch


def assume_negative_loss(logits: Tensor, labels: Tensor, *, reduction: str = "mean") -> Tensor:
    """Assume negative (AN): guarded cross-entropy; unknown labels count as negative.

        element = y nl(p) + (1 - y) nl(1 - p)

    Args:
        logits: float [B, C].
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        reduction: "mean" over all B*C entries, "sum" or "none".

    Returns:
        A scalar, or [B, C] with "none".

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `reduction`.

    Source: Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021. The guard is
    that of the authors' code; without it this is binary cross-entropy.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, -1, -1], [-1, 1, -1]])
        >>> assume_negative_loss(logits, labels)
        tensor(0.6931)
    """
    check_batch(logits, labels)
    return averaged(assume_negative, reduction, logits, positives(labels, logits.dtype))


def smoothed_assume_negative_loss(
    logits: Tensor, labels: Tensor, *, smoothing: float | Tensor = 0.1, reduction: str = "mean"
) -> Tensor:
    """Assume negative with label smoothing (AN-LS); unknown labels count as negative.

        t = (1 - e) y + e (1 - y)
        element = t nl(p) + (1 - t) nl(1 - p)

    The equation is that of `smoothed_binary_cross_entropy`.

    Args:
        logits: float [B, C].
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        smoothing: e, in [0, 1/2].
        reduction: "mean" over all B*C entries, "sum" or "none".

    Returns:
        A scalar, or [B, C] with "none".

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `reduction`.

    Source: Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021.

    Example:
        >>> logits, labels = torch.ones(2, 3), torch.tensor([[1, -1, -1], [-1, 1, -1]])
        >>> smoothed_assume_negative_loss(logits, labels)
        tensor(0.9466)
    """
    check_batch(logits, labels)
    target = positives(labels, logits.dtype)
    return smoothed_bce(logits, target, smoothing=smoothing, reduction=reduction)


def weak_assume_negative_loss(logits: Tensor, labels: Tensor, *, reduction: str = "mean") -> Tensor:
    """Weak assume negative (WAN): unknown labels count as negative, with the weight 1 / (C - 1).

        element = y nl(p) + (1 - y) nl(1 - p) / (C - 1)

    Observed negatives have that weight too. It balances one positive per image.

    Args:
        logits: float [B, C].
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        reduction: "mean" over all B*C entries, "sum" or "none".

    Returns:
        A scalar, or [B, C] with "none".

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `reduction`.

    Source: Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, -1, -1], [-1, 1, -1]])
        >>> weak_assume_negative_loss(logits, labels)
        tensor(0.4621)
    """
    check_batch(logits, labels)
    positive = positives(labels, logits.dtype)
    if reduction == "none":  # the weight depends on C, which a label on its own does not show
        entries = averaged(assume_negative, "none", logits, positive)
        return torch.where(labels == 1, entries, entries / max(logits.shape[1] - 1, 1))
    return averaged(weak_assume_negative, reduction, logits, positive)


def ignore_unknown_loss(logits: Tensor, labels: Tensor, *, reduction: str = "mean") -> Tensor:
    """Ignore unknown (IU): guarded cross-entropy; unknown labels contribute zero.

        element = 1[y = 1] nl(p) + 1[y = 0] nl(1 - p)

    "mean" divides by all B*C entries and not by the known ones. With every true negative filled
    into `labels` it is the upper bound IUN of the same paper.

    Args:
        logits: float [B, C].
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        reduction: "mean" over all B*C entries, "sum" or "none".

    Returns:
        A scalar, or [B, C] with "none".

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `reduction`.

    Source: Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, 0, -1], [-1, 1, -1]])
        >>> ignore_unknown_loss(logits, labels)
        tensor(0.3466)
    """
    check_batch(logits, labels)
    known = positives(labels, logits.dtype), negatives(labels, logits.dtype)
    return averaged(ignore_unknown, reduction, logits, *known)


def expected_positive_regularisation(
    logits: Tensor, labels: Tensor, *, expected_positives: float | Tensor
) -> Tensor:
    """Expected positive regularisation (EPR); unknown labels are held to an expected total.

        L = mean_{b,c} [ y nl(p) ] + ((mean_b sum_c p - k) / C)^2

    Args:
        logits: float [B, C].
        labels: [B, C]: 1 positive; 0 and -1 are treated alike.
        expected_positives: k, the mean number of true positives per image.

    Returns:
        A scalar. The second term couples the images of a batch, so there is no `reduction`.

    Raises:
        ValueError: wrong shapes, or labels of an unsigned dtype.

    Source: Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021, where k is 1.5
    for VOC, 2.9 for COCO, 1.9 for NUS-WIDE and 31.4 for CUB.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, -1, -1], [-1, 1, -1]])
        >>> expected_positive_regularisation(logits, labels, expected_positives=2.0)
        tensor(0.2588)
    """
    check_batch(logits, labels)
    return expected_positive_loss(logits, positives(labels, logits.dtype), expected_positives)


def role_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    estimator_logits: Tensor,
    expected_positives: float | Tensor,
) -> Tensor:
    """Regularised online label estimation (ROLE); unknown labels are estimated by parameters.

        L = 1/2 mean[ y (nl(p) + nl(q)) + H(sg q, p) + H(sg p, q) ]
          + 1/2 [ ((mean_b sum_c p - k) / C)^2 + ((mean_b sum_c q - k) / C)^2 ]

        H(t, a) = t nl(a) + (1 - t) nl(1 - a),   q = sigmoid(estimator_logits),   sg: no gradient

    The estimator is one trainable number per training image and class. The authors start unknown
    ones uniformly in logit with q in [0.4, 0.6] and positives at q = 0.995, and train them at ten
    times the learning rate of the network, without weight decay.

    Args:
        logits: float [B, C].
        labels: [B, C]: 1 positive; 0 and -1 are treated alike.
        estimator_logits: float [B, C], the rows of the estimator for this batch, with gradient.
        expected_positives: k, the mean number of true positives per image.

    Returns:
        A scalar. The second line couples the images of a batch, so there is no `reduction`.

    Raises:
        ValueError: wrong shapes, or labels of an unsigned dtype.

    Source: Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, -1, -1], [-1, 1, -1]])
        >>> estimate = torch.zeros(2, 3, requires_grad=True)
        >>> role_loss(logits, labels, estimator_logits=estimate, expected_positives=1.5)
        tensor(0.9242, grad_fn=<MulBackward0>)
    """
    check_batch(logits, labels, estimator_logits=estimator_logits)
    positive = positives(labels, logits.dtype)
    return _role_loss(logits, estimator_logits, positive, expected_positives)


def entropy_maximisation_loss(
    logits: Tensor, labels: Tensor, *, alpha: float | Tensor = 0.1, reduction: str = "mean"
) -> Tensor:
    """Entropy maximisation (EM): the entropy of unknown labels is made large.

        positive:   nl(p)
        negative:   nl(1 - p)
        unknown:   -alpha [ p nl(p) + (1 - p) nl(1 - p) ]

    Args:
        logits: float [B, C].
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        alpha: weight of the entropy; the authors use 0.2 on VOC and 0.01 on CUB.
        reduction: "mean" over all B*C entries, "sum" or "none".

    Returns:
        A scalar, or [B, C] with "none". It may be negative.

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `reduction`.

    Source: Zhou et al., Acknowledging the Unknown for Multi-label Learning with Single Positive
    Labels, ECCV 2022.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, -1, -1], [-1, 1, -1]])
        >>> entropy_maximisation_loss(logits, labels)
        tensor(0.1848)
    """
    check_batch(logits, labels)
    return averaged(partial(entropy_maximisation, alpha=alpha), reduction, logits, labels)


def asymmetric_pseudo_label_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    pseudo_labels: Tensor,
    marked: Tensor,
    alpha: float | Tensor = 0.1,
    beta: float | Tensor = 0.9,
    reduction: str = "mean",
) -> Tensor:
    """Entropy maximisation with asymmetric pseudo labels (EM + APL) on some unknown labels.

        positive:           nl(p)
        negative:           nl(1 - p)
        unknown:           -alpha [ p nl(p) + (1 - p) nl(1 - p) ]
        unknown, marked:    beta [ t nl(p) + (1 - t) nl(1 - p) ]

    In each epoch after a warm-up the authors mark, in every class, the unknown labels with the
    lowest predictions, and keep those predictions as t.

    Args:
        logits: float [B, C].
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        pseudo_labels: float [B, C] in [0, 1], t; read where `marked` is set, without gradient.
        marked: bool [B, C]; read where a label is unknown.
        alpha: weight of the entropy.
        beta: weight of the pseudo labels; the authors use 0.02 on VOC, 0.2 on NUS-WIDE.
        reduction: "mean" over all B*C entries, "sum" or "none".

    Returns:
        A scalar, or [B, C] with "none". It may be negative.

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `reduction`.

    Source: Zhou et al., Acknowledging the Unknown for Multi-label Learning with Single Positive
    Labels, ECCV 2022.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, -1, -1], [-1, 1, -1]])
        >>> state = {"pseudo_labels": torch.full((2, 3), 0.1), "marked": labels == -1}
        >>> asymmetric_pseudo_label_loss(logits, labels, **state)
        tensor(0.6469)
    """
    check_batch(logits, labels, pseudo_labels=pseudo_labels, marked=marked)

    def loss(logits: Tensor, labels: Tensor, soft: Tensor, marked: Tensor) -> Tensor:
        return entropy_maximisation(
            logits, labels, alpha=alpha, soft=soft, marked=marked, beta=beta
        )

    return averaged(loss, reduction, logits, labels, pseudo_labels, marked)
