"""Hill and SPLC: NumPy references, the closed-form gradient, the labels that SPLC corrects."""

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


def focal_positive(probability, gamma):
    """-(1 - p)^gamma log p."""
    return -((1 - probability) ** gamma) * np.log(probability)


def hill_reference(logits, positive, lam, margin, gamma):
    """Focal loss of sigmoid(z - margin) for positives, (lam - p) p^2 for negatives; their sum."""
    probability = sigmoid(logits)
    positive_terms = focal_positive(sigmoid(logits - margin), gamma)
    negative_terms = (lam - probability) * probability**2
    return np.sum(np.where(positive, positive_terms, negative_terms))


def splc_reference(logits, observed, corrected, margin, gamma):
    """Focal loss of sigmoid(z - margin z'), z' the observed positives; their sum.

    A corrected label counts as positive, without a margin.
    """
    probability = sigmoid(logits - margin * (observed == 1))
    positive_terms = focal_positive(probability, gamma)
    negative_terms = focal_positive(1 - probability, gamma)
    return np.sum(np.where((observed == 1) | corrected, positive_terms, negative_terms))


@pytest.fixture
def case(uniform):
    numbers = uniform("observed", (5, 6))
    observed = np.where(numbers < 0.3, 1, np.where(numbers < 0.5, 0, -1))
    return uniform("logits", (5, 6), -5, 5), observed


SETTINGS = [(1.0, 2.0), (0.5, 0.0), (0.0, 1.3), (2.0, 0.4)]


@pytest.mark.parametrize(("margin", "gamma"), SETTINGS)
def test_hill_numpy_reference(case, assert_reference, margin, gamma):
    logits, observed = case
    positive = observed == 1
    for lam in (1.5, 1.3):
        options = dict(lam=lam, margin=margin, gamma=gamma)
        assert_reference(
            lambda logits, options=options: hill_loss(
                logits, torch.from_numpy(positive), **options
            ),
            lambda logits, options=options: hill_reference(logits, positive, **options),
            logits,
        )


def test_gradient_of_a_negative_is_the_hill(assert_close):
    logits = torch.linspace(-6, 6, 25, dtype=torch.float64).reshape(5, 5).requires_grad_()
    (gradient,) = torch.autograd.grad(hill_loss(logits, torch.zeros(5, 5)), logits)
    p = torch.sigmoid(logits.detach())
    assert_close(gradient, 3 * p**2 * (1 - p) ** 2, 1e-12)


@pytest.mark.parametrize(("margin", "gamma"), SETTINGS)
def test_splc_numpy_reference(case, assert_reference, margin, gamma):
    logits, observed = case
    labels = torch.from_numpy(observed)
    for tau in (0.6, 0.9):
        expected = (observed == -1) & (sigmoid(logits) > tau)
        corrected = confident_unknown(torch.from_numpy(logits), labels, tau)
        assert np.array_equal(corrected.numpy(), expected)
        assert_reference(
            lambda logits, corrected=corrected: splc_loss(
                logits, labels, corrected, margin=margin, gamma=gamma
            ),
            lambda logits, corrected=expected: splc_reference(
                logits, observed, corrected, margin, gamma
            ),
            logits,
        )


def test_threshold_is_strict_and_spares_observed_labels():
    logits = torch.tensor([[0.0, 0.1, 0.1, 0.1]])
    corrected = confident_unknown(logits, torch.tensor([[-1, -1, 0, 1]]), 0.5)
    assert corrected.tolist() == [[False, True, False, False]]


def test_reductions(case):
    logits, observed = map(torch.from_numpy, case)
    nothing = torch.zeros_like(observed, dtype=torch.bool)
    for loss in (
        lambda reduction: hill_loss(logits, observed == 1, reduction=reduction),
        lambda reduction: splc_loss(logits, observed, nothing, reduction=reduction),
    ):
        entries = loss("none")
        assert entries.shape == logits.shape
        assert loss("sum").item() == pytest.approx(entries.sum().item())
        assert loss("mean").item() == pytest.approx(entries.mean().item())
        with pytest.raises(ValueError, match="reduction is 'all'"):
            loss("all")


@pytest.mark.parametrize("gamma", [0.0, 0.01, 0.5, 2.0])
def test_finite_in_float32(assert_finite, gamma):
    for scale in (1.0, 20.0):
        assert_finite(
            lambda logits, observed, scale=scale: hill_loss(
                scale * logits, observed == 1, gamma=gamma
            )
        )
        for tau in (0.6, 2.0):

            def splc(logits, observed, scale=scale, tau=tau):
                corrected = confident_unknown(scale * logits, observed, tau)
                return splc_loss(scale * logits, observed, corrected, gamma=gamma)

            assert_finite(splc)


def test_hill_takes_unknown_as_negative_and_the_mean(toy_problem, first_step):
    problem = toy_problem(1)
    run, batch, step = first_step(Hill(), problem)
    expected = hill_loss(Hill().logits(run, batch.features), batch.observed == 1)
    assert step.loss.item() == pytest.approx(expected.item() / batch.observed.numel(), rel=1e-6)
    known = dataclasses.replace(problem, labels=LabelTable.of(problem.observed.clamp(min=0)))
    assert first_step(Hill(), known)[2].loss.item() == step.loss.item()


@pytest.mark.parametrize("change_epoch", [0, 1, 3])
def test_splc_corrects_after_change_epoch_epochs(toy_problem, first_step, change_epoch):
    method = SPLC(Hyper(change_epoch=change_epoch, tau=0.505))
    run, batch, _ = first_step(method, toy_problem(1))
    logits = method.logits(run, batch.features)
    confident = (batch.observed == -1) & (torch.sigmoid(logits) > 0.505)
    assert confident.any()
    for epoch in range(1, 6):
        step = method.step(run, batch, Clock(0, epoch, 10, 0, 3), Draw(0).at(0, epoch, 0))
        corrected = confident & (epoch > change_epoch)
        assert torch.equal(step.corrected, corrected)
        expected = splc_loss(logits, batch.observed, corrected) / logits.numel()
        assert step.loss.item() == pytest.approx(expected.item(), rel=1e-6)


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
