"""BCE against numbers from two published implementations."""

from __future__ import annotations

import numpy as np
import torch

from baselines.asl import asymmetric_loss
from baselines.bce import BCE, bce
from baselines.core import registry


def test_equals_the_distribution_balanced_code(vectors, assert_matches):
    case = vectors("lt_bce")
    target = torch.tensor(case["targets"])
    assert_matches(
        lambda logits: bce(logits, target), case["logits"], case["loss"], case["grad_logits"]
    )


def test_sum_form_is_asl_without_its_factors(vectors, assert_matches):
    for case in vectors("pl_bce_asl")["cases"]:
        target = torch.tensor(case["observed"])

        def summed(logits, target=target):
            return bce(logits, target) * logits.numel()

        def neutral_asl(logits, target=target):
            return asymmetric_loss(logits, target, gamma_negative=0.0, gamma_positive=0.0, clip=0.0)

        for loss in (summed, neutral_asl):
            assert_matches(loss, case["logits"], case["loss"], case["grad_logits"])


def test_numpy_reference_with_soft_targets(uniform, assert_reference):
    target = uniform("target", (3, 4))

    def reference(logits):
        """-mean[y log p + (1 - y) log(1 - p)]."""
        probability = 1 / (1 + np.exp(-logits))
        return -np.mean(target * np.log(probability) + (1 - target) * np.log(1 - probability))

    assert_reference(
        lambda logits: bce(logits, torch.from_numpy(target)),
        reference,
        uniform("logits", (3, 4), -6, 6),
    )


def test_finite_in_float32(assert_finite):
    assert_finite(lambda logits, observed: bce(logits, (observed == 1).float()))


def test_unknown_counts_as_negative(toy_problem, first_step):
    problem = toy_problem(1)
    run, batch, step = first_step(BCE(), problem)
    logits = BCE().logits(run, batch.features)
    target = (batch.observed == 1).float()
    assert step.loss.item() == bce(logits, target).item()
    assert (batch.observed == -1).any()


def test_stacks(assert_stacks):
    assert_stacks(BCE())


def test_is_registered():
    assert registry.get("bce") is BCE
