"""EM: the entropy of unknown labels is maximised; they count neither as negative nor positive."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from baselines.core import Batch, Clock, Draw, Method, MethodInfo, Run, hyper
from baselines.shared.entropy_maximisation import ALPHA, entropy_maximisation


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters of EM."""

    alpha: float = hyper(
        0.1, "weight of the entropy of unknown labels", search=(0.01, 0.4), paper=ALPHA, low=0.0
    )


class EM(Method):
    """Entropy maximisation: the gradient of an unknown label is smallest for p near 1/2.

    Intended for partial labels; with complete labels or candidates it is plain cross-entropy.
    """

    info = MethodInfo(
        key="em",
        title="EM",
        paper="Zhou et al., Acknowledging the Unknown for Multi-label Learning with Single "
        "Positive Labels, ECCV 2022",
        year=2022,
        equation="L = mean_{b,c} [ 1[s=1] nl(p) + 1[s=0] nl(1-p) "
        "- alpha 1[unknown] (p nl(p) + (1-p) nl(1-p)) ],  nl(a) = -log(a + 1e-5)",
        unknown="estimated",
        regimes=("pal", "ppl", "spl", "missing"),
        version="2",
        family="partial",
        summary="the entropy of unknown labels is maximised",
    )
    Hyper = Hyper

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Apply `entropy_maximisation` to the batch."""
        return entropy_maximisation(logits, batch.observed, alpha=self.hyper.alpha)
