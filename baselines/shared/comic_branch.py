"""One branch of COMIC, and the hyperparameters of all COMIC methods.

The cosine classifier has no bias. In the released code a log-softmax after the projection takes its
place: all its outputs are negative, so all rows share a large component, and the weights along it
set the level of each class. Standardised features have no such component of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.core import Batch, Clock, Draw, Method, Problem, Rate, Run, Setup, hyper, positives
from baselines.core.heads import affine, dense
from baselines.core.losses import bce_terms
from baselines.core.statistics import class_counts, cooccurrence
from baselines.shared.asymmetric import asymmetric_loss
from baselines.shared.comic_losses import (
    class_weight,
    column_shares,
    expected_classes,
    multi_focal_loss,
)
from baselines.shared.comic_network import cosine_logits, weights
from baselines.shared.focal import focal_loss


@dataclass(frozen=True)
class BranchHyper:
    """Loss (mfm_*) and network of a branch, with the defaults of the authors' code."""

    mfm_kind: str = hyper(
        "mfm",
        "the loss used as MFM: mfm; pfm adds co-occurrence; or focal (2), ASL (4, 0), BCE",
        choices=("mfm", "pfm", "asl", "focal", "bce"),
    )
    mfm_gamma_negative: float = hyper(
        3.0,
        "focal exponent of negatives; 0 leaves only the head-tail weights",
        search=(0.0, 5.0),
        low=0,
    )
    mfm_gamma_positive: float = hyper(
        0.0, "focal exponent of positives", search=(0.0, 2.0), low=0.0
    )
    mfm_clip: float = hyper(
        0.05, "probability margin of negatives", search=(0.0, 0.2), low=0.0, high=1.0
    )
    mfm_power: float = hyper(
        1 / 3, "exponent of the head-tail weight in MFM", search=(0.0, 0.5), low=0.0
    )
    mfm_head_tail: bool = hyper(True, "use head-tail weights; off leaves only the focal exponents")
    mfm_class_weight: bool = hyper(
        True, "use the head-tail weight as a factor too; off is the equation of the paper"
    )
    classifier: str = hyper(
        "cosine", "normalised classifier, or a linear one", choices=("cosine", "linear")
    )
    scale: float = hyper(16.0, "rho of the cosine classifier", search=(8.0, 32.0), low=0.0)
    width: int = hyper(1024, "width of a projection", search=(256, 512, 1024), low=1)
    projection_activation: str = hyper(
        "log_softmax",
        "activation after the projection: log_softmax in the code, none in the paper",
        choices=("log_softmax", "none"),
    )
    schedule_epochs: int = hyper(
        40,
        "length in epochs of the training that the steps of the rates refer to; runs of another "
        "length decay at the same shares; 0: the steps count the run's own epochs",
        search=(0, 40),
        paper={"coco": 40, "voc": 40},
        low=0,
    )
    decay_divisor: int = hyper(
        4,
        "divisor of the recipe's weight decay",
        search=(1, 4, 16),
        paper={"coco": 1, "voc": 1},
        low=1,
    )


def branch_params(
    name: str, inputs: int, width: int, outputs: int, draw: Draw
) -> dict[str, Tensor]:
    """The parameters `{name}.projection.*`, with bias, and `{name}.classifier.*`, without."""
    params = dense(f"{name}.projection", inputs, width, draw)
    return params | weights(f"{name}.classifier", width, outputs, draw)


def step_rate(hyper: BranchHyper, step: int, multiplier: float = 1.0) -> Rate:
    """A rate that falls by a factor of ten every `step` of `schedule_epochs` epochs."""
    return Rate(
        multiplier=multiplier,
        step_every=step,
        schedule_epochs=hyper.schedule_epochs,
        decay=1.0 / hyper.decay_divisor,
    )


def branch_rates(
    hyper: BranchHyper, name: str, projection: int, classifier: int
) -> dict[str, Rate]:
    """Step schedules at the recipe's rate (projection) and at a tenth of it (classifier)."""
    return {
        f"{name}.projection.": step_rate(hyper, projection),
        f"{name}.classifier.": step_rate(hyper, classifier, 0.1),
    }


