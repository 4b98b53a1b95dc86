"""CB-Focal: focal loss weighted by the effective number of images per class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.core import Batch, Clock, Draw, MethodInfo, Run, hyper, positives
from baselines.db_focal import Counting, CountsHyper, Resampled, SamplerHyper
from baselines.focal import focal_loss

MODES = ("average_w", "average_n", "min_n", "by_class")
NO_POSITIVE = 100_000.0  # the count that stands for an image without positives


def effective_weight(count: Tensor, beta: float | Tensor) -> Tensor:
    """The inverse of the effective number: E(n) = (1 - beta) / (1 - beta^n).

    E(1) = 1, E falls towards 1 - beta; with beta = 0 it is 1 for every count. It is computed in
    float64: of 1 - 0.9999, float32 keeps four digits.

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

    An image without positives has the weight E(100000), which is 1 - beta but for tiny 1 - beta. A
    class count below one is taken as one.

    Args:
        target: [B, C], 0 or 1.
        class_counts: floating [C], positives per class, n_c.
        beta: see `effective_weight`.
        mode: see above.

    Returns:
        [C] with "by_class", else [B, 1].

    Raises:
        ValueError: an unknown `mode`.

    Source: Cui et al., CVPR 2019; the modes are those of the DB-loss code, where an image without
    positives has the weight E(100000) with "min_n" and NaN with the averages.
    """
    if mode not in MODES:
        raise ValueError(f"mode is '{mode}'; it must be one of {list(MODES)}")
    counts = class_counts.clamp(min=1.0)
    if mode == "by_class":
        return effective_weight(counts, beta)
    total = target.sum(1, keepdim=True)  # [B, 1]
    if mode == "min_n":
        least = torch.where(target > 0, counts, NO_POSITIVE).amin(1, keepdim=True)
        return effective_weight(least, beta)
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

    e and p_t as in `baselines.focal.focal_loss`, w as in `class_balanced_weight`, multiplying
    positives and negatives. With beta = 0 it is the focal loss.

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
    """Hyperparameters of CB-Focal; what the published tables used is not recorded."""

    beta: float = hyper(
        0.9,
        "beta of the effective number; the default of the DB-loss code",
        search=(0.9, 0.99, 0.999, 0.9999),
        low=0.0,
        high=0.99999,
    )
    mode: str = hyper(
        "average_w",
        "weight per image by its mean weight, mean count or least count, or per class; the "
        "default of the DB-loss code",
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
        "(average_w),\nE of their mean or least n_c (average_n, min_n), or E(n_c) (by_class);\n"
        "L = mean_{b,c} [ balance w (1 - p_t)^gamma e ],  e = BCE(z, y),  p_t = exp(-e),  "
        "unknown -> y = 0",
        unknown="negative",
        version="2",
        needs=("class counts", "class-aware sampling"),
        differs="The original normalises its weights to sum to C and divides by the number of "
        "positive labels; the DB-loss code, followed here, does neither, so that with beta = 0.9 "
        "the loss is about eight times smaller than the focal loss. In that code the averages are "
        "NaN for an image without positives; here its weight is E(100000), as in their min_n. "
        "That the published row was re-sampled is said by one paper only.",
        source="authors' code",
        reference="wutong16/DistributionBalancedLoss@14460d0, mllt/models/losses/resample_loss.py "
        "(average_w, by_class); the other modes by an implementation in NumPy",
        tolerance="1e-9; step 1e-6 in float32",
        evidence=(
            "tests/baselines/test_long_tail_vectors.py::test_equals_the_vectors",
            "tests/baselines/test_cb_focal.py::test_numpy_reference",
            "tests/baselines/test_cb_focal.py::test_method",
        ),
    )
    Hyper = Hyper

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """The equation of `class_balanced_focal_loss`."""
        return class_balanced_focal_loss(
            logits,
            positives(batch.observed, logits.dtype),
            run.constants["class_counts"],
            beta=self.hyper.beta,
            mode=self.hyper.mode,
            gamma=self.hyper.gamma,
            balance=self.hyper.balance,
        )
