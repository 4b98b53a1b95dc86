"""DB-Focal with its sampler and its recipe against a plain loop."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from plain_training import (
    BATCH,
    IMAGES,
    SEEDS,
    STEPS,
    ClassAwareSampler,
    PlainRun,
    assert_equal_runs,
    plain_recipe,
    positive_lists,
    training_set,
)
from torch import Tensor

from baselines.db_focal import DBFocal

ALPHA, BETA, MU, LAMBDA, KAPPA = 0.1, 10.0, 0.3, 5.0, 0.05


class PlainDBFocal(PlainRun):
    """The loss label by label, with the class counts of the training set.

    y = 1: 2 w (1-p)^2 softplus(-(z-v)), p = sigmoid(z-v)
    y = 0: 2 (w/lambda) q^2 softplus(lambda (z-v)), q = sigmoid(lambda (z-v))
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        lists = positive_lists(self.z)
        # A class without positives counts as one with a single positive.
        self.counts = torch.tensor([max(1, len(images)) for images in lists]).double()
        self.sampler = ClassAwareSampler(lists, 3, self.seed)

    def order(self) -> list[int]:
        return self.sampler.epoch(STEPS * BATCH)

    def loss(self, rows: Tensor, x: Tensor) -> Tensor:
        total = torch.zeros(())
        for z, labels in zip(self.logits(x), self.z[rows], strict=True):
            positive = [k for k in range(len(z)) if labels[k] == 1]
            instance = sum(1 / self.counts[k] for k in positive)
            for k, n in enumerate(self.counts.tolist()):
                ratio = 1 / n / instance if positive else math.inf
                weight = ALPHA + 1 / (1 + math.exp(-BETA * (ratio - MU)))
                v = KAPPA / LAMBDA * math.log(IMAGES / n - 1)
                if labels[k] == 1:
                    p = torch.sigmoid(z[k] - v)
                    loss = 2 * weight * (1 - p) ** 2 * -torch.log(p)
                else:
                    q = torch.sigmoid(LAMBDA * (z[k] - v))
                    loss = 2 * weight / LAMBDA * q**2 * -torch.log(1 - q)
                total = total + loss
        return total / x.shape[0] / len(self.counts)


@pytest.mark.parametrize("seeds", SEEDS)
def test_db_focal_equals_a_plain_loop(seeds: list[int]) -> None:
    hyper = DBFocal.Hyper(
        sampler="class-aware",
        sampler_labels="observed",
        length="images",
        reduce=4,
        counts="observed",
        kappa=KAPPA,
        bias="code",
        neg_scale=LAMBDA,
        alpha=ALPHA,
        beta=BETA,
        mu=MU,
        gamma=2.0,
        balance=2.0,
        focal=True,
        rebalance=True,
        regularise=True,
    )
    recipe = plain_recipe(
        optimiser="sgd",
        lr=0.2,
        momentum=0.9,
        weight_decay=1e-4,
        schedule="step",
        milestones="2",
        factor=0.1,
        warmup=0.5,
        clip=0.05,
    )
    assert_equal_runs(DBFocal, hyper, PlainDBFocal, training_set("full"), recipe, seeds)
