"""PR: probability re-balancing, four factors on the gradients of positives and negatives.

NTR is the special case with equal factors for negatives and none for positives. The factors can be
raised for some shot groups only, as the paper does for the tail classes of VOC-LT.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from baselines.core import Batch, Clock, Draw, MethodInfo, Run, positives
from baselines.core.losses import reduced
from baselines.shared.rebalancing import FACTORS as FACTORS
from baselines.shared.rebalancing import GROUPS as GROUPS
from baselines.shared.rebalancing import Factors, Rebalanced, RebalancingHyper
from baselines.shared.rebalancing import selections as selections
from baselines.shared.rebalancing import shot_groups as shot_groups


def probability_rebalancing_loss(
    logits: Tensor,
    target: Tensor,
    shift: float | Tensor,
    factors: Factors,
    *,
    weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Probability re-balancing.

        y = 1:  softplus(-lambda1+ (z - v)) / lambda2+
        y = 0:  softplus(lambda1- (z - v)) / lambda2-

    With lambda1- = lambda2- and lambda1+ = lambda2+ = 1 this is NTR; if all four are 1 and v = 0,
    it is binary cross-entropy. For 0 < y < 1 the two terms are interpolated.

    Args:
        logits: [B, C]; raw scores, which are also the scores at test time.
        target: [B, C] in [0, 1].
        shift: v, a number or [C]; minus the `class_bias` of the DB loss.
        factors: the four factors.
        weight: [B, C] or None: the rebalanced weight of the DB loss.
        reduction: "mean" over all B*C entries, "sum", or "none" for [B, C].

    Returns:
        A scalar, or [B, C].

    Raises:
        ValueError: an unknown `reduction`.

    Source: Lin, Probability Guided Loss, AAAI 2023, equation 5. The paper sums over entries
    (equation 1). Its tables replace NTR in the DB loss by PR, hence `weight`. No code was
    published.
    """
    target = target.to(logits.dtype)
    shifted = logits - shift
    positive = -F.logsigmoid(factors.lambda1_positive * shifted) / factors.lambda2_positive
    negative = -F.logsigmoid(-factors.lambda1_negative * shifted) / factors.lambda2_negative
    element = target * positive + (1.0 - target) * negative
    return reduced(element if weight is None else weight * element, reduction)


Hyper = RebalancingHyper


class PR(Rebalanced):
    """Probability re-balancing with class-aware sampling; unknown labels count as negative."""

    info = MethodInfo(
        key="pr",
        title="PR",
        paper="Lin, Probability Guided Loss for Long-Tailed Multi-Label Image Classification, "
        "AAAI 2023",
        year=2023,
        equation="v = (kappa/lambda1-) log(N/n_c - 1);  w = alpha + sigmoid(beta (r - mu)) as DB;\n"
        "L = mean_{b,c} w [ y softplus(-lambda1+ (z - v)) / lambda2+\n"
        "  + (1-y) softplus(lambda1- (z - v)) / lambda2- ],  unknown -> y = 0",
        unknown="negative",
        needs=("class counts", "class-aware sampling"),
        family="long-tailed",
        summary="a slope and a divisor for each label and shot group",
    )

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Apply `probability_rebalancing_loss` to the batch."""
        target = positives(batch.observed, logits.dtype)
        return probability_rebalancing_loss(
            logits,
            target,
            self.shift(run, target.dtype),
            self.factors(run, target.dtype),
            weight=self.weight(run, target),
        )
