"""Losses for long-tailed classes: class weights, class margins and tolerant negatives.

All of them count unknown labels as negative. `class_counts` are the observed positives per class of
the training set, `(labels == 1).sum(0)`, and `num_images` is its number of images, not the batch's.
"""

from __future__ import annotations

from torch import Tensor

from baselines.cb_focal import class_balanced_focal_loss as _class_balanced_focal_loss
from baselines.core.losses import positives
from baselines.ldam import ldam_loss as _ldam_loss
from baselines.ntr import negative_tolerant_loss as _negative_tolerant_loss
from baselines.r_bce import rebalanced_bce as _rebalanced_bce
from baselines.rw import reweighted_bce as _reweighted_bce
from baselines.shared.distribution_balanced import (
    distribution_balanced_loss as _distribution_balanced_loss,
)
from benchkit.losses.checks import check_batch, check_classes, scalar


def reweighted_bce(
    logits: Tensor,
    labels: Tensor,
    *,
    class_counts: Tensor,
    num_images: int | Tensor,
    form: str = "inverse-sqrt",
    reduction: str = "mean",
) -> Tensor:
    """Binary cross-entropy with a weight per class (RW); unknown labels count as negative.

        element = s_c (-y log p - (1 - y) log(1 - p))
        s_c = sqrt(N / n_c)      form = "inverse-sqrt"
        s_c = N / n_c            form = "inverse"

    Args:
        logits: float [B, C].
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        class_counts: [C], n_c; a count below 1 is taken as 1.
        num_images: N.
        form: see above.
        reduction: "mean" over all B*C entries, "sum" or "none".

    Returns:
        A scalar, or [B, C] with "none".

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `form` or `reduction`.

    Source: the re-weighting row of Wu et al., Distribution-Balanced Loss, ECCV 2020.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, 0, -1], [0, 1, 0]])
        >>> reweighted_bce(logits, labels, class_counts=torch.tensor([64, 16, 4]), num_images=64)
        tensor(1.6173)
    """
    check_batch(logits, labels)
    check_classes(logits, class_counts=class_counts)
    target = positives(labels, logits.dtype)
    return _reweighted_bce(
        logits, target, class_counts, scalar(num_images, logits), form=form, reduction=reduction
    )


def class_balanced_focal_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    class_counts: Tensor,
    beta: float | Tensor = 0.9,
    mode: str = "average_w",
    gamma: float | Tensor = 2.0,
    balance: float | Tensor = 2.0,
    reduction: str = "mean",
) -> Tensor:
    """Class-balanced focal loss (CB-Focal); unknown labels count as negative.

        E(n) = (1 - beta) / (1 - beta^n)
        element = balance w (1 - p_t)^gamma e,   e = BCE(z, y),   p_t = exp(-e)

        w = mean of E(n_c) over the image's positives       mode = "average_w"
        w = E(mean of n_c over the image's positives)       mode = "average_n"
        w = E(least n_c among the image's positives)        mode = "min_n"
        w = E(n_c)                                          mode = "by_class"

    An image without positives has the weight E(100000).

    Args:
        logits: float [B, C].
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        class_counts: [C], n_c; a count below 1 is taken as 1.
        beta: in [0, 1); with 0 all weights are 1.
        mode: see above.
        gamma: focal exponent, at least 0.
        balance: factor on both classes.
        reduction: "mean" over all B*C entries, "sum" or "none".

    Returns:
        A scalar, or [B, C] with "none".

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `mode` or `reduction`.

    Source: Cui et al., Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019, in the
    multi-label form of the code of the DB loss.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, 0, -1], [0, 1, 0]])
        >>> class_balanced_focal_loss(logits, labels, class_counts=torch.tensor([64, 16, 4]))
        tensor(0.0386)
    """
    check_batch(logits, labels)
    check_classes(logits, class_counts=class_counts)
    return _class_balanced_focal_loss(
        logits,
        positives(labels, logits.dtype),
        class_counts,
        beta=beta,
        mode=mode,
        gamma=gamma,
        balance=balance,
        reduction=reduction,
    )


