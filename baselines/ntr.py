"""NTR: a class bias and tolerant negatives, the second part of the DB loss."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from baselines.core import Batch, Clock, Draw, MethodInfo, Run, positives
from baselines.core.losses import reduced
from baselines.shared.class_aware import Counting, CountsHyper, Resampled, SamplerHyper
from baselines.shared.distribution_balanced import ToleranceHyper, distribution_balanced_loss


def negative_tolerant_loss(
    logits: Tensor,
    target: Tensor,
    class_counts: Tensor,
    num_images: int | Tensor,
    *,
    neg_scale: float | Tensor,
    kappa: float | Tensor,
    bias: str = "code",
    reduction: str = "mean",
) -> Tensor:
    """Negative-tolerant regularisation.

        y = 1:  softplus(-(z - v))
        y = 0:  softplus(lambda (z - v)) / lambda

    v is minus `class_bias`. This is the distribution-balanced loss without weight and focal factor;
    with lambda = 1 and kappa = 0 it is binary cross-entropy.

    Args:
        logits: [B, C]; raw scores, which are also the scores at test time.
        target: [B, C] in [0, 1].
        class_counts: [C], positives per class of the training set, n_c.
        num_images: N, of the training set.
        neg_scale: lambda, above 0.
        kappa: strength of the bias.
        bias: "code" for v = (kappa / lambda) log(N / n_c - 1), "paper" for v without lambda.
        reduction: "mean" over all B*C entries, "sum", or "none" for [B, C].

    Returns:
        A scalar, or [B, C].

    Raises:
        ValueError: an unknown `bias` or `reduction`.

    Source: Wu et al., Distribution-Balanced Loss, ECCV 2020; see `class_bias` for the difference to
    the authors' code.
    """
    elements = distribution_balanced_loss(
        logits,
        target,
        class_counts,
        num_images,
        alpha=0.5,
        beta=0.0,
        mu=0.0,
        neg_scale=neg_scale,
        kappa=kappa,
        bias=bias,
        focal=False,
        rebalance=False,
    )
    return reduced(elements, reduction)


@dataclass(frozen=True)
class Hyper(SamplerHyper, CountsHyper, ToleranceHyper):
    """Hyperparameters of NTR."""


class NTR(Counting, Resampled):
    """Negative-tolerant regularisation, class-aware rows; unknown labels count as negative."""

    info = MethodInfo(
        key="ntr",
        title="NTR",
        paper="Wu et al., Distribution-Balanced Loss for Multi-Label Classification in Long-Tailed "
        "Datasets, ECCV 2020",
        year=2020,
        equation="v = (kappa/lambda) log(N/n_c - 1);\n"
        "L = mean_{b,c} [ y softplus(v - z) + (1-y) softplus(lambda (z - v)) / lambda ],  "
        "unknown -> y = 0",
        unknown="negative",
        needs=("class counts", "class-aware sampling"),
        family="long-tailed",
        summary="class bias, tolerant negatives",
    )
    Hyper = Hyper

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Apply `negative_tolerant_loss` to the batch."""
        return negative_tolerant_loss(
            logits,
            positives(batch.observed, logits.dtype),
            run.constants["class_counts"],
            run.constants["num_images"],
            neg_scale=self.hyper.neg_scale,
            kappa=self.hyper.kappa,
            bias=self.hyper.bias,
        )
