"""DB: the distribution-balanced loss without its focal factor."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from baselines.core import Batch, Clock, Draw, MethodInfo, Run, positives
from baselines.db_focal import (
    Counting,
    CountsHyper,
    Resampled,
    SamplerHyper,
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
        differs="As db-focal: the authors' code divides kappa by lambda, the default here "
        "(bias=code); counts and sampler read the observed labels unless told otherwise; an epoch "
        "is N rows unless length=classes.",
        source="authors' code",
        reference="wutong16/DistributionBalancedLoss@14460d0, mllt/models/losses/resample_loss.py",
        tolerance="1e-9; step 1e-6 in float32",
        evidence=(
            "tests/baselines/test_long_tail_vectors.py::test_equals_the_vectors",
            "tests/baselines/test_db_focal.py::test_equals_the_authors_code",
            "tests/baselines/test_db_parts.py::test_each_is_db_focal_with_parts_off",
        ),
    )
    Hyper = Hyper

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """The equation above."""
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