def ldam_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    class_counts: Tensor,
    max_margin: float | Tensor = 0.5,
    scale: float | Tensor = 1.0,
    reduction: str = "mean",
) -> Tensor:
    """Label-distribution-aware margins (LDAM) per class; unknown labels count as negative.

        Delta_c = m n_c^(-1/4) / max_j n_j^(-1/4)
        z' = s (z - Delta_c y),   element = softplus(z') - y z'

    Args:
        logits: float [B, C], z; evaluate without the margin.
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        class_counts: [C], n_c; a count below 1 is taken as 1.
        max_margin: m, the margin of the rarest class.
        scale: s, above 0; 1 for a linear head, 30 for cosines.
        reduction: "mean" over all B*C entries, "sum" or "none".

    Returns:
        A scalar, or [B, C] with "none".

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `reduction`.

    Source: Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss,
    NeurIPS 2019. The paper is about one label per image; this form for several labels is ours.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, 0, -1], [0, 1, 0]])
        >>> ldam_loss(logits, labels, class_counts=torch.tensor([64, 16, 4]))
        tensor(0.7473)
    """
    check_batch(logits, labels)
    check_classes(logits, class_counts=class_counts)
    return _ldam_loss(
        logits,
        positives(labels, logits.dtype),
        class_counts,
        max_margin=max_margin,
        scale=scale,
        reduction=reduction,
    )


def rebalanced_bce(
    logits: Tensor,
    labels: Tensor,
    *,
    class_counts: Tensor,
    alpha: float | Tensor = 0.1,
    beta: float | Tensor = 10.0,
    mu: float | Tensor = 0.3,
    reduction: str = "mean",
) -> Tensor:
    """Binary cross-entropy with rebalanced weights (R-BCE); unknown labels count as negative.

        r = (1 / n_c) / sum_j y_j / n_j,   w = alpha + sigmoid(beta (r - mu))
        element = w (-y log p - (1 - y) log(1 - p))

    An image without positives has the weight 1 + alpha.

    Args:
        logits: float [B, C].
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        class_counts: [C], n_c; a count below 1 is taken as 1.
        alpha: the least weight.
        beta: steepness of the sigmoid.
        mu: the ratio r at which the sigmoid is one half.
        reduction: "mean" over all B*C entries, "sum" or "none".

    Returns:
        A scalar, or [B, C] with "none".

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `reduction`.

    Source: Wu et al., Distribution-Balanced Loss for Multi-Label Classification in Long-Tailed
    Datasets, ECCV 2020.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, 0, -1], [0, 1, 0]])
        >>> rebalanced_bce(logits, labels, class_counts=torch.tensor([64, 16, 4]))
        tensor(0.6903)
    """
    check_batch(logits, labels)
    check_classes(logits, class_counts=class_counts)
    return _rebalanced_bce(
        logits,
        positives(labels, logits.dtype),
        class_counts,
        alpha=alpha,
        beta=beta,
        mu=mu,
        reduction=reduction,
    )


