"""AN on single positives against a plain loop."""

from __future__ import annotations

import pytest
import torch
from plain_training import SEEDS, PlainRun, assert_equal_runs, plain_recipe, training_set
from torch import Tensor

from baselines.an import AN


class PlainAN(PlainRun):
    """L = mean_{b,c} z nl(p) + (1-z) nl(1-p), nl(a) = -log(a + 1e-5); unknown labels have z = 0."""

    def loss(self, rows: Tensor, x: Tensor) -> Tensor:
        p = torch.sigmoid(self.logits(x))
        loss = torch.where(self.z[rows] == 1, -torch.log(p + 1e-5), -torch.log(1 - p + 1e-5))
        return loss.mean()


@pytest.mark.parametrize("seeds", SEEDS)
def test_an_equals_a_plain_loop(seeds: list[int]) -> None:
    recipe = plain_recipe(optimiser="adamw", lr=0.05, weight_decay=0.1, schedule="cosine")
    assert_equal_runs(AN, None, PlainAN, training_set("spl"), recipe, seeds)
