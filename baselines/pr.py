"""PR: probability re-balancing, four factors on the gradients of positives and negatives.

NTR is the special case in which only negatives are scaled, by equal factors. The factors can be
raised for some shot groups alone, as the paper does for the tail classes of VOC-LT.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.core import (
    Batch,
    Clock,
    Draw,
    MethodError,
    MethodInfo,
    Problem,
    Run,
    Setup,
    hyper,
    positives,
)
from baselines.core.losses import reduced
from baselines.db_focal import (
    BiasHyper,
    Counting,
    CountsHyper,
    Resampled,
    SamplerHyper,
    WeightHyper,
    class_bias,
    rebalanced_weight,
)

GROUPS = ("head", "medium", "tail")
FACTORS = ("lambda1_negative", "lambda2_negative", "lambda1_positive", "lambda2_positive")


def selections(names: Sequence[str]) -> tuple[str, ...]:
    """Every subset of some names as a text, joined by "+": "none", "a", "b", "a+b"."""
    sizes = range(1, len(names) + 1)
    return ("none", *("+".join(s) for n in sizes for s in itertools.combinations(names, n)))


def shot_groups(class_counts: Tensor, many: int = 100, few: int = 20) -> Tensor:
    """The shot group of each class: 0 head, n_c >= many; 1 medium; 2 tail, n_c < few.

    Args:
        class_counts: [C], positives per class.
        many: the least count of a head class.
        few: the least count of a medium class.

    Returns:
        int64 [C].

    Raises:
        MethodError: `few` is above `many`; a class would be medium and head at once.

    Source: Lin, AAAI 2023, says "more than 100" for head classes; 100 itself has to be one of them
    for its 6 : 6 : 8 classes of VOC-LT.
    """
    if few > many:
        raise MethodError(f"few={few} is above many={many}, the least count of a head class")
    return (class_counts < many).long() + (class_counts < few).long()


@dataclass(frozen=True)
class Factors:
    """The gradient scaling factors of PR, each above 0: a number or one per class [C].

    Attributes:
        lambda1_negative: steepness of the negative term.
        lambda2_negative: divisor of the negative term.
        lambda1_positive: steepness of the positive term.
        lambda2_positive: divisor of the positive term.
    """

    lambda1_negative: float | Tensor = 1.0
    lambda2_negative: float | Tensor = 1.0
    lambda1_positive: float | Tensor = 1.0
    lambda2_positive: float | Tensor = 1.0


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

    With lambda1- = lambda2- and lambda1+ = lambda2+ = 1 it is NTR; with all four 1 and v = 0 it is
    binary cross-entropy. For 0 < y < 1 the two terms are interpolated.

    Args:
        logits: [B, C]; raw scores, which are also the scores at test time.
        target: [B, C] in [0, 1].
        shift: v, a number or [C]; minus `baselines.db_focal.class_bias`.
        factors: the four factors.
        weight: [B, C] or None: the rebalanced weight of the DB loss.
        reduction: "mean" over all B*C entries, "sum", or "none" for [B, C].

    Returns:
        A scalar, or [B, C].

    Raises:
        ValueError: an unknown `reduction`.

    Source: Lin, Probability Guided Loss, AAAI 2023, equation 5. The paper sums (equation 1); its
    tables put PR in the place of NTR in the DB loss, hence `weight`. No code was published.
    """
    target = target.to(logits.dtype)
    shifted = logits - shift
    positive = -F.logsigmoid(factors.lambda1_positive * shifted) / factors.lambda2_positive
    negative = -F.logsigmoid(-factors.lambda1_negative * shifted) / factors.lambda2_negative
    element = target * positive + (1.0 - target) * negative
    return reduced(element if weight is None else weight * element, reduction)


def _lambda(default: float, what: str, **paper: float) -> float:
    values = {name.replace("_", "-"): value for name, value in paper.items()} or None
    return hyper(default, what, search=(0.5, 10.0), paper=values, low=1e-3)


def _raise(default: float, name: str) -> float:
    what = f"factor on {name} where it is raised; the paper gives none"
    return hyper(default, what, search=(1.0, 5.0), low=1e-3)


@dataclass(frozen=True)
class ThresholdHyper:
    """The shot groups."""

    many: int = hyper(
        100,
        "least count of a head class",
        search=(50, 100, 200),
        paper={"voc-lt": 100, "coco-lt": 100},
        low=1,
    )
    few: int = hyper(
        20,
        "least count of a medium class",
        search=(10, 20, 50),
        paper={"voc-lt": 20, "coco-lt": 20},
        low=1,
    )


