"""R-BCE: binary cross-entropy with the rebalanced weight, the first part of the DB loss."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from baselines.core import Batch, Clock, Draw, MethodInfo, Run, positives
from baselines.core.losses import bce_terms, reduced
from baselines.shared.class_aware import Counting, CountsHyper, Resampled, SamplerHyper
from baselines.shared.distribution_balanced import WeightHyper, rebalanced_weight


def rebalanced_bce(
    logits: Tensor,
    target: Tensor,
    class_counts: Tensor,
    *,
    alpha: float | Tensor,
    beta: float | Tensor,
    mu: float | Tensor,
    reduction: str = "mean",
) -> Tensor:
    """Binary cross-entropy with the rebalanced weight: element = w_bc (softplus(z) - y z).

    w is `rebalanced_weight`; with alpha = 1/2 and beta = 0 it is 1.

    Args:
        logits: [B, C].
        target: [B, C] in [0, 1].
        class_counts: [C], positives per class of the training set.
        alpha: the smallest weight.
        beta: steepness of the weight.
        mu: the ratio at which the sigmoid is one half.
        reduction: "mean" over all B*C entries, "sum", or "none" for [B, C].

    Returns:
        A scalar, or [B, C].

    Raises:
        ValueError: an unknown `reduction`.

    Source: Wu et al., Distribution-Balanced Loss, ECCV 2020.
    """
    target = target.to(logits.dtype)
    weight = rebalanced_weight(target, class_counts, alpha=alpha, beta=beta, mu=mu)
    return reduced(weight * bce_terms(logits, target), reduction)


@dataclass(frozen=True)
class Hyper(SamplerHyper, CountsHyper, WeightHyper):
    """Hyperparameters of R-BCE."""


class RBCE(Counting, Resampled):
    """Rebalanced weights with class-aware sampling; unknown labels count as negative."""

    info = MethodInfo(
        key="r-bce",
        title="R-BCE",
        paper="Wu et al., Distribution-Balanced Loss for Multi-Label Classification in Long-Tailed "
        "Datasets, ECCV 2020",
        year=2020,
        equation="r = (1/n_c) / sum_j y_j/n_j;  w = alpha + sigmoid(beta (r - mu));\n"
        "L = mean_{b,c} [ w (softplus(z) - y z) ],  unknown -> y = 0",
        unknown="negative",
        needs=("class counts", "class-aware sampling"),
        family="long-tailed",
        summary="rebalanced weight",
    )
    Hyper = Hyper

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Apply `rebalanced_bce` to the batch."""
        return rebalanced_bce(
            logits,
            positives(batch.observed, logits.dtype),
            run.constants["class_counts"],
            alpha=self.hyper.alpha,
            beta=self.hyper.beta,
            mu=self.hyper.mu,
        )
