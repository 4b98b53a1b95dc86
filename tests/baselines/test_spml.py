"""AN, AN-LS, WAN, EPR, IU and IUN: NumPy references, identities, oracles, hard cases."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from baselines.an import AN, assume_negative
from baselines.an_ls import ANLS, smoothed_assume_negative
from baselines.an_ls import Hyper as ANLSHyper
from baselines.core import LabelTable, MethodError, registry
from baselines.epr import EPR, expected_positive_loss
from baselines.epr import Hyper as EPRHyper
from baselines.iu import IU, IUN, ignore_unknown
from baselines.wan import WAN, weak_assume_negative


def guarded_nll(probability):
    """nl(p) = -log(p + 1e-5)."""
    return -np.log(probability + 1e-5)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def reference(logits, target, negative_weight=1.0):
    """mean[t nl(p) + w (1 - t) nl(1 - p)] over all B*C entries."""
    probability = sigmoid(logits)
    positive_terms = target * guarded_nll(probability)
    negative_terms = negative_weight * (1 - target) * guarded_nll(1 - probability)
    return np.mean(positive_terms + negative_terms)


def expected_positive_reference(logits, positive, expected):
    """mean[z nl(p)] + ((mean_i sum_c p - k) / C)^2."""
    batch, classes = logits.shape
    excess = (sigmoid(logits).sum() / batch - expected) / classes
    return reference(logits, positive, negative_weight=0) + excess**2


@pytest.fixture
def case(uniform):
    return uniform("logits", (5, 7), -6, 6), (uniform("positive", (5, 7)) < 0.3).astype(float)


def test_numpy_reference(case, assert_reference):
    logits, positive = case
    labels = torch.from_numpy(positive)
    assert_reference(
        lambda logits: assume_negative(logits, labels),
        lambda logits: reference(logits, positive),
        logits,
    )
    assert_reference(
        lambda logits: weak_assume_negative(logits, labels),
        lambda logits: reference(logits, positive, negative_weight=1 / 6),
        logits,
    )
    for smoothing in (0.0, 0.25):
        smoothed = positive * (1 - smoothing) + (1 - positive) * smoothing
        assert_reference(
            lambda logits, smoothing=smoothing: smoothed_assume_negative(logits, labels, smoothing),
            lambda logits, smoothed=smoothed: reference(logits, smoothed),
            logits,
        )
    for expected in (0.5, 3.25):
        assert_reference(
            lambda logits, expected=expected: expected_positive_loss(logits, labels, expected),
            lambda logits, expected=expected: expected_positive_reference(
                logits, positive, expected
            ),
            logits,
        )


def test_ignore_unknown_divides_by_all_entries(case, uniform, assert_reference):
    logits, positive = case
    negative = (uniform("negative", (5, 7)) < 0.5) * (1 - positive)
    assert_reference(
        lambda logits: ignore_unknown(
            logits, torch.from_numpy(positive), torch.from_numpy(negative)
        ),
        lambda logits: reference(logits, positive, negative_weight=negative),
        logits,
    )


def test_smoothing_of_zero_is_assume_negative(case):
    logits, positive = map(torch.from_numpy, case)
    expected = assume_negative(logits, positive).item()
    assert smoothed_assume_negative(logits, positive, 0.0).item() == pytest.approx(expected)


def test_full_labels_smoothed_are_the_authors_bce_ls(vectors, assert_matches):
    (smooth,) = [c for c in vectors("pl_bce_spml")["cases"] if c["hyper"]["loss"] == "bce_ls"]
    target = torch.tensor(smooth["observed"])
    assert_matches(
        lambda logits: smoothed_assume_negative(logits, target, 0.1),
        smooth["logits"],
        smooth["loss"],
        smooth["grad_logits"],
    )


def test_one_class_has_no_division_by_zero():
    logits = torch.zeros(2, 1, requires_grad=True)
    loss = weak_assume_negative(logits, torch.tensor([[1], [0]]))
    assert loss.item() == pytest.approx(np.log(2), rel=1e-4)  # the guard is 1e-5


def test_only_the_regulariser_moves_unknown_labels(case):
    logits, positive = torch.from_numpy(case[0]).requires_grad_(), torch.from_numpy(case[1])
    expected = torch.sigmoid(logits.detach()).sum(1).mean()  # the regulariser is at its minimum
    loss = expected_positive_loss(logits, positive, expected)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert torch.all(gradient[positive == 0] == 0)
    assert torch.all(gradient[positive == 1] < 0)


def test_finite_in_float32(assert_finite):
    losses = (
        lambda logits, observed: assume_negative(logits, observed == 1),
        lambda logits, observed: smoothed_assume_negative(logits, observed == 1, 0.1),
        lambda logits, observed: weak_assume_negative(logits, observed == 1),
        lambda logits, observed: expected_positive_loss(logits, observed == 1, 2.9),
        lambda logits, observed: ignore_unknown(logits, observed == 1, observed == 0),
    )
    for loss in losses:
        assert_finite(loss)
        assert_finite(lambda logits, observed, loss=loss: loss(20 * logits, observed))


def test_expected_positives_are_an_oracle_even_if_given(toy_problem, first_step):
    problem = toy_problem(1, ("expected_positives",))
    assert EPR().oracle() == EPR(EPRHyper(1.5)).oracle() == ("expected_positives",)
    truth = problem.oracle["expected_positives"]
    for method, expected in ((EPR(), truth), (EPR(EPRHyper(1.5)), 1.5)):
        run, batch, step = first_step(method, problem)
        logits = method.logits(run, batch.features)
        loss = expected_positive_loss(logits, batch.observed == 1, expected)
        assert step.loss.item() == pytest.approx(loss.item(), rel=1e-6)
    with pytest.raises(MethodError, match="without declaring"):
        first_step(EPR(), toy_problem(1))


def test_iun_reads_the_truth_of_the_rows(toy_problem, first_step):
    problem = toy_problem(1, ("true_labels",))
    run, batch, step = first_step(IUN(), problem)
    truth = problem.oracle["true_labels"].rows(batch.rows)
    expected = ignore_unknown(IUN().logits(run, batch.features), batch.observed == 1, truth == 0)
    assert step.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert (IU().oracle(), IUN().oracle()) == ((), ("true_labels",))


@pytest.mark.parametrize("method", [AN(), ANLS(), WAN()])
def test_unknown_is_negative(method, toy_problem, first_step):
    problem = toy_problem(1)
    known = dataclasses.replace(problem, labels=LabelTable.of(problem.observed.clamp(min=0)))
    losses = {first_step(method, each)[2].loss.item() for each in (problem, known)}
    assert len(losses) == 1


def test_stacks(assert_stacks):
    for method in (AN(), WAN(), EPR(), IU(), IUN()):
        assert_stacks(method)
    assert_stacks(ANLS(ANLSHyper()), smoothing=[0.0, 0.1, 0.3])


def test_are_registered():
    methods = {"an": AN, "an-ls": ANLS, "wan": WAN, "epr": EPR, "iu": IU, "iun": IUN}
    assert {key: registry.get(key) for key in methods} == methods
