"""Hill on single positives against a plain loop."""

from __future__ import annotations

import pytest
import torch
from plain_training import SEEDS, PlainRun, assert_equal_runs, plain_recipe, training_set
from torch import Tensor

from baselines.hill import Hill


class PlainHill(PlainRun):
    """y = 1: -(1-s)^2 log s, s = sigmoid(x - 1);  y = 0: (1.5 - p) p^2;  divided by B*C."""

    def loss(self, rows: Tensor, x: Tensor) -> Tensor:
        logits = self.logits(x)
        s, p = torch.sigmoid(logits - 1.0), torch.sigmoid(logits)
        of_positive = -((1 - s) ** 2.0) * torch.log(s)
        of_negative = (1.5 - p) * p**2
        positive = self.z[rows] == 1
        return torch.where(positive, of_positive, of_negative).sum() / logits.numel()


@pytest.mark.parametrize("seeds", SEEDS)
def test_hill_equals_a_plain_loop(seeds: list[int]) -> None:
    hyper = Hill.Hyper(lam=1.5, margin=1.0, gamma=2.0)
    recipe = plain_recipe(lr=0.05, schedule="cosine", warmup=0.2)
    assert_equal_runs(Hill, hyper, PlainHill, training_set("spl"), recipe, seeds)
