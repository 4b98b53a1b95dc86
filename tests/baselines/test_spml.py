"""AN, AN-LS, WAN, EPR, IU and IUN: independent implementation, identities, oracles, hard cases."""

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


def nl(a):
    return -np.log(a + 1e-5)


def reference(z, target, weight_positive=1.0, weight_negative=1.0):
    p = 1 / (1 + np.exp(-z))
    positive, negative = weight_positive * target, weight_negative * (1 - target)
    return np.sum(positive * nl(p) + negative * nl(1 - p)) / z.size


@pytest.fixture
def case(uniform):
    return uniform("logits", (5, 7), -6, 6), (uniform("positive", (5, 7)) < 0.3).astype(float)


def test_numpy_reference(case, assert_reference):
    logits, z = case
    given = torch.from_numpy(z)
    assert_reference(lambda x: assume_negative(x, given), lambda x: reference(x, z), logits)
    assert_reference(
        lambda x: weak_assume_negative(x, given),
        lambda x: reference(x, z, weight_negative=1 / 6),
        logits,
    )
    for e in (0.0, 0.25):
        assert_reference(
            lambda x, e=e: smoothed_assume_negative(x, given, e),
            lambda x, e=e: reference(x, z * (1 - e) + (1 - z) * e),
            logits,
        )
    for k in (0.5, 3.25):
        assert_reference(
            lambda x, k=k: expected_positive_loss(x, given, k),
            lambda x, k=k: (
                reference(x, z, weight_negative=0)
                + ((np.sum(1 / (1 + np.exp(-x))) / 5 - k) / 7) ** 2
            ),
            logits,
        )


def test_ignore_unknown_divides_by_all_entries(case, uniform, assert_reference):
    logits, z = case
    negative = (uniform("negative", (5, 7)) < 0.5) * (1 - z)
    assert_reference(
        lambda x: ignore_unknown(x, torch.from_numpy(z), torch.from_numpy(negative)),
        lambda x: reference(x, z, weight_negative=negative),
        logits,
    )


def test_smoothing_of_zero_is_assume_negative(case):
    x, z = map(torch.from_numpy, case)
    assert smoothed_assume_negative(x, z, 0.0).item() == pytest.approx(assume_negative(x, z).item())


def test_full_labels_smoothed_are_the_authors_bce_ls(vectors, assert_matches):
    (smooth,) = [c for c in vectors("pl_bce_spml")["cases"] if c["hyper"]["loss"] == "bce_ls"]
    target = torch.tensor(smooth["observed"])
    assert_matches(
        lambda x: smoothed_assume_negative(x, target, 0.1),
        smooth["logits"],
        smooth["loss"],
        smooth["grad_logits"],
    )


def test_one_class_has_no_division_by_zero():
    x = torch.zeros(2, 1, requires_grad=True)
    loss = weak_assume_negative(x, torch.tensor([[1], [0]]))
    assert loss.item() == pytest.approx(np.log(2), rel=1e-4)


def test_unknown_labels_feel_only_the_regulariser(case):
    x = torch.from_numpy(case[0]).requires_grad_()
    z = torch.from_numpy(case[1])
    expected = torch.sigmoid(x.detach()).sum(1).mean()
    (slope,) = torch.autograd.grad(expected_positive_loss(x, z, expected), x)
    assert torch.all(slope[z == 0] == 0)
    assert torch.all(slope[z == 1] < 0)


def test_finite_in_float32(assert_finite):
    laws = (
        lambda x, s: assume_negative(x, s == 1),
        lambda x, s: smoothed_assume_negative(x, s == 1, 0.1),
        lambda x, s: weak_assume_negative(x, s == 1),
        lambda x, s: expected_positive_loss(x, s == 1, 2.9),
        lambda x, s: ignore_unknown(x, s == 1, s == 0),
    )
    for law in laws:
        assert_finite(law)
        assert_finite(lambda x, s, law=law: law(20 * x, s))


def test_expected_positives_are_an_oracle_even_if_given(toy_problem, first_step):
    problem = toy_problem(1, ("expected_positives",))
    assert EPR().oracle() == EPR(EPRHyper(1.5)).oracle() == ("expected_positives",)
    truth = problem.oracle["expected_positives"]
    for method, expected in ((EPR(), truth), (EPR(EPRHyper(1.5)), 1.5)):
        run, batch, step = first_step(method, problem)
        logits = method.logits(run, batch.features)
        wanted = expected_positive_loss(logits, batch.observed == 1, expected)
        assert step.loss.item() == pytest.approx(wanted.item(), rel=1e-6)
    with pytest.raises(MethodError, match="without declaring"):
        first_step(EPR(), toy_problem(1))


def test_iun_reads_the_truth_of_the_rows(toy_problem, first_step):
    problem = toy_problem(1, ("true_labels",))
    run, batch, step = first_step(IUN(), problem)
    truth = problem.oracle["true_labels"].rows(batch.rows)
    wanted = ignore_unknown(IUN().logits(run, batch.features), batch.observed == 1, truth == 0)
    assert step.loss.item() == pytest.approx(wanted.item(), rel=1e-6)
    assert (IU().oracle(), IUN().oracle()) == ((), ("true_labels",))


@pytest.mark.parametrize("method", [AN(), ANLS(), WAN()])
def test_unknown_is_negative(method, toy_problem, first_step):
    problem = toy_problem(1)
    known = dataclasses.replace(problem, labels=LabelTable.of(problem.observed.clamp(min=0)))
    losses = {first_step(method, p)[2].loss.item() for p in (problem, known)}
    assert len(losses) == 1


def test_stacks(assert_stacks):
    for method in (AN(), WAN(), EPR(), IU(), IUN()):
        assert_stacks(method)
    assert_stacks(ANLS(ANLSHyper()), smoothing=[0.0, 0.1, 0.3])


def test_are_registered():
    methods = {"an": AN, "an-ls": ANLS, "wan": WAN, "epr": EPR, "iu": IU, "iun": IUN}
    assert {key: registry.get(key) for key in methods} == methods
