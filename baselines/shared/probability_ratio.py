"""The ratio of the mean probabilities of negatives and positives, per class and batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.core import hyper
from baselines.shared.rebalancing import GROUPS

READINGS = ("complement", "sigma")


def _mean_or_group(values: Tensor, mask: Tensor, shot: Tensor) -> tuple[Tensor, Tensor]:
    """Masked column means, with the mean of the shot group where a column is empty.

    Returns:
        The means [C], and where they are known, bool [C].
    """
    size = mask.sum(0)
    seen = size > 0
    mean = (values * mask).sum(0) / torch.where(seen, size, 1.0)  # [C]
    group = (shot == torch.arange(len(GROUPS), device=shot.device)[:, None]).to(values.dtype)
    counted = group * seen  # [groups, C]
    classes = counted.sum(1)
    group_mean = (counted * mean).sum(1) / classes.clamp(min=1.0)
    filled = torch.where(seen, mean, group_mean[shot])
    return filled, seen | (classes > 0)[shot]


def mean_probabilities(
    positive: Tensor, negative: Tensor, target: Tensor, shot: Tensor
) -> tuple[Tensor, Tensor]:
    """The mean probabilities of the positive and of the negative labels, per class of a batch.

    A class without positives in the batch takes the mean over the classes of its shot group that
    have positives; if no class has, it takes its own mean negative probability. The same holds for
    a class without negatives, with the roles exchanged.

    Args:
        positive: [B, C], the probability of each label if it is positive.
        negative: [B, C], the probability of each label if it is negative.
        target: floating [B, C], 0 or 1.
        shot: int64 [C], 0, 1 or 2.

    Returns:
        p+ and p-, each [C].

    Source: Lin, AAAI 2023, equations 6 and 7. Equation 7 divides by the number of all tail classes,
    including those without a mean; the paper does not mention missing negatives.
    """
    of_positive, known_positive = _mean_or_group(positive, target, shot)
    of_negative, known_negative = _mean_or_group(negative, 1.0 - target, shot)
    # A class has positives or negatives, so at least one of the two means is known.
    return (
        torch.where(known_positive, of_positive, of_negative),
        torch.where(known_negative, of_negative, of_positive),
    )


def probability_ratio(
    score_positive: Tensor,
    score_negative: Tensor,
    target: Tensor,
    shot: Tensor,
    *,
    negative_probability: str = "complement",
    limit: float | Tensor = 1e12,
) -> Tensor:
    """The ratio p- / p+ of each class, from `mean_probabilities`; without gradient.

        p+ = mean of sigmoid(u+) over positives
        p- = mean of 1 - sigmoid(u-) over negatives        negative_probability = "complement"
        p- = mean of sigmoid(u-) over negatives            negative_probability = "sigma"

    Args:
        score_positive: u+ [B, C], the score of each label if it is positive.
        score_negative: u- [B, C], the score of each label if it is negative.
        target: floating [B, C], 0 or 1.
        shot: int64 [C], 0, 1 or 2.
        negative_probability: see above.
        limit: the ratio is clamped to [1 / limit, limit], which keeps it finite in float32.

    Returns:
        [C].

    Raises:
        ValueError: an unknown `negative_probability`.

    Source: Lin, AAAI 2023, equation 6 prints p for both. The introduction and table 1 of the paper
    hold for 1 - p on negatives and not for p, hence the default "complement".
    """
    if negative_probability not in READINGS:
        raise ValueError(
            f"negative_probability is '{negative_probability}'; it must be one of {list(READINGS)}"
        )
    sign = -1.0 if negative_probability == "complement" else 1.0
    positive = torch.sigmoid(score_positive.detach())
    negative = torch.sigmoid(sign * score_negative.detach())
    of_positive, of_negative = mean_probabilities(positive, negative, target, shot)
    ratio = of_negative / of_positive.clamp(min=torch.finfo(target.dtype).tiny)
    bound = torch.as_tensor(limit, dtype=ratio.dtype, device=ratio.device)
    return ratio.clamp(min=1.0 / bound, max=bound)


@dataclass(frozen=True)
class RatioHyper:
    """Hyperparameters of the ratio of mean probabilities, and the exponent."""

    gamma: float = hyper(
        2.0,
        "lambda0, the focal exponent if positives and negatives are predicted equally well",
        search=(0.5, 4.0),
        paper={"voc-lt": 2.0, "coco-lt": 2.0},
        low=0.0,
    )
    negative_probability: str = hyper(
        "complement",
        "mean over negatives of 1 - p, or of p as printed in the paper",
        search=READINGS,
        choices=READINGS,
    )
    limit: float = hyper(
        1e12,
        "the ratio of means is clamped to [1/limit, limit]; not in the paper",
        search=(10.0, 100.0, 1e12),
        low=1.0,
        high=1e12,
    )
