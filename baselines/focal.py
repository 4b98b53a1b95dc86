"""Focal loss, in the forms of the original paper and of published multi-label code."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from baselines.core import Batch, Clock, Draw, Method, MethodInfo, Run, hyper, positives
from baselines.shared.focal import FORMS, focal_loss


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
        0.25, "factor of the forms focal-loss and alpha", search=(0.1, 0.75), low=0.0, high=1.0
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
        family="plain",
        summary="focal loss, in the forms of three code bases",
    )
    Hyper = Hyper

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Apply `focal_loss`, averaged over all B*C entries."""
        return focal_loss(
            logits,
            positives(batch.observed, logits.dtype),
            gamma=self.hyper.gamma,
            form=self.hyper.form,
            balance=self.hyper.balance,
            alpha=self.hyper.alpha,
            focal_gradient=self.hyper.focal_gradient,
        )
