"""The losses of Lin, Probability Guided Loss, AAAI 2023: PR, APAF and PG.

All of them count unknown labels as negative. `shot` names the shot group of each class: 0 head
(many), 1 medium, 2 tail (few). With the paper's thresholds it is

    shot = (class_counts < 100).long() + (class_counts < 20).long()
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from baselines.apaf import adaptive_focal_loss as _adaptive_focal_loss
from baselines.core import Run, positives
from baselines.pg import DIRECTIONS, Guidance
from baselines.pg import probability_guided_loss as _probability_guided_loss
from baselines.pr import probability_rebalancing_loss as _probability_rebalancing_loss
from baselines.shared.rebalancing import (
    FACTORS,
    GROUPS,
    Factors,
    Rebalanced,
    RebalancingHyper,
    selections,
)
from benchkit.losses.checks import check_batch, check_choice, check_classes, scalar


def adaptive_focal_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    shot: Tensor,
    gamma: float | Tensor = 2.0,
    negative_probability: str = "complement",
    limit: float | Tensor = 1e12,
    reduction: str = "mean",
) -> Tensor:
    """Adaptive probability-aware focal loss (APAF); unknown labels count as negative.

        lambda+ = gamma p+ / p-,   lambda- = gamma p- / p+          constant for the gradient
        y = 1:  -(1 - p)^lambda+ log p,   y = 0:  -p^lambda- log(1 - p)

    p+ and p- are means over the batch, per class: p over the positives and 1 - p over the
    negatives. A class without positives in the batch takes the mean of its shot group.

    Args:
        logits: float [B, C].
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        shot: int64 [C], the shot group of each class: 0, 1 or 2.
        gamma: lambda0, the exponent where both means are equal.
        negative_probability: "complement" for the mean of 1 - p over negatives; "sigma" for the
            mean of p, as the paper prints it.
        limit: the ratio of the means is kept within 1 / limit and limit.
        reduction: "mean" over all B*C entries, "sum" or "none".

    Returns:
        A scalar, or [B, C] with "none".

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown choice.

    Source: Lin, Probability Guided Loss for Long-Tailed Multi-Label Image Classification, AAAI
    2023, equations 6 to 9; equation 9 is printed without its minus signs.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, 0, -1], [0, 1, 0]])
        >>> adaptive_focal_loss(logits, labels, shot=torch.tensor([0, 1, 2]))
        tensor(0.1733)
    """
    check_batch(logits, labels)
    check_classes(logits, shot=shot)
    return _adaptive_focal_loss(
        logits,
        positives(labels, logits.dtype),
        shot,
        gamma=gamma,
        negative_probability=negative_probability,
        limit=limit,
        reduction=reduction,
    )


def probability_rebalancing_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    class_counts: Tensor,
    num_images: int | Tensor,
    shot: Tensor,
    lambda1_negative: float | Tensor = 5.0,
    lambda2_negative: float | Tensor = 5.0,
    lambda1_positive: float | Tensor = 1.0,
    lambda2_positive: float | Tensor = 1.0,
    raised: str = "lambda1_negative+lambda2_positive",
    raised_groups: str = "tail",
    raise_lambda1_negative: float | Tensor = 1.4,
    raise_lambda2_negative: float | Tensor = 2.0,
    raise_lambda1_positive: float | Tensor = 2.0,
    raise_lambda2_positive: float | Tensor = 2.0,
    kappa: float | Tensor = 0.05,
    bias: str = "code",
    rebalance: bool = True,
    alpha: float | Tensor = 0.1,
    beta: float | Tensor = 10.0,
    mu: float | Tensor = 0.3,
    reduction: str = "mean",
) -> Tensor:
    """Probability re-balancing (PR); unknown labels count as negative.

        y = 1:  w softplus(-lambda1+ (z - v)) / lambda2+
        y = 0:  w softplus(lambda1- (z - v)) / lambda2-

    v is the class bias of `negative_tolerant_loss` with lambda = lambda1-, before it is raised, and
    w the weight of `rebalanced_bce`. Some of the four factors are raised in some shot groups.

    Args:
        logits: float [B, C], z; evaluate without bias and factors.
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        class_counts: [C], n_c; kept between 1 and N - 1.
        num_images: N.
        shot: int64 [C], the shot group of each class: 0, 1 or 2.
        lambda1_negative: steepness of the negative term, above 0.
        lambda2_negative: divisor of the negative term.
        lambda1_positive: steepness of the positive term.
        lambda2_positive: divisor of the positive term.
        raised: the raised factors, joined by "+", or "none".
        raised_groups: the groups in which they are raised: "head", "medium" and "tail", joined by
            "+", or "none".
        raise_lambda1_negative: multiplies lambda1_negative where it is raised.
        raise_lambda2_negative: multiplies lambda2_negative where it is raised.
        raise_lambda1_positive: multiplies lambda1_positive where it is raised.
        raise_lambda2_positive: multiplies lambda2_positive where it is raised.
        kappa: strength of the class bias.
        bias: "code" or "paper", see `negative_tolerant_loss`.
        rebalance: False sets w to 1.
        alpha: the least weight w.
        beta: steepness of w.
        mu: centre of w.
        reduction: "mean" over all B*C entries, "sum" or "none".

    Returns:
        A scalar, or [B, C] with "none".

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown choice.

    Source: Lin, Probability Guided Loss, AAAI 2023, equation 5. By how much a factor is raised is
    not given there.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, 0, -1], [0, 1, 0]])
        >>> statistics = {"class_counts": torch.tensor([64, 16, 4]), "num_images": 100}
        >>> shot = torch.tensor([1, 2, 2])
        >>> probability_rebalancing_loss(logits, labels, **statistics, shot=shot)
        tensor(0.2684)
    """
    check_batch(logits, labels)
    check_classes(logits, class_counts=class_counts, shot=shot)
    hyper: dict[str, Any] = dict(
        lambda1_negative=lambda1_negative,
        lambda2_negative=lambda2_negative,
        lambda1_positive=lambda1_positive,
        lambda2_positive=lambda2_positive,
        raised=raised,
        raised_groups=raised_groups,
        raise_lambda1_negative=raise_lambda1_negative,
        raise_lambda2_negative=raise_lambda2_negative,
        raise_lambda1_positive=raise_lambda1_positive,
        raise_lambda2_positive=raise_lambda2_positive,
        kappa=kappa,
        bias=bias,
        rebalance=rebalance,
        alpha=alpha,
        beta=beta,
        mu=mu,
    )
    target = positives(labels, logits.dtype)
    size = scalar(num_images, logits)
    shift, factors, weight = _parts(target, class_counts, size, shot, hyper)
    return _probability_rebalancing_loss(
        logits, target, shift, factors, weight=weight, reduction=reduction
    )


def probability_guided_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    class_counts: Tensor,
    num_images: int | Tensor,
    shot: Tensor,
    focal: str = "adaptive",
    gamma: float | Tensor = 2.0,
    balance: float | Tensor = 1.0,
    probability: str = "raw",
    negative_probability: str = "complement",
    limit: float | Tensor = 1e12,
    adaptive: str = "lambda1_negative",
    lambda1_positive_adapts: str = "narrow",
    lambda1_negative: float | Tensor = 5.0,
    lambda2_negative: float | Tensor = 5.0,
    lambda1_positive: float | Tensor = 1.0,
    lambda2_positive: float | Tensor = 1.0,
    raised: str = "lambda1_negative+lambda2_positive",
    raised_groups: str = "tail",
    raise_lambda1_negative: float | Tensor = 1.4,
    raise_lambda2_negative: float | Tensor = 2.0,
    raise_lambda1_positive: float | Tensor = 2.0,
    raise_lambda2_positive: float | Tensor = 2.0,
    kappa: float | Tensor = 0.05,
    bias: str = "code",
    rebalance: bool = True,
    alpha: float | Tensor = 0.1,
    beta: float | Tensor = 10.0,
    mu: float | Tensor = 0.3,
    reduction: str = "mean",
) -> Tensor:
    """Probability guided loss (PG); unknown labels count as negative.

        y = 1:  w balance (1 - p)^lambda+ softplus(-lambda1+ (z - v)) / lambda2+
        y = 0:  w balance p^lambda- softplus(lambda1- (z - v)) / lambda2-
        lambda1- <- lambda1- p- / p+

    It is PR with adaptive factors and exponents: v, w and the raised factors are those of
    `probability_rebalancing_loss`, the exponents lambda+ and lambda- and the means p+ and p- those
    of `adaptive_focal_loss`.

    Args:
        logits: float [B, C], z; evaluate without bias and factors.
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        class_counts: [C], n_c; kept between 1 and N - 1.
        num_images: N.
        shot: int64 [C], the shot group of each class: 0, 1 or 2.
        focal: "adaptive" as above, "fixed" for both exponents gamma, or "none" without the powers
            and `balance`.
        gamma: lambda0, the exponent where both means are equal.
        balance: factor of the focal loss.
        probability: the p of the powers and means: "raw" for sigmoid(z), "regularised" for
            sigmoid(lambda1 (z - v)).
        negative_probability: see `adaptive_focal_loss`.
        limit: see `adaptive_focal_loss`.
        adaptive: the factors that follow the ratio p- / p+: names among lambda1_negative,
            lambda1_positive and lambda2_positive, joined by "+", or "none".
        lambda1_positive_adapts: "narrow" lets an adaptive lambda1_positive rise where negatives
            lead; "literal" inverts it, as equation 8 is printed.
        lambda1_negative: this and all that follow: see `probability_rebalancing_loss`.
        lambda2_negative: see there.
        lambda1_positive: see there.
        lambda2_positive: see there.
        raised: see there.
        raised_groups: see there.
        raise_lambda1_negative: see there.
        raise_lambda2_negative: see there.
        raise_lambda1_positive: see there.
        raise_lambda2_positive: see there.
        kappa: see there.
        bias: see there.
        rebalance: see there.
        alpha: see there.
        beta: see there.
        mu: see there.
        reduction: "mean" over all B*C entries, "sum" or "none".

    Returns:
        A scalar, or [B, C] with "none".

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown choice.

    Source: Lin, Probability Guided Loss for Long-Tailed Multi-Label Image Classification, AAAI
    2023, equation 10, with the signs of its exponents corrected.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, 0, -1], [0, 1, 0]])
        >>> statistics = {"class_counts": torch.tensor([64, 16, 4]), "num_images": 100}
        >>> shot = torch.tensor([1, 2, 2])
        >>> probability_guided_loss(logits, labels, **statistics, shot=shot)
        tensor(0.0671)
    """
    check_batch(logits, labels)
    check_classes(logits, class_counts=class_counts, shot=shot)
    check_choice("lambda1_positive_adapts", lambda1_positive_adapts, DIRECTIONS)
    guidance = Guidance(
        adaptive=adaptive,
        lambda1_positive=lambda1_positive_adapts,
        focal=focal,
        probability=probability,
        negative_probability=negative_probability,
    )
    hyper: dict[str, Any] = dict(
        lambda1_negative=lambda1_negative,
        lambda2_negative=lambda2_negative,
        lambda1_positive=lambda1_positive,
        lambda2_positive=lambda2_positive,
        raised=raised,
        raised_groups=raised_groups,
        raise_lambda1_negative=raise_lambda1_negative,
        raise_lambda2_negative=raise_lambda2_negative,
        raise_lambda1_positive=raise_lambda1_positive,
        raise_lambda2_positive=raise_lambda2_positive,
        kappa=kappa,
        bias=bias,
        rebalance=rebalance,
        alpha=alpha,
        beta=beta,
        mu=mu,
    )
    target = positives(labels, logits.dtype)
    size = scalar(num_images, logits)
    shift, factors, weight = _parts(target, class_counts, size, shot, hyper)
    return _probability_guided_loss(
        logits,
        target,
        shift,
        shot,
        factors,
        guidance,
        gamma=gamma,
        balance=balance,
        limit=limit,
        weight=weight,
        reduction=reduction,
    )


def _parts(
    target: Tensor, class_counts: Tensor, num_images: Tensor, shot: Tensor, hyper: dict[str, Any]
) -> tuple[Tensor, Factors, Tensor | None]:
    """The class bias v [C], the raised factors and the weight w [B, C] or None."""
    method = Rebalanced(RebalancingHyper(**hyper))
    check_choice("raised", method.hyper.raised, selections(FACTORS))
    check_choice("raised_groups", method.hyper.raised_groups, selections(GROUPS))
    raised = torch.zeros_like(shot, dtype=torch.bool)
    for code, group in enumerate(GROUPS):
        if group in method.hyper.raised_groups.split("+"):
            raised = raised | (shot == code)
    run = Run(
        {},
        constants={
            "class_counts": class_counts,
            "num_images": num_images,
            "shot": shot,
            "raised": raised,
        },
    )
    dtype = target.dtype
    return method.shift(run, dtype), method.factors(run, dtype), method.weight(run, target)