@dataclass(frozen=True)
class Hyper(SamplerHyper, CountsHyper, ThresholdHyper, BiasHyper, WeightHyper):
    """Hyperparameters of PR; where it says so, the papers give no value."""

    lambda1_negative: float = _lambda(5.0, "steepness of negatives", voc_lt=5.0, coco_lt=2.0)
    lambda2_negative: float = _lambda(5.0, "divisor of negatives", voc_lt=5.0, coco_lt=2.0)
    lambda1_positive: float = _lambda(1.0, "steepness of positives", voc_lt=1.0, coco_lt=1.0)
    lambda2_positive: float = _lambda(1.0, "divisor of positives", voc_lt=1.0, coco_lt=1.0)
    raised: str = hyper(
        "lambda1_negative+lambda2_positive",
        "which factors are raised",
        search=("none", "lambda1_negative", "lambda1_negative+lambda2_positive"),
        paper={
            "voc-lt": "lambda1_negative+lambda2_positive",
            "coco-lt": "lambda1_negative+lambda1_positive",
        },
        choices=selections(FACTORS),
    )
    raised_groups: str = hyper(
        "tail",
        "the shot groups whose factors are raised",
        search=("tail", "medium+tail", "head+medium+tail"),
        paper={"voc-lt": "tail", "coco-lt": "head+medium+tail"},
        choices=selections(GROUPS),
    )
    raise_lambda1_negative: float = _raise(1.4, "lambda1_negative")
    raise_lambda2_negative: float = _raise(2.0, "lambda2_negative")
    raise_lambda1_positive: float = _raise(2.0, "lambda1_positive")
    raise_lambda2_positive: float = _raise(2.0, "lambda2_positive")
    rebalance: bool = hyper(True, "use the rebalanced weight of the DB loss", search=(True, False))


class PR(Counting, Resampled):
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
        differs="No code was published. The equation has no weight w, but the table's rows start "
        "from the full DB loss, so it is on (rebalance=true). By how much a factor is raised is "
        "not given: VOC-LT 1.4 (to 7) and 2 are ours. Whether kappa is divided by lambda, as in "
        "the DB-loss code that was re-trained there, is not said; bias=code does, by the lambda1- "
        "that is not raised. Shot groups are of the observed counts.",
        source="equations",
        reference="Lin, AAAI 2023, with the signs of the printed equations corrected",
        tolerance="1e-9; step 1e-5 in float32",
        evidence=(
            "tests/baselines/test_long_tail_vectors.py::test_equals_the_vectors",
            "tests/baselines/test_pr.py::test_numpy_reference",
            "tests/baselines/test_pr.py::test_factors_are_raised_in_their_groups",
            "tests/baselines/test_pr.py::test_groups_are_of_observed_counts",
        ),
    )
    Hyper = Hyper

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """Besides head and counts, each class's shot group and whether its factors are raised."""
        for name, names in (("raised", FACTORS), ("raised_groups", GROUPS)):
            if getattr(self.hyper, name) not in selections(names):
                text = f"{name} is '{getattr(self.hyper, name)}'"
                raise MethodError(f"{text}; it must be one of {list(selections(names))}")
        setup = super().setup(problem, draw)
        counts = setup.constants["class_counts"]
        shot = shot_groups(counts, self.hyper.many, self.hyper.few)
        raised = torch.tensor([name in self.hyper.raised_groups.split("+") for name in GROUPS])
        setup.constants["shot"] = shot
        setup.constants["raised"] = raised.to(shot.device)[shot]
        return setup

    def factors(self, run: Run, dtype: torch.dtype) -> Factors:
        """The four factors, with those raised that are to be raised."""
        values = {}
        raised = run.constants["raised"]
        one = torch.ones_like(raised, dtype=dtype)
        for name in FACTORS:
            value = getattr(self.hyper, name)
            if name in self.hyper.raised.split("+"):
                more = getattr(self.hyper, f"raise_{name}")
                value = value * torch.where(raised, more * one, one)
            values[name] = value
        return Factors(**values)

    def shift(self, run: Run, dtype: torch.dtype) -> Tensor:
        """The class bias v, [C]."""
        counts, total = run.constants["class_counts"].to(dtype), run.constants["num_images"]
        kappa, scale = self.hyper.kappa, self.hyper.lambda1_negative
        return -class_bias(counts, total, kappa, scale, self.hyper.bias)

    def weight(self, run: Run, target: Tensor) -> Tensor | None:
        """The rebalanced weight [B, C], where it applies."""
        if not self.hyper.rebalance:
            return None
        alpha, beta, mu = self.hyper.alpha, self.hyper.beta, self.hyper.mu
        counts = run.constants["class_counts"]
        return rebalanced_weight(target, counts, alpha=alpha, beta=beta, mu=mu)

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """The equation of `probability_rebalancing_loss`."""
        target = positives(batch.observed, logits.dtype)
        return probability_rebalancing_loss(
            logits,
            target,
            self.shift(run, target.dtype),
            self.factors(run, target.dtype),
            weight=self.weight(run, target),
        )
