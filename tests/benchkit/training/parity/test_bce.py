"""BCE against a plain loop, under each optimiser and each schedule."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch.nn.functional as F
from plain_training import SEEDS, PlainRun, assert_equal_runs, plain_recipe, training_set
from torch import Tensor

from baselines.bce import BCE

RECIPES: dict[str, dict[str, Any]] = {
    "sgd": dict(
        optimiser="sgd",
        lr=0.05,
        lr_scale="classes",
        momentum=0.9,
        weight_decay=1e-2,
        schedule="step",
        milestones="1,2",
        factor=0.3,
        warmup=0.4,
        warmup_ratio=0.25,
        clip=0.2,
    ),
    "adam": dict(optimiser="adam", lr=0.02, weight_decay=1e-2, schedule="cosine", warmup=0.2),
    "adamw": dict(optimiser="adamw", lr=0.02, weight_decay=0.5, schedule="constant"),
}


class PlainBCE(PlainRun):
    """L = mean_{b,c} BCE(z, y)."""

    def loss(self, rows: Tensor, x: Tensor) -> Tensor:
        y = (self.z[rows] == 1).double()
        return F.binary_cross_entropy_with_logits(self.logits(x), y)


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("name", RECIPES)
def test_bce_equals_a_plain_loop(name: str, seeds: list[int]) -> None:
    recipe = plain_recipe(**RECIPES[name])
    assert_equal_runs(BCE, None, PlainBCE, training_set("full"), recipe, seeds)


@pytest.mark.parametrize("name", RECIPES)
def test_stacked_runs_may_differ_in_rate_and_weight_decay(name: str) -> None:
    first = plain_recipe(**RECIPES[name])
    second = replace(first, lr=2 * first.lr, weight_decay=3 * first.weight_decay)
    recipes = [first, first, second]
    assert_equal_runs(BCE, None, PlainBCE, training_set("full"), recipes, [0, 1, 0])
