"""The distribution-balanced loss: rebalanced weight, class bias, tolerant negatives, focal factor.

Each part can be switched off, which gives R-BCE, NTR, DB and DB-Focal of the paper's ablation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from baselines.core import Batch, Clock, Draw, Run, hyper, positives
from baselines.core.losses import bce_terms, reduced
from baselines.shared.class_aware import Counting, CountsHyper, Resampled, SamplerHyper


def class_bias(
    class_counts: Tensor,
    num_images: int | Tensor,
    kappa: float | Tensor,
    neg_scale: float | Tensor,
    bias: str = "code",
) -> Tensor:
    """The bias -v_c that is added to the training logits; it lowers those of rare classes.

        v_c = (kappa / lambda) log(N / n_c - 1)      bias = "code"
        v_c = kappa log(N / n_c - 1)                 bias = "paper"

    To keep the logarithm finite, a class without positives counts as one with a single positive,
    and a class without negatives as one with a single negative.

    Args:
        class_counts: [C], positives per class, n_c.
        num_images: N.
        kappa: strength of the bias.
        neg_scale: lambda.
        bias: "code" or "paper".

    Returns:
        [C], in the dtype of `class_counts` (float32 if that is an integer type).

    Raises:
        ValueError: an unknown `bias`.

    Source: Wu et al., ECCV 2020. The authors' code divides kappa by lambda. They call that
    unintended, but their published numbers come from it; hence the default.
    """
    if bias not in ("code", "paper"):
        raise ValueError(f"bias is '{bias}'; it must be 'code' or 'paper'")
    if not class_counts.is_floating_point():
        class_counts = class_counts.to(torch.get_default_dtype())
    positive = class_counts.clamp(min=1.0)
    negative = (num_images - positive).clamp(min=1.0)
    strength = kappa / neg_scale if bias == "code" else kappa
    return -strength * torch.log(negative / positive)


def rebalanced_weight(
    target: Tensor,
    class_counts: Tensor,
    *,
    alpha: float | Tensor,
    beta: float | Tensor,
    mu: float | Tensor,
) -> Tensor:
    """The rebalanced weight, from the share of this class in the draws of an image.

        r_ic = (1 / n_c) / sum_j y_ij / n_j,     w_ic = alpha + sigmoid(beta (r_ic - mu))

    The ratio is also defined for negatives, where it can be far above one. A row without positives
    has an infinite ratio and the weight 1 + alpha (with beta = 0 it is alpha + 1/2, as for every
    row). A class count below one counts as one.

    Args:
        target: floating [B, C] in [0, 1], hard or soft.
        class_counts: [C], n_c.
        alpha: the smallest weight.
        beta: steepness of the sigmoid.
        mu: the ratio at which the sigmoid is one half.

    Returns:
        [B, C].

    Source: Wu et al., ECCV 2020, equation of the smoothed rebalancing weight.
    """
    inverse = 1.0 / class_counts.to(target.dtype).clamp(min=1.0)
    repeat = (target * inverse).sum(1, keepdim=True)
    ratio = inverse / repeat.clamp(min=torch.finfo(target.dtype).tiny)
    return alpha + torch.sigmoid(beta * (ratio - mu))


def distribution_balanced_loss(
    logits: Tensor,
    target: Tensor,
    class_counts: Tensor,
    num_images: int | Tensor,
    *,
    alpha: float | Tensor,
    beta: float | Tensor,
    mu: float | Tensor,
    neg_scale: float | Tensor,
    kappa: float | Tensor,
    bias: str = "code",
    focal: bool = True,
    gamma: float | Tensor = 2.0,
    balance: float | Tensor = 2.0,
    rebalance: bool = True,
    regularise: bool = True,
    reduction: str = "none",
) -> Tensor:
    """Distribution-balanced loss with hard or soft targets.

        w  = `rebalanced_weight`                        (1 without `rebalance`)
        z' = (z - v) ((1 - y) lambda + y)               (z without `regularise`), v: `class_bias`
        w' = w ((1 - y) / lambda + y)                   (w without `regularise`)
        e  = -y log sigmoid(z') - (1 - y) log sigmoid(-z')
        element = balance (1 - exp(-e))^gamma w' e      (w' e without `focal`)

    For 0 < y < 1 both terms interpolate linearly in y, as written. The bias is added before the
    scaling, for positives and negatives alike. The focal probability exp(-e) is computed from the
    regularised logit without weight, and is differentiated.

    Args:
        logits: [B, C]; raw scores, which are also the scores at test time.
        target: [B, C] in [0, 1].
        class_counts: [C], positives per class of the training set.
        num_images: N, of the training set.
        alpha: see `rebalanced_weight`.
        beta: see `rebalanced_weight`.
        mu: see `rebalanced_weight`.
        neg_scale: lambda, above 0; larger values tolerate confident negatives more.
        kappa: see `class_bias`.
        bias: see `class_bias`.
        focal: whether to use the focal factor.
        gamma: focal exponent, at least 0.
        balance: factor on the loss with `focal`; it only rescales the loss.
        rebalance: whether to use w.
        regularise: whether to use the bias and the scaling.
        reduction: "none" for [B, C], "mean" over all B*C entries (the paper's), "sum".

    Returns:
        [B, C] or a scalar.

    Raises:
        ValueError: an unknown `reduction` or `bias`.

    Source: Wu et al., Distribution-Balanced Loss, ECCV 2020, and the authors' code, which differs
    from the paper in the bias (see `class_bias`).
    """
    target = target.to(logits.dtype)
    class_counts = class_counts.to(logits.dtype)
    weight = torch.ones_like(logits)
    if rebalance:
        weight = rebalanced_weight(target, class_counts, alpha=alpha, beta=beta, mu=mu)
    if regularise:
        shift = class_bias(class_counts, num_images, kappa, neg_scale, bias)
        logits = (logits + shift) * ((1.0 - target) * neg_scale + target)
        weight = weight * ((1.0 - target) / neg_scale + target)
    entropy = bce_terms(logits, target)
    if focal:
        # The lower bound keeps the gradient of the power finite if the entropy underflows to zero.
        miss = (-torch.expm1(-entropy)).clamp(min=torch.finfo(logits.dtype).tiny)
        weight = balance * miss**gamma * weight
    return reduced(weight * entropy, reduction)


@dataclass(frozen=True)
class WeightHyper:
    """Hyperparameters of the rebalanced weight."""

    alpha: float = hyper(
        0.1,
        "smallest rebalanced weight",
        search=(0.0, 0.5),
        paper={"voc-lt": 0.1, "coco-lt": 0.1},
        low=0.0,
    )
    beta: float = hyper(
        10.0,
        "steepness of the rebalanced weight",
        search=(1.0, 20.0),
        paper={"voc-lt": 10.0, "coco-lt": 10.0},
        low=0.0,
    )
    mu: float = hyper(
        0.3,
        "ratio at which the sigmoid of the weight is one half",
        search=(0.1, 0.5),
        paper={"voc-lt": 0.3, "coco-lt": 0.2},
    )


@dataclass(frozen=True)
class BiasHyper:
    """Hyperparameters of the class bias."""

    kappa: float = hyper(
        0.05,
        "strength of the class bias",
        search=(0.0, 0.2),
        paper={"voc-lt": 0.05, "coco-lt": 0.05},
        low=0.0,
    )
    bias: str = hyper(
        "code",
        "factor of the logarithm: kappa / lambda (code) or kappa (paper)",
        search=("code", "paper"),
        paper={"voc-lt": "code", "coco-lt": "code"},
        choices=("code", "paper"),
    )


@dataclass(frozen=True)
class ToleranceHyper(BiasHyper):
    """Hyperparameters of the class bias and of the scaled negatives."""

    neg_scale: float = hyper(
        5.0,
        "lambda, by which negative logits are scaled",
        search=(1.0, 10.0),
        paper={"voc-lt": 5.0, "coco-lt": 2.0},
        low=1e-3,
    )


@dataclass(frozen=True)
class DistributionBalancedHyper(SamplerHyper, CountsHyper, ToleranceHyper, WeightHyper):
    """Hyperparameters of DB-Focal, with switches for its parts."""

    gamma: float = hyper(
        2.0, "focal exponent", search=(0.0, 4.0), paper={"voc-lt": 2.0, "coco-lt": 2.0}, low=0.0
    )
    balance: float = hyper(
        2.0,
        "factor on the focal loss, for both classes",
        search=(1.0, 2.0),
        paper={"voc-lt": 2.0, "coco-lt": 2.0},
        low=0.0,
    )
    focal: bool = hyper(True, "use the focal factor (DB-Focal); without it, DB")
    rebalance: bool = hyper(True, "use the rebalanced weight")
    regularise: bool = hyper(True, "use the class bias and the scaled negatives")


class DistributionBalanced(Counting, Resampled):
    """The distribution-balanced loss on class-aware rows; unknown labels count as negative."""

    Hyper: ClassVar[type] = DistributionBalancedHyper

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Apply `distribution_balanced_loss`, averaged over all B*C entries."""
        return distribution_balanced_loss(
            logits,
            positives(batch.observed, logits.dtype),
            run.constants["class_counts"],
            run.constants["num_images"],
            alpha=self.hyper.alpha,
            beta=self.hyper.beta,
            mu=self.hyper.mu,
            neg_scale=self.hyper.neg_scale,
            kappa=self.hyper.kappa,
            bias=self.hyper.bias,
            focal=self.hyper.focal,
            gamma=self.hyper.gamma,
            balance=self.hyper.balance,
            rebalance=self.hyper.rebalance,
            regularise=self.hyper.regularise,
            reduction="mean",
        )