def negative_tolerant_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    class_counts: Tensor,
    num_images: int | Tensor,
    neg_scale: float | Tensor = 5.0,
    kappa: float | Tensor = 0.05,
    bias: str = "code",
    reduction: str = "mean",
) -> Tensor:
    """Negative-tolerant regularisation (NTR); unknown labels count as negative.

        v_c = (kappa / lambda) log(N / n_c - 1)      bias = "code"
        v_c = kappa log(N / n_c - 1)                 bias = "paper"
        y = 1:  softplus(-(z - v)),   y = 0:  softplus(lambda (z - v)) / lambda

    Args:
        logits: float [B, C], z; evaluate without the bias.
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        class_counts: [C], n_c; kept between 1 and N - 1.
        num_images: N.
        neg_scale: lambda, above 0.
        kappa: strength of the class bias v.
        bias: see above; the authors' published numbers come from "code".
        reduction: "mean" over all B*C entries, "sum" or "none".

    Returns:
        A scalar, or [B, C] with "none".

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `bias` or `reduction`.

    Source: Wu et al., Distribution-Balanced Loss for Multi-Label Classification in Long-Tailed
    Datasets, ECCV 2020.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, 0, -1], [0, 1, 0]])
        >>> counts = torch.tensor([64, 16, 4])
        >>> negative_tolerant_loss(logits, labels, class_counts=counts, num_images=100)
        tensor(0.3184)
    """
    check_batch(logits, labels)
    check_classes(logits, class_counts=class_counts)
    return _negative_tolerant_loss(
        logits,
        positives(labels, logits.dtype),
        class_counts,
        scalar(num_images, logits),
        neg_scale=neg_scale,
        kappa=kappa,
        bias=bias,
        reduction=reduction,
    )


def distribution_balanced_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    class_counts: Tensor,
    num_images: int | Tensor,
    alpha: float | Tensor = 0.1,
    beta: float | Tensor = 10.0,
    mu: float | Tensor = 0.3,
    neg_scale: float | Tensor = 5.0,
    kappa: float | Tensor = 0.05,
    bias: str = "code",
    gamma: float | Tensor = 2.0,
    balance: float | Tensor = 2.0,
    focal: bool = True,
    rebalance: bool = True,
    regularise: bool = True,
    reduction: str = "mean",
) -> Tensor:
    """Distribution-balanced loss (DB-Focal, or DB); unknown labels count as negative.

        w: `rebalanced_bce`, v: `negative_tolerant_loss`
        y = 1:  z' = z - v, w' = w;   y = 0:  z' = lambda (z - v), w' = w / lambda
        element = balance (1 - exp(-e))^gamma w' e,   e = BCE(z', y)

    Args:
        logits: float [B, C], z; evaluate without bias and scaling.
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        class_counts: [C], n_c; kept between 1 and N - 1.
        num_images: N.
        alpha: the least rebalanced weight.
        beta: steepness of the rebalanced weight.
        mu: centre of the rebalanced weight; the authors use 0.2 on COCO-LT.
        neg_scale: lambda, above 0; the authors use 2 on COCO-LT.
        kappa: strength of the class bias.
        bias: "code" or "paper", see `negative_tolerant_loss`.
        gamma: focal exponent, at least 0.
        balance: factor of the focal loss.
        focal: False leaves out the factor balance (1 - exp(-e))^gamma, which is DB.
        rebalance: False sets w to 1.
        regularise: False sets v to 0 and lambda to 1.
        reduction: "mean" over all B*C entries, "sum" or "none".

    Returns:
        A scalar, or [B, C] with "none".

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `bias` or `reduction`.

    Source: Wu et al., Distribution-Balanced Loss for Multi-Label Classification in Long-Tailed
    Datasets, ECCV 2020. The paper's bias does not divide kappa by lambda; the authors' code does.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, 0, -1], [0, 1, 0]])
        >>> counts = torch.tensor([64, 16, 4])
        >>> distribution_balanced_loss(logits, labels, class_counts=counts, num_images=100)
        tensor(0.1641)
    """
    check_batch(logits, labels)
    check_classes(logits, class_counts=class_counts)
    return _distribution_balanced_loss(
        logits,
        positives(labels, logits.dtype),
        class_counts,
        scalar(num_images, logits),
        alpha=alpha,
        beta=beta,
        mu=mu,
        neg_scale=neg_scale,
        kappa=kappa,
        bias=bias,
        focal=focal,
        gamma=gamma,
        balance=balance,
        rebalance=rebalance,
        regularise=regularise,
        reduction=reduction,
    )
