"""APAF: focal exponents that follow the mean probabilities of each class in the batch.

The label that a class already predicts better, positive or negative, gets the larger exponent, so
that the other one catches up.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.core import Batch, Clock, Draw, MethodInfo, Problem, Run, Setup, hyper, positives
from baselines.core.losses import reduced
from baselines.db_focal import Counting, CountsHyper, Resampled, SamplerHyper
from baselines.pr import GROUPS, ThresholdHyper, shot_groups

READINGS = ("complement", "sigma")


def _mean_or_group(values: Tensor, mask: Tensor, shot: Tensor) -> tuple[Tensor, Tensor]:
    """Column means under a mask, or else the mean of its group's other columns; and where known."""
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
    """The mean probability of the positive and of the negative labels of each class in a batch.

    A class without positives in the batch takes the mean over the classes of its shot group that
    have some; if there is none, its mean negative probability. For a class without negatives the
    same holds with the roles exchanged.

    Args:
        positive: [B, C], probability of a label if it is positive.
        negative: [B, C], probability of a label if it is negative.
        target: floating [B, C], 0 or 1.
        shot: int64 [C], 0, 1 or 2.

    Returns:
        p+ and p-, each [C].

    Source: Lin, AAAI 2023, equations 6 and 7. Equation 7 divides by the number of tail classes,
    also of those that have no mean to add; missing negatives are not mentioned.
    """
    of_positive, known_positive = _mean_or_group(positive, target, shot)
    of_negative, known_negative = _mean_or_group(negative, 1.0 - target, shot)
    # A class has positives or negatives, so that one of the two is always known.
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
    """How far negatives lead, p- / p+ of each class, from `mean_probabilities`; no gradient.

        p+ = mean of sigmoid(u+) over positives
        p- = mean of 1 - sigmoid(u-) over negatives        negative_probability = "complement"
        p- = mean of sigmoid(u-) over negatives            negative_probability = "sigma"

    Args:
        score_positive: [B, C], u+: the score of a label if it is positive.
        score_negative: [B, C], u-: the score of a label if it is negative.
        target: floating [B, C], 0 or 1.
        shot: int64 [C], 0, 1 or 2.
        negative_probability: see above.
        limit: the ratio is kept within 1 / limit and limit, which keeps it finite in float32.

    Returns:
        [C].

    Raises:
        ValueError: an unknown `negative_probability`.

    Source: Lin, AAAI 2023, equation 6, prints p for both. Its introduction and table 1 are true of
    1 - p on negatives and false of p, hence "complement".
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


def adaptive_focal_loss(
    logits: Tensor,
    target: Tensor,
    shot: Tensor,
    *,
    gamma: float | Tensor = 2.0,
    negative_probability: str = "complement",
    limit: float | Tensor = 1e12,
    reduction: str = "mean",
) -> Tensor:
    """Adaptive probability-aware focal loss.

        lambda+ = gamma p+ / p-,   lambda- = gamma p- / p+            constants for the gradient
        y = 1:  -(1 - p)^lambda+ log p
        y = 0:  -p^lambda- log(1 - p),   p = sigmoid(z)

    p+ and p- are those of `probability_ratio`, per class and batch. Where they are equal it is the
    focal loss with exponent gamma.

    Args:
        logits: [B, C].
        target: [B, C], 0 or 1.
        shot: int64 [C], the shot group of each class, see `baselines.pr.shot_groups`.
        gamma: lambda0, the exponent at equal means.
        negative_probability: see `probability_ratio`.
        limit: see `probability_ratio`.
        reduction: "mean" over all B*C entries, "sum", or "none" for [B, C].

    Returns:
        A scalar, or [B, C].

    Raises:
        ValueError: an unknown `negative_probability` or `reduction`.

    Source: Lin, Probability Guided Loss, AAAI 2023, equations 6 to 9. Equation 9 lacks the minus
    signs of equation 4. No code was published.
    """
    target = target.to(logits.dtype)
    ratio = probability_ratio(
        logits, logits, target, shot, negative_probability=negative_probability, limit=limit
    )
    log_positive, log_negative = F.logsigmoid(logits), F.logsigmoid(-logits)
    # Powers in the logarithm: exact near 1, and finite in value and gradient everywhere.
    positive = -torch.exp(gamma / ratio * log_negative) * log_positive
    negative = -torch.exp(gamma * ratio * log_positive) * log_negative
    return reduced(target * positive + (1.0 - target) * negative, reduction)


@dataclass(frozen=True)
class RatioHyper:
    """The ratio of mean probabilities and the exponent."""

    gamma: float = hyper(
        2.0,
        "lambda0, the focal exponent where positives and negatives are predicted equally well",
        search=(0.5, 4.0),
        paper={"voc-lt": 2.0, "coco-lt": 2.0},
        low=0.0,
    )
    negative_probability: str = hyper(
        "complement",
        "mean of 1 - p or, as printed, of p over negatives",
        search=READINGS,
        choices=READINGS,
    )
    limit: float = hyper(
        1e12,
        "the ratio of means is kept within 1/limit and limit; not in the paper",
        search=(10.0, 100.0, 1e12),
        low=1.0,
        high=1e12,
    )


@dataclass(frozen=True)
class Hyper(SamplerHyper, CountsHyper, ThresholdHyper, RatioHyper):
    """Hyperparameters of APAF."""


class APAF(Counting, Resampled):
    """Adaptive probability-aware focal loss, class-aware rows; unknown counts as negative."""

    info = MethodInfo(
        key="apaf",
        title="APAF",
        paper="Lin, Probability Guided Loss for Long-Tailed Multi-Label Image Classification, "
        "AAAI 2023",
        year=2023,
        equation="p+ = mean of p over a class's positives in the batch, p- = mean of 1-p over its "
        "negatives;\nlambda+ = gamma p+/p-, lambda- = gamma p-/p+, constants;\n"
        "L = -mean_{b,c} [ y (1-p)^lambda+ log p + (1-y) p^lambda- log(1-p) ],  unknown -> y = 0",
        unknown="negative",
        needs=("class counts", "class-aware sampling"),
        differs="No code was published. Printed without its minus sign, and with p where only 1-p "
        "fits the text (negative_probability=sigma is the printed one). The mean over a group is "
        "over its classes that have one. Held constant: that the exponents carry no gradient is "
        "inferred. A class without negatives is treated as the paper treats one without "
        "positives. Shot groups are of the observed counts.",
        source="equations",
        reference="Lin, AAAI 2023, with the signs of the printed equations corrected",
        tolerance="1e-9; step 1e-6 in float32",
        evidence=(
            "tests/baselines/test_long_tail_vectors.py::test_equals_the_vectors",
            "tests/baselines/test_apaf.py::test_means_of_the_vectors",
            "tests/baselines/test_apaf.py::test_numpy_reference",
            "tests/baselines/test_apaf.py::test_method",
        ),
    )
    Hyper = Hyper

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """Besides head and counts, each class's shot group."""
        setup = super().setup(problem, draw)
        counts = setup.constants["class_counts"]
        setup.constants["shot"] = shot_groups(counts, self.hyper.many, self.hyper.few)
        return setup

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """The equation of `adaptive_focal_loss`."""
        return adaptive_focal_loss(
            logits,
            positives(batch.observed, logits.dtype),
            run.constants["shot"],
            gamma=self.hyper.gamma,
            negative_probability=self.hyper.negative_probability,
            limit=self.hyper.limit,
        )
