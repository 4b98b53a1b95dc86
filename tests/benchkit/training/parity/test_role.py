"""ROLE with half of the labels and with single positives, against a plain loop."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from plain_training import SEEDS, PlainRun, assert_equal_runs, plain_recipe, training_set
from torch import Tensor

from baselines.role import ROLE

EXPECTED = 1.5  # positives per image


def neg_log(a: Tensor) -> Tensor:
    return -torch.log(a + 1e-5)


def cross(target: Tensor, p: Tensor) -> Tensor:
    """The cross-entropy of p against a constant target."""
    target = target.detach()
    return target * neg_log(p) + (1 - target) * neg_log(1 - p)


class PlainROLE(PlainRun):
    """Classifier p and estimator q teach each other; both expect `EXPECTED` positives per image.

    The estimator [N, C] is an ordinary parameter: Adam moves all its rows in every step.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        theta = self.params["estimator.logits"].detach()
        spread, sure = math.log(0.6 / 0.4), math.log(0.995 / 0.005)
        assert (theta[self.z == -1].abs() <= spread).all()
        assert theta[self.z == -1].std() > 0.2
        torch.testing.assert_close(theta[self.z == 1], theta[self.z == 1] * 0 + sure)
        torch.testing.assert_close(theta[self.z == 0], theta[self.z == 0] * 0 - sure)

    def groups(self) -> list[dict[str, Any]]:
        model = [self.params["head.weight"], self.params["head.bias"]]
        estimator = [self.params["estimator.logits"]]
        return [{"params": model}, {"params": estimator, "factor": 10.0, "weight_decay": 0.0}]

    def loss(self, rows: Tensor, x: Tensor) -> Tensor:
        z = (self.z[rows] == 1).double()
        p = torch.sigmoid(self.logits(x))
        q = torch.sigmoid(self.params["estimator.logits"][rows])
        entropy = z * (neg_log(p) + neg_log(q)) + cross(q, p) + cross(p, q)
        excess_p = (p.sum(1).mean() - EXPECTED) / p.shape[1]
        excess_q = (q.sum(1).mean() - EXPECTED) / p.shape[1]
        return 0.5 * entropy.mean() + 0.5 * (excess_p**2 + excess_q**2)


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("regime", ["pal:0.5", "spl"])
def test_role_equals_a_plain_loop(regime: str, seeds: list[int]) -> None:
    hyper = ROLE.Hyper(expected_positives=EXPECTED)
    data, recipe = training_set(regime), plain_recipe(lr=0.02)
    assert_equal_runs(ROLE, hyper, PlainROLE, data, recipe, seeds)
