"""PG: the probability guided loss, which joins re-balanced probabilities and adaptive exponents.

Every row of the ablations in the paper is a setting of the hyperparameters:

| table | row | raised | adaptive | focal | and |
|---|---|---|---|---|---|
| 3 | DB | none | none | none | |
| 3 | PR(l1-), PR(l2+), PR(l1+) | that factor | none | none | |
| 3 | PR(l1-, l2+) VOC-LT | lambda1_negative+lambda2_positive | none | none | |
| 3 | PR(l1-, l1+) COCO-LT | lambda1_negative+lambda1_positive | none | none | |
| 4 | FF, AF, FA, AA | as the last two rows | the A among the two | adaptive | |
| 5 | Focal, APAF | none | none | fixed, adaptive | factors 1, kappa 0, rebalance off |
| 5 | APR + Focal, APR + APAF | as table 4 | lambda1_negative | fixed, adaptive | |

On VOC-LT `raised_groups` is tail, on COCO-LT head+medium+tail. The defaults are AF of VOC-LT, the
paper's final loss there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.apaf import RatioHyper, probability_ratio
from baselines.core import Batch, Clock, Draw, MethodInfo, Run, hyper, positives
from baselines.core.losses import reduced
from baselines.pr import PR, Factors, selections
from baselines.pr import Hyper as PRHyper

ADAPTABLE = ("lambda1_negative", "lambda1_positive", "lambda2_positive")
FOCALS = ("none", "fixed", "adaptive")
PROBABILITIES = ("raw", "regularised")
DIRECTIONS = ("narrow", "literal")


@dataclass(frozen=True)
class Guidance:
    """The switches of the probability guided loss.

    Attributes:
        adaptive: which factors are multiplied by the ratio of means: "none", or names of
            `ADAPTABLE` joined by "+".
        lambda1_positive: "narrow" lets lambda1+ rise where negatives lead, as table 1 of the paper
            demands; "literal" inverts it, as equation 8 suggests for a positive factor.
        focal: "none", "fixed" (exponent gamma) or "adaptive" (APAF).
        probability: what the focal factor and the means are of: "raw" for sigmoid(z),
            "regularised" for sigmoid(lambda1 (z - v)).
        negative_probability: see `baselines.apaf.probability_ratio`.
    """

    adaptive: str = "lambda1_negative"
    lambda1_positive: str = "narrow"
    focal: str = "adaptive"
    probability: str = "raw"
    negative_probability: str = "complement"

    def check(self) -> None:
        """Raise a ValueError that names a switch whose value is none of its choices."""
        for name, choices in (
            ("adaptive", selections(ADAPTABLE)),
            ("lambda1_positive", DIRECTIONS),
            ("focal", FOCALS),
            ("probability", PROBABILITIES),
        ):
            if getattr(self, name) not in choices:
                wanted = f"it must be one of {list(choices)}"
                raise ValueError(f"{name} is '{getattr(self, name)}'; {wanted}")


def adapted(factors: Factors, ratio: Tensor, guidance: Guidance) -> Factors:
    """Adaptive probability re-balancing: some factors times a power of p- / p+.

        lambda1- <- lambda1- p- / p+
        lambda2+ <- lambda2+ p+ / p-
        lambda1+ <- lambda1+ p- / p+ ("narrow") or lambda1+ p+ / p- ("literal")

    Args:
        factors: the base factors.
        ratio: [C], p- / p+.
        guidance: which of them adapt.

    Returns:
        The factors of this batch.

    Source: Lin, AAAI 2023, which names the scheme without an equation; this follows equation 8 and
    table 1.
    """
    chosen = guidance.adaptive.split("+")
    upwards = ratio if guidance.lambda1_positive == "narrow" else 1.0 / ratio
    changed = {
        "lambda1_negative": factors.lambda1_negative * ratio,
        "lambda2_positive": factors.lambda2_positive / ratio,
        "lambda1_positive": factors.lambda1_positive * upwards,
    }
    return replace(factors, **{name: changed[name] for name in ADAPTABLE if name in chosen})


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

    p is sigmoid(z) or, regularised, sigmoid(lambda1 (z - v)) with the label's own lambda1; p+ and
    p- are the batch means of `baselines.apaf.probability_ratio`, of the factors before they are
    adapted by `adapted`. Ratios carry no gradient; p does. With fixed exponents, regularised p,
    balance 2, the weight and the bias of the DB loss, lambda1- = lambda2- and positive factors of 1
    it is DB-Focal.

    Args:
        logits: [B, C]; raw scores, which are also the scores at test time.
        target: [B, C], 0 or 1.
        shift: v, a number or [C].
        shot: int64 [C], the shot group of each class, see `baselines.pr.shot_groups`.
        factors: the base factors.
        guidance: the switches.
        gamma: lambda0.
        balance: factor on the loss of both classes where `focal` is not "none".
        limit: see `probability_ratio`.
        weight: [B, C] or None: the rebalanced weight of the DB loss.
        reduction: "mean" over all B*C entries, "sum", or "none" for [B, C].

    Returns:
        A scalar, or [B, C].

    Raises:
        ValueError: a switch or `reduction` that is not one of its choices.

    Source: Lin, Probability Guided Loss, AAAI 2023, equation 10, whose exponents of e have the
    signs exchanged: as printed it rewards wrong labels. No code was published.
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
        # Powers in the logarithm: exact near 1, and finite in value and gradient everywhere.
        positive = balance * torch.exp(exponents[0] * F.logsigmoid(-seen[0])) * positive
        negative = balance * torch.exp(exponents[1] * F.logsigmoid(seen[1])) * negative
    element = target * positive + (1.0 - target) * negative
    return reduced(element if weight is None else weight * element, reduction)


@dataclass(frozen=True)
class Hyper(RatioHyper, PRHyper):
    """Hyperparameters of PG: those of PR and APAF, and the switches of the paper's tables."""

    adaptive: str = hyper(
        "lambda1_negative",
        "which factors follow the ratio of mean probabilities",
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
        "no focal factor, one with the exponent gamma, or APAF",
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


class PG(PR):
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
        differs="No code was published, and equations 9 and 10 are printed with wrong signs. Not "
        "said, and therefore options: what p- is of (negative_probability), p of the raw or the "
        "regularised logit (probability=raw as printed), the weight w (rebalance=true, as the "
        "table's rows start from DB), the factor 2 of DB-Focal (balance=1, without it), kappa "
        "over lambda (bias=code), an adaptive lambda1+ (lambda1_positive_adapts). The raised "
        "factors are ours (see PR). Shot groups are of the observed counts.",
        source="equations",
        reference="Lin, AAAI 2023, with the signs of the printed equations corrected",
        tolerance="1e-9; step 1e-6 in float32",
        evidence=(
            "tests/baselines/test_long_tail_vectors.py::test_equals_the_vectors",
            "tests/baselines/test_pg.py::test_numpy_reference_in_value",
            "tests/baselines/test_pg.py::test_numpy_reference_in_gradient",
            "tests/baselines/test_pg.py::test_method_as_db_focal",
        ),
    )
    Hyper = Hyper

    def guidance(self) -> Guidance:
        """The switches that the hyperparameters say."""
        return Guidance(
            adaptive=self.hyper.adaptive,
            lambda1_positive=self.hyper.lambda1_positive_adapts,
            focal=self.hyper.focal,
            probability=self.hyper.probability,
            negative_probability=self.hyper.negative_probability,
        )

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """The equation of `probability_guided_loss`."""
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
