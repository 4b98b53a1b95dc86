"""CB-Focal: focal loss weighted by the effective number of images per class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.core import Batch, Clock, Draw, MethodInfo, Run, hyper, positives
from baselines.shared.class_aware import Counting, CountsHyper, Resampled, SamplerHyper
from baselines.shared.focal import focal_loss

MODES = ("average_w", "average_n", "min_n", "by_class")
NO_POSITIVE = 100_000.0  # the count that is used for an image without positives


def effective_weight(count: Tensor, beta: float | Tensor) -> Tensor:
    """The inverse of the effective number: E(n) = (1 - beta) / (1 - beta^n).

    E(1) = 1, and E decreases towards 1 - beta; with beta = 0 it is 1 for every count. It is
    computed in float64, because float32 keeps only four digits of 1 - 0.9999.

    Args:
        count: floating, any shape, at least 1.
        beta: in [0, 1).

    Returns:
        The shape of `count`.

    Source: Cui et al., CVPR 2019, equation 5.
    """
    beta = torch.as_tensor(beta, dtype=torch.float64, device=count.device)
    weight = (1.0 - beta) / -torch.expm1(count.double() * torch.log(beta))
    return weight.to(count.dtype)


def class_balanced_weight(
    target: Tensor, class_counts: Tensor, *, beta: float | Tensor, mode: str = "average_w"
) -> Tensor:
    """The class-balanced weight of images or classes.

        by_class    w_c = E(n_c)
        average_w   w_b = sum_c y_bc E(n_c) / sum_c y_bc
        average_n   w_b = E( sum_c y_bc n_c / sum_c y_bc )
        min_n       w_b = E( min over c with y_bc = 1 of n_c )

    An image without positives has the weight E(100000), which is about 1 - beta unless 1 - beta is
    tiny. A class count below one counts as one.

    Args:
        target: [B, C], 0 or 1.
        class_counts: floating [C], positives per class, n_c.
        beta: see `effective_weight`.
        mode: see above.

    Returns:
        [C] with "by_class", else [B, 1].

    Raises:
        ValueError: an unknown `mode`.

    Source: Cui et al., CVPR 2019, with the modes of the DB-loss code. There, an image without
    positives has the weight E(100000) with "min_n" and NaN with the averages.
    """
    if mode not in MODES:
        raise ValueError(f"mode is '{mode}'; it must be one of {list(MODES)}")
    counts = class_counts.clamp(min=1.0)
    if mode == "by_class":
        return effective_weight(counts, beta)
    total = target.sum(1, keepdim=True)  # [B, 1]
    if mode == "min_n":
        smallest = torch.where(target > 0, counts, NO_POSITIVE).amin(1, keepdim=True)
        return effective_weight(smallest, beta)
    value = effective_weight(counts, beta) if mode == "average_w" else counts
    mean = (target * value).sum(1, keepdim=True) / total.clamp(min=1.0)
    none = torch.full_like(mean, NO_POSITIVE)
    if mode == "average_w":
        return torch.where(total > 0, mean, effective_weight(none, beta))
    return effective_weight(torch.where(total > 0, mean, none), beta)


def class_balanced_focal_loss(
    logits: Tensor,
    target: Tensor,
    class_counts: Tensor,
    *,
    beta: float | Tensor = 0.9,
    mode: str = "average_w",
    gamma: float | Tensor = 2.0,
    balance: float | Tensor = 2.0,
    reduction: str = "mean",
) -> Tensor:
    """Class-balanced focal loss: element = balance w (1 - p_t)^gamma e.

    e and p_t are those of `baselines.shared.focal.focal_loss`; w is `class_balanced_weight` and
    multiplies positives and negatives alike. With beta = 0 this is the focal loss.

    Args:
        logits: [B, C].
        target: [B, C], 0 or 1.
        class_counts: [C], positives per class of the training set.
        beta: see `effective_weight`.
        mode: see `class_balanced_weight`.
        gamma: focal exponent, at least 0.
        balance: factor on both classes.
        reduction: "mean" over all B*C entries, "sum", or "none" for [B, C].

    Returns:
        A scalar, or [B, C].

    Raises:
        ValueError: an unknown `mode` or `reduction`.

    Source: Cui et al., Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019, in the
    multi-label form of the DB-loss code.
    """
    target = target.to(logits.dtype)
    weight = class_balanced_weight(target, class_counts.to(logits.dtype), beta=beta, mode=mode)
    return focal_loss(
        logits, target, gamma=gamma, balance=balance, weight=weight, reduction=reduction
    )


@dataclass(frozen=True)
class Hyper(SamplerHyper, CountsHyper):
    """Hyperparameters of CB-Focal; the published tables do not state theirs."""

    beta: float = hyper(
        0.9,
        "beta of the effective number; the default of the DB-loss code",
        search=(0.9, 0.99, 0.999, 0.9999),
        low=0.0,
        high=0.99999,
    )
    mode: str = hyper(
        "average_w",
        "weight per image, by the mean weight, mean count or smallest count of its classes, or "
        "weight per class; the default of the DB-loss code",
        search=MODES,
        choices=MODES,
    )
    gamma: float = hyper(
        2.0, "focal exponent", search=(0.5, 4.0), paper={"voc-lt": 2.0, "coco-lt": 2.0}, low=0.0
    )
    balance: float = hyper(
        2.0,
        "factor on the focal loss, for both classes",
        search=(1.0, 20.0),
        paper={"voc-lt": 2.0, "coco-lt": 2.0},
        low=0.0,
    )


class CBFocal(Counting, Resampled):
    """Class-balanced focal loss with class-aware sampling; unknown labels count as negative."""

    info = MethodInfo(
        key="cb-focal",
        title="CB-Focal",
        paper="Cui et al., Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019; "
        "multi-label as in Wu et al., Distribution-Balanced Loss, ECCV 2020",
        year=2019,
        equation="E(n) = (1 - beta)/(1 - beta^n);  w = mean of E(n_c) over the image's positives "
        "(average_w),\nE of their mean or smallest n_c (average_n, min_n), or E(n_c) (by_class);\n"
        "L = mean_{b,c} [ balance w (1 - p_t)^gamma e ],  e = BCE(z, y),  p_t = exp(-e),  "
        "unknown -> y = 0",
        unknown="negative",
        version="2",
        needs=("class counts", "class-aware sampling"),
        family="long-tailed",
        summary="focal loss weighted by the effective number of samples",
    )
    Hyper = Hyper

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Apply `class_balanced_focal_loss` to the batch."""
        return class_balanced_focal_loss(
            logits,
            positives(batch.observed, logits.dtype),
            run.constants["class_counts"],
            beta=self.hyper.beta,
            mode=self.hyper.mode,
            gamma=self.hyper.gamma,
            balance=self.hyper.balance,
        )
