"""Hill and SPLC: independent implementation, closed form, when and what SPLC corrects."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from baselines.core import Clock, LabelTable, registry
from baselines.hill import Hill, hill_loss
from baselines.splc import SPLC, Hyper, confident_unknown, splc_loss
from benchkit.base.draw import Draw


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def hill_reference(z, y, lam, margin, gamma):
    s, p = sigmoid(z - margin), sigmoid(z)
    return np.sum(np.where(y, -((1 - s) ** gamma) * np.log(s), (lam - p) * p**2))


def splc_reference(z, observed, corrected, margin, gamma):
    s = sigmoid(np.where(observed == 1, z - margin, z))
    positive = -((1 - s) ** gamma) * np.log(s)
    return np.sum(np.where((observed == 1) | corrected, positive, -(s**gamma) * np.log(1 - s)))


@pytest.fixture
def case(uniform):
    numbers = uniform("observed", (5, 6))
    observed = np.where(numbers < 0.3, 1, np.where(numbers < 0.5, 0, -1))
    return uniform("logits", (5, 6), -5, 5), observed


SETTINGS = [(1.0, 2.0), (0.5, 0.0), (0.0, 1.3), (2.0, 0.4)]


@pytest.mark.parametrize(("margin", "gamma"), SETTINGS)
def test_hill_numpy_reference(case, assert_reference, margin, gamma):
    logits, observed = case
    for lam in (1.5, 1.3):
        assert_reference(
            lambda z, lam=lam: hill_loss(
                z, torch.from_numpy(observed == 1), lam=lam, margin=margin, gamma=gamma
            ),
            lambda z, lam=lam: hill_reference(z, observed == 1, lam, margin, gamma),
            logits,
        )


def test_gradient_of_a_negative_is_the_hill():
    z = torch.linspace(-6, 6, 25, dtype=torch.float64).reshape(5, 5).requires_grad_()
    (slope,) = torch.autograd.grad(hill_loss(z, torch.zeros(5, 5)), z)
    p = torch.sigmoid(z.detach())
    torch.testing.assert_close(slope, 3 * p**2 * (1 - p) ** 2, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("margin", "gamma"), SETTINGS)
def test_splc_numpy_reference(case, assert_reference, margin, gamma):
    logits, observed = case
    given = torch.from_numpy(observed)
    for tau in (0.6, 0.9):
        corrected = (observed == -1) & (sigmoid(logits) > tau)
        found = confident_unknown(torch.from_numpy(logits), given, tau)
        assert np.array_equal(found.numpy(), corrected)
        assert_reference(
            lambda z, c=found: splc_loss(z, given, c, margin=margin, gamma=gamma),
            lambda z, c=corrected: splc_reference(z, observed, c, margin, gamma),
            logits,
        )


def test_threshold_is_strict_and_spares_observed_labels():
    z = torch.tensor([[0.0, 0.1, 0.1, 0.1]])
    found = confident_unknown(z, torch.tensor([[-1, -1, 0, 1]]), 0.5)
    assert found.tolist() == [[False, True, False, False]]


def test_reductions(case):
    z, s = map(torch.from_numpy, case)
    none = torch.zeros_like(s, dtype=torch.bool)
    for law in (
        lambda r: hill_loss(z, s == 1, reduction=r),
        lambda r: splc_loss(z, s, none, reduction=r),
    ):
        entries = law("none")
        assert entries.shape == z.shape
        assert law("sum").item() == pytest.approx(entries.sum().item())
        assert law("mean").item() == pytest.approx(entries.mean().item())
        with pytest.raises(ValueError, match="reduction is 'all'"):
            law("all")


@pytest.mark.parametrize("gamma", [0.0, 0.01, 0.5, 2.0])
def test_finite_in_float32(assert_finite, gamma):
    for scale in (1.0, 20.0):
        assert_finite(lambda z, s, k=scale: hill_loss(k * z, s == 1, gamma=gamma))
        for tau in (0.6, 2.0):
            assert_finite(
                lambda z, s, k=scale, t=tau: splc_loss(
                    k * z, s, confident_unknown(k * z, s, t), gamma=gamma
                )
            )


def test_hill_takes_unknown_as_negative_and_the_mean(toy_problem, first_step):
    problem = toy_problem(1)
    run, batch, step = first_step(Hill(), problem)
    wanted = hill_loss(Hill().logits(run, batch.features), batch.observed == 1)
    assert step.loss.item() == pytest.approx(wanted.item() / batch.observed.numel(), rel=1e-6)
    known = dataclasses.replace(problem, labels=LabelTable.of(problem.observed.clamp(min=0)))
    assert first_step(Hill(), known)[2].loss.item() == step.loss.item()


@pytest.mark.parametrize("change_epoch", [0, 1, 3])
def test_splc_corrects_after_change_epoch_epochs(toy_problem, first_step, change_epoch):
    method = SPLC(Hyper(change_epoch=change_epoch, tau=0.505))
    run, batch, _ = first_step(method, toy_problem(1))
    z = method.logits(run, batch.features)
    confident = (batch.observed == -1) & (torch.sigmoid(z) > 0.505)
    assert confident.any()
    for epoch in range(1, 6):
        step = method.step(run, batch, Clock(0, epoch, 10, 0, 3), Draw(0).at(0, epoch, 0))
        wanted = confident & (epoch > change_epoch)
        assert torch.equal(step.corrected, wanted)
        loss = splc_loss(z, batch.observed, wanted) / z.numel()
        assert step.loss.item() == pytest.approx(loss.item(), rel=1e-6)


def test_stacks(assert_stacks):
    assert_stacks(Hill(), lam=[1.5, 1.3, 2.0], margin=[1.0, 0.0, 0.5], gamma=[2.0, 0.0, 0.7])
    assert_stacks(
        SPLC(Hyper(change_epoch=0)),
        tau=[0.5, 0.6, 0.4],
        margin=[1.0, 0.0, 0.5],
        gamma=[2.0, 0.0, 0.7],
    )


def test_are_registered():
    assert (registry.get("hill"), registry.get("splc")) == (Hill, SPLC)
