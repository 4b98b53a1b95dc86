"""BCE against the published codes' numbers."""

from __future__ import annotations

import numpy as np
import torch

from baselines.asl import asymmetric_loss
from baselines.bce import BCE, bce
from baselines.core import registry


def test_equals_the_distribution_balanced_code(vectors, assert_matches):
    case = vectors("lt_bce")
    target = torch.tensor(case["targets"])
    assert_matches(lambda z: bce(z, target), case["logits"], case["loss"], case["grad_logits"])


def test_sum_form_is_asl_without_its_factors(vectors, assert_matches):
    for case in vectors("pl_bce_asl")["cases"]:
        target = torch.tensor(case["observed"])

        def loss(z, target=target):
            return bce(z, target) * z.numel()

        def without_factors(z, target=target):
            return asymmetric_loss(z, target, gamma_negative=0.0, gamma_positive=0.0, clip=0.0)

        for form in (loss, without_factors):
            assert_matches(form, case["logits"], case["loss"], case["grad_logits"])


def test_numpy_reference_with_soft_targets(uniform, assert_reference):
    target = uniform("target", (3, 4))

    def reference(z):
        p = 1 / (1 + np.exp(-z))
        return -np.mean(target * np.log(p) + (1 - target) * np.log(1 - p))

    logits = uniform("logits", (3, 4), -6, 6)
    assert_reference(lambda z: bce(z, torch.from_numpy(target)), reference, logits)


def test_finite_in_float32(assert_finite):
    assert_finite(lambda z, observed: bce(z, (observed == 1).float()))


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