def branch_constants(hyper: BranchHyper, problem: Problem) -> dict[str, Tensor]:
    """Class counts, at least 1, and for PFM the normalised co-occurrence."""
    constants = {"counts": class_counts(problem.labels).clamp(min=1.0)}
    if hyper.mfm_kind == "pfm":
        constants["shares"] = column_shares(cooccurrence(problem.labels))
    return constants


def project(hyper: BranchHyper, params: dict[str, Tensor], name: str, features: Tensor) -> Tensor:
    """Branch features [B, d] of features [B, D]."""
    projected = affine(params, f"{name}.projection", features)
    if hyper.projection_activation == "log_softmax":
        return F.log_softmax(projected, 1)
    return projected


def classify(
    hyper: BranchHyper,
    params: dict[str, Tensor],
    name: str,
    features: Tensor,
    direction: Tensor | None = None,
    shift: float | Tensor = 0.0,
) -> Tensor:
    """Logits [B, C] of branch features [B, d]; a linear classifier ignores the shift."""
    weight = params[f"{name}.classifier.weight"]
    if hyper.classifier == "linear":
        return features @ weight
    return cosine_logits(features, weight, scale=hyper.scale, direction=direction, shift=shift)


def modified_loss(
    hyper: BranchHyper,
    logits: Tensor,
    target: Tensor,
    counts: Tensor,
    power: float | Tensor,
    expected: Tensor | None = None,
) -> Tensor:
    """The loss that `mfm_kind` names, summed over B*C.

    Args:
        hyper: of the method.
        logits: [B, C].
        target: [B, C] in {0, 1}.
        counts: [C], the class counts for the head-tail weights.
        power: exponent of the head-tail weight.
        expected: see `multi_focal_loss`.

    Returns:
        A scalar.
    """
    if hyper.mfm_kind == "bce":
        return bce_terms(logits, target).sum()
    if hyper.mfm_kind == "focal":
        return focal_loss(logits, target, gamma=2.0, balance=1.0, reduction="sum")
    if hyper.mfm_kind == "asl":
        return asymmetric_loss(logits, target, gamma_negative=4.0, gamma_positive=0.0, clip=0.05)
    weight = class_weight(counts, power)
    return multi_focal_loss(
        logits,
        target,
        weight=weight
        if hyper.mfm_head_tail and hyper.mfm_class_weight
        else torch.ones_like(weight),
        exponent=weight if hyper.mfm_head_tail else torch.zeros_like(weight),
        gamma_negative=hyper.mfm_gamma_negative,
        gamma_positive=hyper.mfm_gamma_positive,
        clip=hyper.mfm_clip,
        expected=expected,
    )


def expected_of(hyper: BranchHyper, run: Run, target: Tensor) -> Tensor | None:
    """The expected classes of each image [B, C] for PFM; None for the other losses."""
    return expected_classes(target, run.constants["shares"]) if hyper.mfm_kind == "pfm" else None


@dataclass(frozen=True)
class SingleHyper(BranchHyper):
    """Hyperparameters of a branch and of its learning rate schedule."""

    step: int = hyper(
        12, "epochs between decays of the rates by a factor of ten", search=(12, 24, 40), low=1
    )


class SingleBranch(Method):
    """A single branch, trained with MFM alone: the head model and the tail model."""

    Hyper: ClassVar[type] = SingleHyper

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """Create projection and classifier; the recipe's head is not used."""
        inputs, classes = problem.feature_dim, problem.num_classes
        params = branch_params("single", inputs, self.hyper.width, classes, draw)
        return Setup(params, constants=branch_constants(self.hyper, problem))

    def rates(self) -> dict[str, Rate]:
        """The rates of both parts decay together."""
        return branch_rates(self.hyper, "single", self.hyper.step, self.hyper.step)

    def logits(self, run: Run, features: Tensor) -> Tensor:
        """Compute the logits of the branch: [B, D] -> [B, C]."""
        projected = project(self.hyper, run.params, "single", features)
        return classify(self.hyper, run.params, "single", projected)

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Apply `modified_loss` to the observed labels, with the sum divided by B*C."""
        target = positives(batch.observed, logits.dtype)
        expected = expected_of(self.hyper, run, target)
        counts, power = run.constants["counts"], self.hyper.mfm_power
        return modified_loss(self.hyper, logits, target, counts, power, expected) / logits.numel()
