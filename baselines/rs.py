"""RS: binary cross-entropy on class-aware rows."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from baselines.core import Batch, Clock, Draw, MethodInfo, Run, positives
from baselines.shared.binary_cross_entropy import bce
from baselines.shared.class_aware import Resampled, SamplerHyper


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
        family="long-tailed",
        summary="BCE on class-aware rows",
    )
    Hyper = Hyper

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Apply `bce`; unknown labels count as negative."""
        return bce(logits, positives(batch.observed, logits.dtype))
