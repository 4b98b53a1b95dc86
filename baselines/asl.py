"""ASL: separate focal factors for positives and negatives, and a shift that drops easy negatives.

Negatives with a probability below the margin contribute nothing; the others are weighted by a power
of the shifted probability. Unknown labels count as negative, and the strong down-weighting of easy
negatives limits the damage of missed positives.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from baselines.core import Batch, Clock, Draw, Method, MethodInfo, Run, hyper, positives
from baselines.shared.asymmetric import asymmetric_loss


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters of ASL; the defaults are those of the authors' COCO training."""

    gamma_negative: float = hyper(
        4.0, "focal exponent of negatives", search=(0.0, 6.0), paper={"coco": 4.0}, low=0.0
    )
    gamma_positive: float = hyper(
        0.0,
        "focal exponent of positives; 1 by default in the authors' code",
        search=(0.0, 2.0),
        paper={"coco": 0.0},
        low=0.0,
    )
    clip: float = hyper(
        0.05,
        "probability margin below which a negative is dropped",
        search=(0.0, 0.2),
        paper={"coco": 0.05},
        low=0.0,
        high=1.0,
    )
    focal_gradient: bool = hyper(False, "differentiate the focal factors")


class ASL(Method):
    """Asymmetric loss; unknown labels count as negative."""

    info = MethodInfo(
        key="asl",
        title="ASL",
        paper="Ridnik et al., Asymmetric Loss For Multi-Label Classification, ICCV 2021",
        year=2021,
        equation="p_m = max(p - m, 0);\n"
        "L = -mean_{b,c} [ y (1-p)^g+ log max(p, 1e-8) + (1-y) p_m^g- log max(1-p_m, 1e-8) ],\n"
        "powers held constant,  unknown -> y = 0",
        unknown="negative",
        family="plain",
        summary="asymmetric focal factors, shifted negatives",
    )
    Hyper = Hyper

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Apply `asymmetric_loss`, with the sum divided by B*C."""
        return asymmetric_loss(
            logits,
            positives(batch.observed, logits.dtype),
            gamma_negative=self.hyper.gamma_negative,
            gamma_positive=self.hyper.gamma_positive,
            clip=self.hyper.clip,
            focal_gradient=self.hyper.focal_gradient,
            reduction="mean",
        )
