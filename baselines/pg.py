"""PG: the probability guided loss combines re-balanced probabilities and adaptive exponents.

Every row of the ablations in the paper corresponds to a setting of the hyperparameters:

| table | row | raised | adaptive | focal | and |
|---|---|---|---|---|---|
| 3 | DB | none | none | none | |
| 3 | PR(l1-), PR(l2+), PR(l1+) | that factor | none | none | |
| 3 | PR(l1-, l2+) VOC-LT | lambda1_negative+lambda2_positive | none | none | |
| 3 | PR(l1-, l1+) COCO-LT | lambda1_negative+lambda1_positive | none | none | |
| 4 | FF, AF, FA, AA | as the last two rows | the A among the two | adaptive | |
| 5 | Focal, APAF | none | none | fixed, adaptive | factors 1, kappa 0, rebalance off |
| 5 | APR + Focal, APR + APAF | as table 4 | lambda1_negative | fixed, adaptive | |

`raised_groups` is tail on VOC-LT and head+medium+tail on COCO-LT. The defaults are AF on VOC-LT,
the final loss of the paper.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.core import Batch, Clock, Draw, MethodInfo, Run, hyper, positives
from baselines.core.losses import reduced
from baselines.shared.probability_ratio import RatioHyper, probability_ratio
from baselines.shared.rebalancing import Factors, Rebalanced, RebalancingHyper, selections

ADAPTABLE = ("lambda1_negative", "lambda1_positive", "lambda2_positive")
FOCALS = ("none", "fixed", "adaptive")
PROBABILITIES = ("raw", "regularised")
DIRECTIONS = ("narrow", "literal")


@dataclass(frozen=True)
class Guidance:
    """The switches of the probability guided loss.

    Attributes:
        adaptive: the factors that are multiplied by the ratio of means: "none", or names of
            `ADAPTABLE` joined by "+".
        lambda1_positive: "narrow" increases lambda1+ if negatives lead, as table 1 of the paper
            requires; "literal" does the opposite, as equation 8 suggests for a positive factor.
        focal: "none", "fixed" (exponent gamma) or "adaptive" (APAF).
        probability: the probability in the focal factor and in the means: "raw" for sigmoid(z),
            "regularised" for sigmoid(lambda1 (z - v)).
        negative_probability: see `baselines.shared.probability_ratio`.
    """

    adaptive: str = "lambda1_negative"
    lambda1_positive: str = "narrow"
    focal: str = "adaptive"
    probability: str = "raw"
    negative_probability: str = "complement"

    def check(self) -> None:
        """Raise a ValueError if a switch is not one of its choices."""
        for name, choices in (
            ("adaptive", selections(ADAPTABLE)),
            ("lambda1_positive", DIRECTIONS),
            ("focal", FOCALS),
            ("probability", PROBABILITIES),
        ):
            if getattr(self, name) not in choices:
                value = getattr(self, name)
                raise ValueError(f"{name} is '{value}'; it must be one of {list(choices)}")


def adapted(factors: Factors, ratio: Tensor, guidance: Guidance) -> Factors:
    """Adaptive probability re-balancing: some factors are multiplied by a power of p- / p+.

        lambda1- <- lambda1- p- / p+
        lambda2+ <- lambda2+ p+ / p-
        lambda1+ <- lambda1+ p- / p+ ("narrow") or lambda1+ p+ / p- ("literal")

    Args:
        factors: the base factors.
        ratio: [C], p- / p+.
        guidance: the switches; only `adaptive` and `lambda1_positive` apply here.

    Returns:
        The factors of this batch.

    Source: Lin, AAAI 2023, which mentions the scheme without an equation; this follows equation 8
    and table 1.
    """
    adaptive = guidance.adaptive.split("+")
    upward = ratio if guidance.lambda1_positive == "narrow" else 1.0 / ratio
    changed = {
        "lambda1_negative": factors.lambda1_negative * ratio,
        "lambda2_positive": factors.lambda2_positive / ratio,
        "lambda1_positive": factors.lambda1_positive * upward,
    }
    return replace(factors, **{name: changed[name] for name in ADAPTABLE if name in adaptive})


def probability_guided_loss(
    logits: Tensor,
    target: Tensor,
    shift: float | Tensor,
    shot: Tensor,
    factors: Factors,
    guidance: Guidance,
    *,
    gamma: float | Tensor = 2.0,
    balance: float | Tensor = 1.0,
    limit: float | Tensor = 1e12,
    weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Probability guided loss.

        y = 1:  (1 - p)^lambda+ softplus(-lambda1+ (z - v)) / lambda2+
        y = 0:  p^lambda- softplus(lambda1- (z - v)) / lambda2-

        lambda+ = gamma p+ / p-,  lambda- = gamma p- / p+       focal = "adaptive"
        lambda+ = lambda- = gamma                               focal = "fixed"
        lambda+ = lambda- = 0                                   focal = "none"

    p is sigmoid(z) or, regularised, sigmoid(lambda1 (z - v)) with the lambda1 of the label. p+ and
    p- are the batch means of `probability_ratio`, with the factors before `adapted`. The ratios
    have no gradient; p has. With fixed exponents, regularised p, balance 2, the weight and the bias
    of the DB loss, lambda1- = lambda2- and positive factors of 1, this is DB-Focal.

    Args:
        logits: [B, C]; raw scores, which are also the scores at test time.
        target: [B, C], 0 or 1.
        shift: v, a number or [C].
        shot: int64 [C], the shot group of each class, see `baselines.shared.rebalancing`.
        factors: the base factors.
        guidance: the switches.
        gamma: lambda0.
        balance: factor on the loss unless `focal` is "none".
        limit: see `probability_ratio`.
        weight: [B, C] or None: the rebalanced weight of the DB loss.
        reduction: "mean" over all B*C entries, "sum", or "none" for [B, C].

    Returns:
        A scalar, or [B, C].

    Raises:
        ValueError: a switch or `reduction` that is not one of its choices.

    Source: Lin, Probability Guided Loss, AAAI 2023, equation 10. Its exponents of e have the wrong
    signs: as printed it rewards wrong labels. No code was published.
    """
    guidance.check()
    target = target.to(logits.dtype)
    shifted = logits - shift
    raw = guidance.probability == "raw"
    if guidance.adaptive != "none" or guidance.focal == "adaptive":
        ratio = probability_ratio(
            logits if raw else factors.lambda1_positive * shifted,
            logits if raw else factors.lambda1_negative * shifted,
            target,
            shot,
            negative_probability=guidance.negative_probability,
            limit=limit,
        )
        factors = adapted(factors, ratio, guidance)
    score_positive = factors.lambda1_positive * shifted
    score_negative = factors.lambda1_negative * shifted
    positive = -F.logsigmoid(score_positive) / factors.lambda2_positive
    negative = -F.logsigmoid(-score_negative) / factors.lambda2_negative
    if guidance.focal != "none":
        adaptive = guidance.focal == "adaptive"
        exponents = (gamma / ratio, gamma * ratio) if adaptive else (gamma, gamma)
        seen = (logits, logits) if raw else (score_positive, score_negative)
        # Powers are taken of logarithms: exact near 1, with finite value and gradient everywhere.
        positive = balance * torch.exp(exponents[0] * F.logsigmoid(-seen[0])) * positive
        negative = balance * torch.exp(exponents[1] * F.logsigmoid(seen[1])) * negative
    element = target * positive + (1.0 - target) * negative
    return reduced(element if weight is None else weight * element, reduction)


