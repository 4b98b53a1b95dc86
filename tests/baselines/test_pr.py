"""PR: an independent implementation, its identities, which factors are raised where."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baselines.bce import bce
from baselines.core import ClassAware, Clock, MethodError, Problem, registry
from baselines.db import DB
from baselines.db_focal import class_bias
from baselines.ntr import NTR, negative_tolerant_loss
from baselines.pr import (
    FACTORS,
    PR,
    Factors,
    Hyper,
    probability_rebalancing_loss,
    selections,
    shot_groups,
)
from benchkit.base.draw import Draw

COUNTS = torch.tensor([1.0, 90.0, 7.0, 33.0, 60.0], dtype=torch.float64)


def reference(z, y, v, factors, weight):
    """Entry by entry, with factors [4, C]."""
    steep_negative, divide_negative, steep_positive, divide_positive = factors
    loss = 0.0
    for i, c in np.ndindex(z.shape):
        logit = z[i, c] - v[c]
        if y[i, c]:
            term = np.log1p(np.exp(-steep_positive[c] * logit)) / divide_positive[c]
        else:
            term = np.log1p(np.exp(steep_negative[c] * logit)) / divide_negative[c]
        loss += weight[i, c] * term
    return loss / z.size


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", ["a", "b", "c"])
def test_numpy_reference(uniform, assert_reference, seed, weighted):
    target = uniform(seed + "target", (4, 5)) < 0.4
    factors = uniform(seed + "factors", (4, 5), 0.5, 6)
    shift = uniform(seed + "shift", (5,), -0.3, 0.3)
    weight = uniform(seed + "weight", (4, 5)) if weighted else np.ones((4, 5))
    assert_reference(
        lambda z: probability_rebalancing_loss(
            z,
            torch.from_numpy(target),
            torch.from_numpy(shift),
            Factors(*torch.from_numpy(factors)),
            weight=torch.from_numpy(weight) if weighted else None,
        ),
        lambda z: reference(z, target, shift, factors, weight),
        uniform(seed + "logits", (4, 5), -4, 4),
    )


def test_all_ones_is_bce(uniform):
    z = torch.from_numpy(uniform("logits", (4, 5), -8, 8))
    y = torch.from_numpy(uniform("target", (4, 5)))
    for target in (y, y < 0.4):
        got = probability_rebalancing_loss(z, target, 0.0, Factors())
        torch.testing.assert_close(got, bce(z, target.double()), rtol=1e-12, atol=0)


@pytest.mark.parametrize("scale", [0.7, 2.0, 5.0])
@pytest.mark.parametrize("bias", ["code", "paper"])
def test_equal_negative_factors_are_ntr(uniform, scale, bias):
    z = torch.from_numpy(uniform("logits", (4, 5), -8, 8)).requires_grad_()
    y = torch.from_numpy(uniform("target", (4, 5)) < 0.4)
    shift = -class_bias(COUNTS, 100, 0.05, scale, bias)
    got = probability_rebalancing_loss(z, y, shift, Factors(scale, scale))
    expected = negative_tolerant_loss(z, y, COUNTS, 100, neg_scale=scale, kappa=0.05, bias=bias)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=0)
    slopes = [torch.autograd.grad(loss, z)[0] for loss in (got, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-12, atol=1e-15)


def test_gradient_has_the_closed_form():
    z = torch.linspace(-3, 3, 13, dtype=torch.float64).requires_grad_()
    for y, slope in (
        (0, 3 / 4 * torch.sigmoid(3 * (z - 0.2))),
        (1, -2 / 5 * torch.sigmoid(-2 * (z - 0.2))),
    ):
        loss = probability_rebalancing_loss(
            z[:, None], torch.full((13, 1), y), 0.2, Factors(3.0, 4.0, 2.0, 5.0), reduction="sum"
        )
        (got,) = torch.autograd.grad(loss, z)
        torch.testing.assert_close(got, slope.detach(), rtol=1e-12, atol=0)


def test_shot_groups_at_their_borders():
    counts = torch.tensor([0, 19, 20, 99, 100, 101])
    assert shot_groups(counts).tolist() == [2, 2, 1, 1, 0, 0]
    assert shot_groups(counts, many=20, few=1).tolist() == [2, 1, 0, 0, 0, 0]
    assert shot_groups(counts, many=20, few=20).tolist() == [2, 2, 0, 0, 0, 0]
    with pytest.raises(MethodError, match="few=21 is above many=20"):
        shot_groups(counts, many=20, few=21)
    assert selections(("a", "b")) == ("none", "a", "b", "a+b")


def small(toy_problem) -> tuple[Problem, dict[str, int]]:
    """The toy problem with thresholds that give it all three groups."""
    problem = toy_problem(1)
    counts = sorted((problem.observed == 1).sum(0).tolist())
    return problem, dict(many=counts[-1], few=counts[-2])


@pytest.mark.parametrize(
    "raised", ["none", "lambda1_negative", "lambda1_positive+lambda2_positive"]
)
@pytest.mark.parametrize("groups", ["tail", "head+medium", "head+medium+tail"])
def test_factors_are_raised_in_their_groups(toy_problem, first_step, raised, groups):
    problem, thresholds = small(toy_problem)
    hyper = Hyper(raised=raised, raised_groups=groups, **thresholds)
    run, batch, step = first_step(PR(hyper), problem)
    counts = (problem.observed == 1).sum(0)
    names = ["head" if n >= hyper.many else "tail" if n < hyper.few else "medium" for n in counts]
    assert len(set(names)) == 3
    factors = []
    for name in FACTORS:
        base, more = getattr(hyper, name), getattr(hyper, f"raise_{name}")
        up = [name in raised and group in groups for group in names]
        factors.append([base * (more if is_up else 1.0) for is_up in up])
    clipped = counts.clamp(min=1).numpy().astype(float)
    total = problem.num_images
    shift = 0.05 / 5 * np.log(total / clipped - 1)
    observed = (batch.observed == 1).numpy()
    weight = np.empty(observed.shape)
    for i, c in np.ndindex(observed.shape):
        repeat = sum(1 / clipped[j] for j in range(5) if observed[i, j])
        ratio = 1 / clipped[c] / repeat if repeat else np.inf
        weight[i, c] = 0.1 + 1 / (1 + np.exp(-10 * (ratio - 0.3)))
    logits = PR(hyper).logits(run, batch.features).double().numpy()
    expected = reference(logits, observed, shift, factors, weight)
    assert step.loss.item() == pytest.approx(expected, rel=1e-5)


def test_method_without_raised_factors_is_db_or_ntr(toy_problem, first_step):
    problem = toy_problem(1)
    db = first_step(PR(Hyper(raised="none")), problem)[2].loss.item()
    assert db == pytest.approx(first_step(DB(), problem)[2].loss.item(), rel=1e-6)
    ntr = first_step(PR(Hyper(raised="none", rebalance=False)), problem)[2].loss.item()
    assert ntr == pytest.approx(first_step(NTR(), problem)[2].loss.item(), rel=1e-6)
    plain = Hyper(
        raised="none", rebalance=False, kappa=0.0, lambda1_negative=1.0, lambda2_negative=1.0
    )
    run, batch, step = first_step(PR(plain), problem)
    expected = bce(PR(plain).logits(run, batch.features), (batch.observed == 1).float())
    assert step.loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_groups_are_of_observed_counts(toy_problem):
    problem = toy_problem(1)
    hyper = Hyper(many=4, few=3)
    counts = (problem.observed == 1).sum(0)
    run = PR(hyper).setup(problem, Draw(0).at(0, 0))
    assert torch.equal(run.constants["shot"], shot_groups(counts, 4, 3))
    assert torch.equal(run.constants["raised"], counts < 3)
    assert isinstance(PR().sampling(run, problem, Clock(0, 1, 10, 0, 3)), ClassAware)

    assert PR().oracle() == ()
    true = PR(Hyper(counts="true"))
    assert true.oracle() == ("true_counts",)
    with pytest.raises(MethodError):
        true.setup(problem, Draw(0).at(0, 0))
    for wrong in (Hyper(raised="lambda3"), Hyper(raised_groups="few")):
        with pytest.raises(MethodError, match=r"raised.* is '(lambda3|few)'; it must be one of"):
            PR(wrong).setup(problem, Draw(0).at(0, 0))


@pytest.mark.parametrize("counts", [[0, 3, 1, 0], [3, 0, 0, 3]])
def test_finite_in_float32(assert_finite, counts):
    shift = -class_bias(torch.tensor(counts), 3, 1.0, 1.0, "paper")
    for factors in (Factors(7.0, 5.0, 1.0, 2.0), Factors(100.0, 0.01, 100.0, 0.01)):
        assert_finite(
            lambda z, observed, f=factors: probability_rebalancing_loss(z, observed == 1, shift, f)
        )


def test_stacks(assert_stacks):
    assert_stacks(PR(Hyper(raised_groups="head+medium+tail")))
    assert_stacks(
        PR(Hyper(raised="lambda1_negative+lambda2_negative+lambda1_positive+lambda2_positive")),
        lambda1_negative=[1.0, 2.0, 5.0],
        raise_lambda1_negative=[1.0, 1.4, 2.0],
        raise_lambda2_positive=[1.0, 2.0, 3.0],
        kappa=[0.0, 0.05, 0.5],
    )
    assert registry.get("pr") is PR
