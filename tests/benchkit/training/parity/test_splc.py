"""SPLC on single positives against a plain loop."""

from __future__ import annotations

import pytest
import torch
from plain_training import SEEDS, PlainRun, assert_equal_runs, plain_recipe, training_set
from torch import Tensor

from baselines.splc import SPLC

TAU, CHANGE_EPOCH = 0.55, 1


class PlainSPLC(PlainRun):
    """Margin, correction from the second epoch on, then a focal loss on the new targets."""

    flips = 0

    def loss(self, rows: Tensor, x: Tensor) -> Tensor:
        target = (self.z[rows] == 1).long()
        u = torch.where(target == 1, self.logits(x) - 1.0, self.logits(x))
        if self.epoch - 1 >= CHANGE_EPOCH:
            confident = torch.sigmoid(u) > TAU
            self.flips += int((confident & (target == 0)).sum())
            target = torch.where(confident, 1, target)
        s = torch.sigmoid(u)
        of_positive = -((1 - s) ** 2) * torch.log(s)
        of_negative = -(s**2) * torch.log(1 - s)
        return torch.where(target == 1, of_positive, of_negative).sum() / s.numel()


@pytest.mark.parametrize("seeds", SEEDS)
def test_splc_equals_a_plain_loop(seeds: list[int]) -> None:
    hyper = SPLC.Hyper(tau=TAU, change_epoch=CHANGE_EPOCH, margin=1.0, gamma=2.0)
    data, recipe = training_set("spl"), plain_recipe(lr=0.05)
    runs = assert_equal_runs(SPLC, hyper, PlainSPLC, data, recipe, seeds)
    assert all(run.flips > 3 for run in runs)
