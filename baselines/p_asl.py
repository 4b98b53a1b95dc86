"""P-ASL: asymmetric loss with a separate exponent for unknown labels, and a weight per label.

Depending on the weights, unknown labels are ignored or count as negatives with another exponent.
`baselines.csl` chooses label by label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from baselines.core import Batch, Clock, Draw, Method, MethodInfo, Run, hyper
from baselines.shared.partial_asymmetric import (
    MODES,
    PartialAsymmetricHyper,
    mode_weights,
    partial_asymmetric_loss,
)


@dataclass(frozen=True)
class Hyper(PartialAsymmetricHyper):
    """Hyperparameters of P-ASL."""

    mode: str = hyper(
        "ignore",
        "unknown labels: ignored, ignored with a weight per image, or negative",
        search=MODES,
        choices=MODES,
    )


WITH_NEGATIVES = ("full", "pal")
POSITIVES_ONLY = ("ppl", "spl", "missing")


class PASL(Method):
    """Partial asymmetric loss; unknown labels are ignored if negatives are observed.

    With positives alone, ignoring all other labels leaves nothing that lowers a prediction. In
    these regimes, unknown labels are negative by default, as in the paper's mode "Negative"; the
    loss is then that of `asl` with another exponent.
    """

    info = MethodInfo(
        key="p-asl",
        title="P-ASL",
        paper="Ben-Baruch et al., Multi-label Classification with Partial Annotations using "
        "Class-aware Selective Loss, CVPR 2022",
        year=2022,
        equation="n = min(1 - p + m, 1);  L = -mean_{b,c} W [ 1[s=1] (1-p)^g+ log p "
        "+ 1[s=0] (1-n)^g- log n + 1[unknown] (1-n)^gu log n ],  powers held constant;\n"
        "W = 0 on unknown labels (ignore), 1 everywhere (negative)",
        unknown="ignored",
        regimes=WITH_NEGATIVES + POSITIVES_ONLY,
        family="partial",
        summary="`asl` with a separate exponent for unknown labels",
    )
    Hyper = Hyper

    @classmethod
    def defaults_for(cls, regime: str) -> dict[str, Any]:
        """mode=negative where no negative is observed."""
        return {"mode": "negative"} if regime in POSITIVES_ONLY else {}

    def regimes(self) -> tuple[str, ...]:
        """Also the regimes without observed negatives, if unknown labels count as negative."""
        return self.info.regimes if self.hyper.mode == "negative" else WITH_NEGATIVES

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Apply `partial_asymmetric_loss`, with the sum divided by B*C."""
        weights = mode_weights(batch.observed, self.hyper.mode, logits.dtype)
        factors = self.hyper.of_loss()
        return partial_asymmetric_loss(logits, batch.observed, weights, reduction="mean", **factors)
