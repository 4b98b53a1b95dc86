"""DB: the distribution-balanced loss without its focal factor."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from baselines.core import Batch, Clock, Draw, MethodInfo, Run, positives
from baselines.shared.class_aware import Counting, CountsHyper, Resampled, SamplerHyper
from baselines.shared.distribution_balanced import (
    ToleranceHyper,
    WeightHyper,
    distribution_balanced_loss,
)


@dataclass(frozen=True)
class Hyper(SamplerHyper, CountsHyper, ToleranceHyper, WeightHyper):
    """Hyperparameters of DB."""


class DB(Counting, Resampled):
    """Distribution-balanced loss, not focal; unknown labels count as negative.

    Equation and source: `baselines.db_focal.distribution_balanced_loss` with `focal` off.
    """

    info = MethodInfo(
        key="db",
        title="DB",
        paper="Wu et al., Distribution-Balanced Loss for Multi-Label Classification in Long-Tailed "
        "Datasets, ECCV 2020",
        year=2020,
        equation="r = (1/n_c) / sum_j y_j/n_j;  w = alpha + sigmoid(beta (r - mu));\n"
        "v = (kappa/lambda) log(N/n_c - 1);\n"
        "L = mean_{b,c} [ w (y softplus(v - z) + (1-y) softplus(lambda (z - v)) / lambda) ],  "
        "unknown -> y = 0",
        unknown="negative",
        needs=("class counts", "class-aware sampling"),
        family="long-tailed",
        summary="rebalanced weight, class bias, tolerant negatives",
    )
    Hyper = Hyper

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Apply `distribution_balanced_loss` without its focal factor, averaged over B*C."""
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
            focal=False,
            reduction="mean",
        )
