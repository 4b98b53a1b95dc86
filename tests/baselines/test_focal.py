"""Focal loss: a NumPy reference of its forms, identities, hard cases, the method."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baselines.bce import bce
from baselines.core import registry
from baselines.focal import FORMS, Focal, Hyper, focal_loss


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def reference(logits, target, gamma, factors, constant_logits=None):
    """-f+ (1 - p)^gamma log p for positives, -f- p^gamma log(1 - p) for negatives; their mean.

    `factors` are (f+, f-). The powers are taken at `constant_logits` if they carry no gradient.
    """
    positive_factor, negative_factor = factors
    probability = sigmoid(logits)
    power_base = probability if constant_logits is None else sigmoid(constant_logits)
    positive_terms = positive_factor * (1 - power_base) ** gamma * np.log(probability)
    negative_terms = negative_factor * power_base**gamma * np.log(1 - probability)
    return -np.where(target, positive_terms, negative_terms).mean()


@pytest.mark.parametrize("focal_gradient", [True, False])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 3.7])
@pytest.mark.parametrize(
    ("form", "factors"),
    [("resample", (1.5, 1.5)), ("focal-loss", (0.3, 0.3)), ("alpha", (0.3, 0.7))],
)
def test_numpy_reference(uniform, assert_reference, form, factors, gamma, focal_gradient):
    target = uniform("target", (4, 5)) < 0.4
    logits = uniform("logits", (4, 5), -4, 4)
    constant_logits = None if focal_gradient else logits
    options = dict(form=form, gamma=gamma, balance=1.5, alpha=0.3, focal_gradient=focal_gradient)
    assert_reference(
        lambda logits: focal_loss(logits, torch.from_numpy(target), **options),
        lambda logits: reference(logits, target, gamma, factors, constant_logits),
        logits,
    )


def test_identities(uniform):
    logits = torch.from_numpy(uniform("logits", (4, 5), -8, 8))
    target = torch.from_numpy(uniform("target", (4, 5)) < 0.4).double()

    def assert_equal(actual, expected):
        torch.testing.assert_close(actual, expected, rtol=1e-12, atol=0)

    assert_equal(focal_loss(logits, target, gamma=0.0, balance=1.0), bce(logits, target))
    even = focal_loss(logits, target, form="alpha", alpha=0.5)
    assert_equal(even, focal_loss(logits, target, balance=0.5))
    factor_two, factor_quarter = (
        focal_loss(logits, target, form=form) for form in ("resample", "focal-loss")
    )
    assert_equal(factor_two, 8 * factor_quarter)
    class_weight = torch.arange(5.0, dtype=torch.float64)
    weighted = focal_loss(logits, target, weight=class_weight, reduction="none")
    assert_equal(weighted, class_weight * focal_loss(logits, target, reduction="none"))
    with pytest.raises(ValueError, match="form is 'book'"):
        focal_loss(logits, target, form="book")


@pytest.mark.parametrize("gamma", [0.0, 0.1, 2.0])
@pytest.mark.parametrize("form", FORMS)
def test_finite_in_float32(assert_finite, form, gamma):
    assert_finite(
        lambda logits, observed: focal_loss(logits, observed == 1, form=form, gamma=gamma)
    )


def test_method(toy_problem, first_step, assert_stacks):
    method = Focal(Hyper(form="alpha", gamma=1.0, focal_gradient=False))
    run, batch, step = first_step(method, toy_problem(1))
    logits = method.logits(run, batch.features)
    expected = focal_loss(logits, batch.observed == 1, form="alpha", gamma=1.0)
    assert step.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert_stacks(Focal(), gamma=[0.0, 2.0, 3.0], balance=[1.0, 2.0, 0.5])
    assert_stacks(Focal(Hyper(form="alpha")), alpha=[0.25, 0.5, 0.75])
    assert registry.get("focal") is Focal
