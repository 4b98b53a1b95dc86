"""Focal loss: an independent implementation, its forms, robustness, the method."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baselines.bce import bce
from baselines.core import registry
from baselines.focal import FORMS, Focal, Hyper, focal_loss


def reference(z, y, gamma, factor, held=None):
    """Entry by entry; `held`: logits at which the powers are held."""
    p = 1 / (1 + np.exp(-z))
    w = p if held is None else 1 / (1 + np.exp(-held))
    total = 0.0
    for place in np.ndindex(z.shape):
        if y[place]:
            total -= factor[0] * (1 - w[place]) ** gamma * np.log(p[place])
        else:
            total -= factor[1] * w[place] ** gamma * np.log(1 - p[place])
    return total / z.size


@pytest.mark.parametrize("focal_gradient", [True, False])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 3.7])
@pytest.mark.parametrize(
    ("form", "factor"),
    [("resample", (1.5, 1.5)), ("focal-loss", (0.3, 0.3)), ("alpha", (0.3, 0.7))],
)
def test_numpy_reference(uniform, assert_reference, form, factor, gamma, focal_gradient):
    target = uniform("target", (4, 5)) < 0.4
    logits = uniform("logits", (4, 5), -4, 4)
    held = None if focal_gradient else logits
    options = dict(form=form, gamma=gamma, balance=1.5, alpha=0.3, focal_gradient=focal_gradient)
    assert_reference(
        lambda z: focal_loss(z, torch.from_numpy(target), **options),
        lambda z: reference(z, target, gamma, factor, held),
        logits,
    )


def test_identities(uniform):
    z = torch.from_numpy(uniform("logits", (4, 5), -8, 8))
    y = torch.from_numpy(uniform("target", (4, 5)) < 0.4).double()
    plain = focal_loss(z, y, gamma=0.0, balance=1.0)
    torch.testing.assert_close(plain, bce(z, y), rtol=1e-12, atol=0)
    even = focal_loss(z, y, form="alpha", alpha=0.5)
    torch.testing.assert_close(even, focal_loss(z, y, balance=0.5), rtol=1e-12, atol=0)
    two, quarter = focal_loss(z, y), focal_loss(z, y, form="focal-loss")
    torch.testing.assert_close(two, 8 * quarter, rtol=1e-12, atol=0)
    weight = torch.arange(5.0, dtype=torch.float64)
    weighted = focal_loss(z, y, weight=weight, reduction="none")
    torch.testing.assert_close(weighted, weight * focal_loss(z, y, reduction="none"))
    with pytest.raises(ValueError, match="form is 'book'"):
        focal_loss(z, y, form="book")


@pytest.mark.parametrize("gamma", [0.0, 0.1, 2.0])
@pytest.mark.parametrize("form", FORMS)
def test_finite_in_float32(assert_finite, form, gamma):
    assert_finite(lambda z, observed: focal_loss(z, observed == 1, form=form, gamma=gamma))


def test_method(toy_problem, first_step, assert_stacks):
    method = Focal(Hyper(form="alpha", gamma=1.0, focal_gradient=False))
    run, batch, step = first_step(method, toy_problem(1))
    logits = method.logits(run, batch.features)
    expected = focal_loss(logits, batch.observed == 1, form="alpha", gamma=1.0)
    assert step.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert_stacks(Focal(), gamma=[0.0, 2.0, 3.0], balance=[1.0, 2.0, 0.5])
    assert_stacks(Focal(Hyper(form="alpha")), alpha=[0.25, 0.5, 0.75])
    assert registry.get("focal") is Focal
