"""PR: a NumPy reference, identities, the factors that each shot group raises, the method."""

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


def reference(logits, target, shift, factors, weight):
    """softplus(-l1+ (z - v)) / l2+ for positives, softplus(l1- (z - v)) / l2- for negatives; mean.

    `factors` are l1-, l2-, l1+ and l2+, each [C].
    """
    lambda1_negative, lambda2_negative, lambda1_positive, lambda2_positive = map(np.array, factors)
    shifted = logits - shift
    positive_terms = np.log1p(np.exp(-lambda1_positive * shifted)) / lambda2_positive
    negative_terms = np.log1p(np.exp(lambda1_negative * shifted)) / lambda2_negative
    return np.mean(weight * np.where(target, positive_terms, negative_terms))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", ["a", "b", "c"])
def test_numpy_reference(uniform, assert_reference, seed, weighted):
    target = uniform(seed + "target", (4, 5)) < 0.4
    factors = uniform(seed + "factors", (4, 5), 0.5, 6)
    shift = uniform(seed + "shift", (5,), -0.3, 0.3)
    weight = uniform(seed + "weight", (4, 5)) if weighted else np.ones((4, 5))
    assert_reference(
        lambda logits: probability_rebalancing_loss(
            logits,
            torch.from_numpy(target),
            torch.from_numpy(shift),
            Factors(*torch.from_numpy(factors)),
            weight=torch.from_numpy(weight) if weighted else None,
        ),
        lambda logits: reference(logits, target, shift, factors, weight),
        uniform(seed + "logits", (4, 5), -4, 4),
    )


def test_all_ones_is_bce(uniform):
    logits = torch.from_numpy(uniform("logits", (4, 5), -8, 8))
    soft = torch.from_numpy(uniform("target", (4, 5)))
    for target in (soft, soft < 0.4):
        loss = probability_rebalancing_loss(logits, target, 0.0, Factors())
        torch.testing.assert_close(loss, bce(logits, target.double()), rtol=1e-12, atol=0)


@pytest.mark.parametrize("scale", [0.7, 2.0, 5.0])
@pytest.mark.parametrize("bias", ["code", "paper"])
def test_equal_negative_factors_are_ntr(uniform, assert_close, scale, bias):
    logits = torch.from_numpy(uniform("logits", (4, 5), -8, 8)).requires_grad_()
    target = torch.from_numpy(uniform("target", (4, 5)) < 0.4)
    shift = -class_bias(COUNTS, 100, 0.05, scale, bias)
    pr = probability_rebalancing_loss(logits, target, shift, Factors(scale, scale))
    options = dict(neg_scale=scale, kappa=0.05, bias=bias)
    ntr = negative_tolerant_loss(logits, target, COUNTS, 100, **options)
    torch.testing.assert_close(pr, ntr, rtol=1e-12, atol=0)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (pr, ntr)]
    assert_close(*gradients, 1e-12)


def test_gradient_has_the_closed_form():
    logits = torch.linspace(-3, 3, 13, dtype=torch.float64)[:, None].requires_grad_()
    factors, shifted = Factors(3.0, 4.0, 2.0, 5.0), logits.detach() - 0.2
    expected = {0: 3 / 4 * torch.sigmoid(3 * shifted), 1: -2 / 5 * torch.sigmoid(-2 * shifted)}
    for label in (0, 1):
        target = torch.full((13, 1), label)
        loss = probability_rebalancing_loss(logits, target, 0.2, factors, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, logits)
        torch.testing.assert_close(gradient, expected[label], rtol=1e-12, atol=0)


def test_shot_groups_at_their_borders():
    counts = torch.tensor([0, 19, 20, 99, 100, 101])
    assert shot_groups(counts).tolist() == [2, 2, 1, 1, 0, 0]
    assert shot_groups(counts, many=20, few=1).tolist() == [2, 1, 0, 0, 0, 0]
    assert shot_groups(counts, many=20, few=20).tolist() == [2, 2, 0, 0, 0, 0]
    with pytest.raises(MethodError, match="few=21 is above many=20"):
        shot_groups(counts, many=20, few=21)
    assert selections(("a", "b")) == ("none", "a", "b", "a+b")


def problem_with_all_groups(toy_problem) -> tuple[Problem, dict[str, int]]:
    """The toy problem and thresholds that divide its classes into three shot groups."""
    problem = toy_problem(1)
    counts = sorted((problem.observed == 1).sum(0).tolist())
    return problem, dict(many=counts[-1], few=counts[-2])


@pytest.mark.parametrize(
    "raised", ["none", "lambda1_negative", "lambda1_positive+lambda2_positive"]
)
@pytest.mark.parametrize("groups", ["tail", "head+medium", "head+medium+tail"])
def test_factors_are_raised_in_their_groups(toy_problem, first_step, raised, groups):
    problem, thresholds = problem_with_all_groups(toy_problem)
    hyper = Hyper(raised=raised, raised_groups=groups, **thresholds)
    run, batch, step = first_step(PR(hyper), problem)
    counts = (problem.observed == 1).sum(0)
    shot = ["head" if n >= hyper.many else "tail" if n < hyper.few else "medium" for n in counts]
    assert len(set(shot)) == 3
    factors = []
    for name in FACTORS:
        base, multiplier = getattr(hyper, name), getattr(hyper, f"raise_{name}")
        is_raised = [name in raised and group in groups for group in shot]
        factors.append(base * np.where(is_raised, multiplier, 1.0))
    class_counts = counts.clamp(min=1).numpy().astype(float)
    shift = 0.05 / 5 * np.log(problem.num_images / class_counts - 1)
    positive = (batch.observed == 1).numpy()
    weight = np.empty(positive.shape)
    for i, c in np.ndindex(positive.shape):
        repeats = sum(1 / class_counts[j] for j in range(5) if positive[i, j])
        ratio = 1 / class_counts[c] / repeats if repeats else np.inf
        weight[i, c] = 0.1 + 1 / (1 + np.exp(-10 * (ratio - 0.3)))
    logits = PR(hyper).logits(run, batch.features).double().numpy()
    expected = reference(logits, positive, shift, factors, weight)
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
            lambda logits, observed, factors=factors: probability_rebalancing_loss(
                logits, observed == 1, shift, factors
            )
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
