"""ASL on single positives against a plain loop."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from plain_training import SEEDS, PlainRun, assert_equal_runs, plain_recipe, training_set
from torch import Tensor

from baselines.asl import ASL


class PlainASL(PlainRun):
    """The asymmetric loss, a sum over the batch that is divided by B*C.

    y = 1: -(1-p)^g+ log max(p, 1e-8),   y = 0: -p_m^g- log max(1-p_m, 1e-8),   p_m = max(p-m, 0)
    """

    def __init__(
        self, *args: Any, gammas: tuple[float, float], clip: float, gradient: bool
    ) -> None:
        super().__init__(*args)
        self.gammas, self.clip, self.gradient = gammas, clip, gradient
        self.dropped = 0  # negatives below the margin

    def loss(self, rows: Tensor, x: Tensor) -> Tensor:
        p = torch.sigmoid(self.logits(x))
        positive = self.z[rows] == 1
        shifted = torch.clamp(p - self.clip, min=0)
        self.dropped += int((shifted[~positive] == 0).sum())
        weight = torch.where(positive, (1 - p) ** self.gammas[0], shifted ** self.gammas[1])
        if not self.gradient:
            weight = weight.detach()
        probability = torch.where(positive, p, 1 - shifted)
        return -(weight * torch.log(probability.clamp(min=1e-8))).sum() / p.numel()


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize(
    ("gammas", "clip", "gradient"), [((0.0, 4.0), 0.05, False), ((1.0, 2.0), 0.4, True)]
)
def test_asl_equals_a_plain_loop(
    gammas: tuple[float, float], clip: float, gradient: bool, seeds: list[int]
) -> None:
    hyper = ASL.Hyper(
        gamma_positive=gammas[0], gamma_negative=gammas[1], clip=clip, focal_gradient=gradient
    )
    data, recipe = training_set("spl"), plain_recipe(lr=0.1, schedule="cosine")
    options: dict[str, Any] = dict(gammas=gammas, clip=clip, gradient=gradient)
    runs = assert_equal_runs(ASL, hyper, PlainASL, data, recipe, seeds, **options)
    if clip == 0.4:
        assert all(run.dropped for run in runs)
