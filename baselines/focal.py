"""Focal loss, in the forms that published multi-label code and the original paper give it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.core import Batch, Clock, Draw, Method, MethodInfo, Run, hyper, positives
from baselines.core.losses import bce_terms, reduced

FORMS = ("resample", "focal-loss", "alpha")


def focal_weight(entropy: Tensor, gamma: float | Tensor, focal_gradient: bool = True) -> Tensor:
    """The focal factor (1 - p_t)^gamma with p_t = exp(-e), from the cross-entropy e of an entry.

    Args:
        entropy: any shape, at least 0.
        gamma: focal exponent, at least 0.
        focal_gradient: whether the factor carries gradient; otherwise it is a constant weight.

    Returns:
        The shape of `entropy`.
    """
    # The floor keeps the gradient of the power finite where the entropy underflows to zero.
    miss = (-torch.expm1(-entropy)).clamp(min=torch.finfo(entropy.dtype).tiny)
    weight = miss**gamma
    return weight if focal_gradient else weight.detach()


def focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    gamma: float | Tensor = 2.0,
    form: str = "resample",
    balance: float | Tensor = 2.0,
    alpha: float | Tensor = 0.25,
    focal_gradient: bool = True,
    weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Sigmoid focal loss.

        e = -y log p - (1 - y) log(1 - p),   p = sigmoid(z),   p_t = exp(-e)
        element = a w (1 - p_t)^gamma e

        a = balance                        form = "resample"
        a = alpha                          form = "focal-loss"
        a = alpha y + (1 - alpha)(1 - y)   form = "alpha"

    With gamma = 0 and a = 1 it is binary cross-entropy. The first two forms differ in nothing but
    the constant.

    Args:
        logits: [B, C].
        target: [B, C] in [0, 1].
        gamma: focal exponent, at least 0.
        form: see above.
        balance: see above.
        alpha: see above.
        focal_gradient: whether (1 - p_t)^gamma carries gradient.
        weight: w, broadcast against [B, C]; it stays outside of p_t. None for 1.
        reduction: "mean" over all B*C entries, "sum", or "none" for [B, C].

    Returns:
        A scalar, or [B, C].

    Raises:
        ValueError: an unknown `form` or `reduction`.

    Source: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, equation 5 ("alpha"); the
    DB-loss code has the other two. Its FocalLoss computes p_t from the weighted cross-entropy where
    a weight is given, which is a mistake that is not repeated here.
    """
    if form not in FORMS:
        raise ValueError(f"form is '{form}'; it must be one of {list(FORMS)}")
    target = target.to(logits.dtype)
    entropy = bce_terms(logits, target)
    element = focal_weight(entropy, gamma, focal_gradient) * entropy
    if weight is not None:
        element = weight * element
    if form == "alpha":
        element = (alpha * target + (1.0 - alpha) * (1.0 - target)) * element
    else:
        element = (balance if form == "resample" else alpha) * element
    return reduced(element, reduction)


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters of the focal loss."""

    gamma: float = hyper(
        2.0, "focal exponent", search=(0.0, 4.0), paper={"voc-lt": 2.0, "coco-lt": 2.0}, low=0.0
    )
    form: str = hyper(
        "resample",
        "resample: `balance` on both classes; focal-loss: `alpha` on both; "
        "alpha: `alpha` on positives and 1 - alpha on negatives",
        search=FORMS,
        paper={"voc-lt": "resample", "coco-lt": "resample"},
        choices=FORMS,
    )
    balance: float = hyper(
        2.0,
        "factor of the form resample",
        search=(1.0, 2.0),
        paper={"voc-lt": 2.0, "coco-lt": 2.0},
        low=0.0,
    )
    alpha: float = hyper(
        0.25, "factor of the other two forms", search=(0.1, 0.75), low=0.0, high=1.0
    )
    focal_gradient: bool = hyper(True, "differentiate the focal factor", search=(True, False))


class Focal(Method):
    """Focal loss on shuffled rows; unknown labels count as negative."""

    info = MethodInfo(
        key="focal",
        title="Focal",
        paper="Lin et al., Focal Loss for Dense Object Detection, ICCV 2017; multi-label as in "
        "Wu et al., Distribution-Balanced Loss, ECCV 2020",
        year=2017,
        equation="L = mean_{b,c} [ a (1 - p_t)^gamma e ],  e = BCE(z, y),  p_t = exp(-e);\n"
        "a = balance (resample), alpha (focal-loss) or alpha y + (1-alpha)(1-y) (alpha),  "
        "unknown -> y = 0",
        unknown="negative",
        differs="The paper weighs positives by alpha and negatives by 1 - alpha (form=alpha). The "
        "DB-loss code has two forms with one factor on both classes: ResampleLoss with 2 "
        "(form=resample, the default, as in its DB-Focal) and FocalLoss with 0.25 "
        "(form=focal-loss). The ASL code base sums over B*C and holds the factor constant "
        "(focal_gradient=false); here the mean is taken. That the table's row was trained on "
        "shuffled rows is inferred.",
        source="authors' code",
        reference="wutong16/DistributionBalancedLoss@14460d0, "
        "mllt/models/losses/resample_loss.py; Alibaba-MIIL/ASL@8c9e0bd; "
        "xinyu1205/robust-loss-mlml@dcfa4d5; wannature/COMIC@1de14e5; form=alpha: Lin et al. "
        "2017, eq. 5",
        tolerance="1e-9; step 1e-6 in float32",
        evidence=(
            "tests/baselines/test_long_tail_vectors.py::test_equals_the_vectors",
            "tests/baselines/test_long_tail_vectors.py::test_focal_of_other_codes",
            "tests/baselines/test_focal.py::test_numpy_reference",
            "tests/baselines/test_focal.py::test_method",
        ),
    )
    Hyper = Hyper

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """The equation of `focal_loss`, averaged over all B*C entries."""
        return focal_loss(
            logits,
            positives(batch.observed, logits.dtype),
            gamma=self.hyper.gamma,
            form=self.hyper.form,
            balance=self.hyper.balance,
            alpha=self.hyper.alpha,
            focal_gradient=self.hyper.focal_gradient,
        )