@dataclass(frozen=True)
class Hyper(RatioHyper, RebalancingHyper):
    """Hyperparameters of PG: those of PR and APAF, and the switches of the tables of the paper."""

    adaptive: str = hyper(
        "lambda1_negative",
        "factors that follow the ratio of mean probabilities",
        search=("none", "lambda1_negative", "lambda1_negative+lambda2_positive"),
        paper={"voc-lt": "lambda1_negative", "coco-lt": "lambda1_negative"},
        choices=selections(ADAPTABLE),
    )
    lambda1_positive_adapts: str = hyper(
        "narrow",
        "an adaptive lambda1_positive narrows the gap (table 1) or follows equation 8 literally",
        search=DIRECTIONS,
        choices=DIRECTIONS,
    )
    focal: str = hyper(
        "adaptive",
        "focal factor: none, with the fixed exponent gamma, or adaptive as in APAF",
        search=FOCALS,
        paper={"voc-lt": "adaptive", "coco-lt": "adaptive"},
        choices=FOCALS,
    )
    probability: str = hyper(
        "raw",
        "probability in the focal factor and the means: of z, or of lambda1 (z - v)",
        search=PROBABILITIES,
        choices=PROBABILITIES,
    )
    balance: float = hyper(
        1.0, "factor on the focal loss; 2 in DB-Focal", search=(1.0, 2.0), low=0.0
    )


class PG(Rebalanced):
    """Probability guided loss with class-aware sampling; unknown labels count as negative."""

    info = MethodInfo(
        key="pg",
        title="PG",
        paper="Lin, Probability Guided Loss for Long-Tailed Multi-Label Image Classification, "
        "AAAI 2023",
        year=2023,
        equation="p+ = mean of p over a class's positives in the batch, p- = mean of 1-p over its "
        "negatives;\nlambda1- <- lambda1- p-/p+;  lambda+ = gamma p+/p-, lambda- = gamma p-/p+;\n"
        "L = mean_{b,c} w [ y (1-p)^lambda+ softplus(-lambda1+ (z - v)) / lambda2+\n"
        "  + (1-y) p^lambda- softplus(lambda1- (z - v)) / lambda2- ],  v and w as PR,  "
        "unknown -> y = 0",
        unknown="negative",
        needs=("class counts", "class-aware sampling"),
        family="long-tailed",
        summary="`pr` and `apaf` combined",
    )
    Hyper = Hyper

    def guidance(self) -> Guidance:
        """The switches given by the hyperparameters."""
        return Guidance(
            adaptive=self.hyper.adaptive,
            lambda1_positive=self.hyper.lambda1_positive_adapts,
            focal=self.hyper.focal,
            probability=self.hyper.probability,
            negative_probability=self.hyper.negative_probability,
        )

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Apply `probability_guided_loss` to the batch."""
        target = positives(batch.observed, logits.dtype)
        return probability_guided_loss(
            logits,
            target,
            self.shift(run, target.dtype),
            run.constants["shot"],
            self.factors(run, target.dtype),
            self.guidance(),
            gamma=self.hyper.gamma,
            balance=self.hyper.balance,
            limit=self.hyper.limit,
            weight=self.weight(run, target),
        )
