"""Probability re-balancing: shot groups, and factors that are raised in some of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from baselines.core import Draw, MethodError, Problem, Run, Setup, hyper
from baselines.shared.class_aware import Counting, CountsHyper, Resampled, SamplerHyper
from baselines.shared.distribution_balanced import (
    BiasHyper,
    WeightHyper,
    class_bias,
    rebalanced_weight,
)

GROUPS = ("head", "medium", "tail")
FACTORS = ("lambda1_negative", "lambda2_negative", "lambda1_positive", "lambda2_positive")


def selections(names: Sequence[str]) -> tuple[str, ...]:
    """Every subset of some names, joined by "+": "none", "a", "b", "a+b"."""
    sizes = range(1, len(names) + 1)
    return ("none", *("+".join(s) for n in sizes for s in itertools.combinations(names, n)))


def shot_groups(class_counts: Tensor, many: int = 100, few: int = 20) -> Tensor:
    """The shot group of each class: 0 head (n_c >= many), 1 medium, 2 tail (n_c < few).

    Args:
        class_counts: [C], positives per class.
        many: the smallest count of a head class.
        few: the smallest count of a medium class.

    Returns:
        int64 [C].

    Raises:
        MethodError: `few` is larger than `many`, so a class would be head and tail at once.

    Source: Lin, AAAI 2023. The paper says "more than 100" for head classes, but its 6 : 6 : 8
    classes of VOC-LT require that 100 is included.
    """
    if few > many:
        raise MethodError(f"few={few} is above many={many}, the smallest count of a head class")
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


def _lambda(default: float, help: str, **paper: float) -> float:
    values = {name.replace("_", "-"): value for name, value in paper.items()} or None
    return hyper(default, help, search=(0.5, 10.0), paper=values, low=1e-3)


def _raise(default: float, name: str) -> float:
    text = f"factor on {name} if it is raised; the paper gives none"
    return hyper(default, text, search=(1.0, 5.0), low=1e-3)


@dataclass(frozen=True)
class ThresholdHyper:
    """Hyperparameters of the shot groups."""

    many: int = hyper(
        100,
        "smallest count of a head class",
        search=(50, 100, 200),
        paper={"voc-lt": 100, "coco-lt": 100},
        low=1,
    )
    few: int = hyper(
        20,
        "smallest count of a medium class",
        search=(10, 20, 50),
        paper={"voc-lt": 20, "coco-lt": 20},
        low=1,
    )


@dataclass(frozen=True)
class RebalancingHyper(SamplerHyper, CountsHyper, ThresholdHyper, BiasHyper, WeightHyper):
    """Hyperparameters of PR; the papers do not state how much factors are raised."""

    lambda1_negative: float = _lambda(5.0, "steepness of negatives", voc_lt=5.0, coco_lt=2.0)
    lambda2_negative: float = _lambda(5.0, "divisor of negatives", voc_lt=5.0, coco_lt=2.0)
    lambda1_positive: float = _lambda(1.0, "steepness of positives", voc_lt=1.0, coco_lt=1.0)
    lambda2_positive: float = _lambda(1.0, "divisor of positives", voc_lt=1.0, coco_lt=1.0)
    raised: str = hyper(
        "lambda1_negative+lambda2_positive",
        "factors that are raised",
        search=("none", "lambda1_negative", "lambda1_negative+lambda2_positive"),
        paper={
            "voc-lt": "lambda1_negative+lambda2_positive",
            "coco-lt": "lambda1_negative+lambda1_positive",
        },
        choices=selections(FACTORS),
    )
    raised_groups: str = hyper(
        "tail",
        "shot groups whose factors are raised",
        search=("tail", "medium+tail", "head+medium+tail"),
        paper={"voc-lt": "tail", "coco-lt": "head+medium+tail"},
        choices=selections(GROUPS),
    )
    raise_lambda1_negative: float = _raise(1.4, "lambda1_negative")
    raise_lambda2_negative: float = _raise(2.0, "lambda2_negative")
    raise_lambda1_positive: float = _raise(2.0, "lambda1_positive")
    raise_lambda2_positive: float = _raise(2.0, "lambda2_positive")
    rebalance: bool = hyper(True, "use the rebalanced weight of the DB loss", search=(True, False))


class Rebalanced(Counting, Resampled):
    """A method with the gradient scaling factors of PR; its `Hyper` is a `RebalancingHyper`."""

    Hyper: ClassVar[type] = RebalancingHyper

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """Create head, class counts, shot groups, and which classes have raised factors."""
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
        """The four factors, raised where `raised` and `raised_groups` say so."""
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
        """The rebalanced weight [B, C], or None without `rebalance`."""
        if not self.hyper.rebalance:
            return None
        alpha, beta, mu = self.hyper.alpha, self.hyper.beta, self.hyper.mu
        counts = run.constants["class_counts"]
        return rebalanced_weight(target, counts, alpha=alpha, beta=beta, mu=mu)
