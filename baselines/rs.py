"""RS: binary cross-entropy on rows drawn class by class."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from baselines.bce import bce
from baselines.core import Batch, Clock, Draw, MethodInfo, Run, positives
from baselines.db_focal import Resampled, SamplerHyper


@dataclass(frozen=True)
class Hyper(SamplerHyper):
    """Hyperparameters of RS: those of the sampler."""


class RS(Resampled):
    """Class-aware re-sampling; unknown labels count as negative."""

    info = MethodInfo(
        key="rs",
        title="RS",
        paper="Shen, Lin and Huang, Relay Backpropagation for Effective Learning of Deep "
        "Convolutional Neural Networks, ECCV 2016",
        year=2016,
        equation="classes in random cycles, 3 images of each;  "
        "L = mean_{b,c} [ softplus(z) - y z ],  unknown -> y = 0",
        unknown="negative",
        needs=("class-aware sampling",),
        differs="As in the DB-loss code: an image stands in the list of each of its classes, so "
        "that frequent classes are still drawn more often. Their lists hold the complete labels; "
        "here the observed ones unless told otherwise. Their epoch is max n_c C / 4 draws "
        "(length=classes); here it is N rows by default.",
        source="equations",
        reference="the law of the sampler of wutong16/DistributionBalancedLoss@14460d0, "
        "mllt/datasets/loader/sampler.py, with random numbers of our own; BCE as bce",
        tolerance="rows exact; step 1e-6 in float32",
        evidence=(
            "tests/baselines/test_rw_rs_ldam.py::test_rs_is_bce_on_class_aware_rows",
            "tests/baselines/test_core.py::test_class_aware_laws",
            "tests/baselines/test_core.py::test_epoch_length",
        ),
    )
    Hyper = Hyper

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Binary cross-entropy, unknown as negative."""
        return bce(logits, positives(batch.observed, logits.dtype))
