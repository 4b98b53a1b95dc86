"""ROLE: the authors' loss, four steps of their dense Adam, a NumPy reference, the method."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baselines.core import MethodError, Rate, registry
from baselines.epr import EPR
from baselines.role import ROLE, Hyper, guarded_cross_entropy, role_loss, taught_cross_entropy
from benchkit.base.draw import Draw


def test_equals_the_authors_code(vectors, assert_matches):
    for case in vectors("pl_role")["cases"]:
        observed = torch.tensor(case["observed"])
        expected = case["hyper"]["expected_num_pos"]
        logits = torch.tensor(case["logits"], dtype=torch.float64)
        estimate = torch.tensor(case["estimator_logits"], dtype=torch.float64)

        def by_logits(variable, fixed=(estimate, observed, expected)):
            return role_loss(variable, *fixed)

        def by_estimate(variable, logits=logits, fixed=(observed, expected)):
            return role_loss(logits, variable, *fixed)

        assert_matches(by_logits, case["logits"], case["loss"], case["grad_logits"])
        assert_matches(
            by_estimate, case["estimator_logits"], case["loss"], case["grad_estimator_logits"]
        )


def test_estimator_moves_under_dense_adam(vectors, assert_close):
    (case,) = vectors("pl_role_estimator_adam")["cases"]
    hyper = case["hyper"]
    theta = torch.tensor(case["theta_init"], dtype=torch.float64, requires_grad=True)
    logits = torch.tensor(case["logits"], dtype=torch.float64)
    observed = torch.tensor(case["observed"])
    adam = torch.optim.Adam([theta], lr=hyper["lr"], betas=hyper["betas"], eps=hyper["eps"])
    for step in case["steps"]:
        rows = step["idx"]
        loss = role_loss(logits[rows], theta[rows], observed[rows], hyper["expected_num_pos"])
        adam.zero_grad()
        loss.backward()
        assert_close(loss, step["loss"])
        assert_close(theta.grad, step["grad_theta"])
        adam.step()
        assert_close(theta, step["theta_after"])


def test_guarded_cross_entropy_is_the_authors_bce(vectors, assert_matches):
    for case in vectors("pl_bce_spml")["cases"]:
        target = torch.tensor(case["observed"], dtype=torch.float64)
        if case["hyper"]["loss"] == "bce_ls":
            target = target * 0.9 + (1 - target) * 0.1
        assert_matches(
            lambda logits, target=target: guarded_cross_entropy(logits, target).mean(),
            case["logits"],
            case["loss"],
            case["grad_logits"],
        )


def test_the_guard_keeps_its_digits_in_float32():
    z = torch.tensor([-50.0, -12.0, -6.0, 0.0, 6.0, 12.0, 50.0], dtype=torch.float64)

    def pair(logits):
        return torch.sigmoid(logits), torch.sigmoid(-logits)

    # Loss, and its targets (t, 1 - t) as a function of the logits.
    cases = [
        (lambda logits: guarded_cross_entropy(logits, torch.ones_like(logits)), lambda _: (1, 0)),
        (lambda logits: guarded_cross_entropy(logits, torch.zeros_like(logits)), lambda _: (0, 1)),
        (
            lambda logits: taught_cross_entropy(logits, 0.3 * z.to(logits.dtype)),
            lambda _: pair(0.3 * z),
        ),
        (lambda logits: taught_cross_entropy(logits, logits), pair),
    ]
    for loss, targets in cases:
        wide, narrow = z.clone().requires_grad_(), z.float().requires_grad_()
        (p, not_p), (t, not_t) = pair(wide), targets(wide)
        exact = -t * torch.log(p + 1e-5) - not_t * torch.log(not_p + 1e-5)
        entries = loss(narrow)
        (gradient,) = torch.autograd.grad(entries.sum(), narrow)
        (exact_gradient,) = torch.autograd.grad(exact.sum(), wide)
        # Entry by entry. The absolute part is for entries near sigmoid(-50) = 2e-22.
        torch.testing.assert_close(entries.double(), exact, rtol=1e-6, atol=1e-15)
        torch.testing.assert_close(gradient.double(), exact_gradient, rtol=1e-5, atol=1e-11)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def guarded_nll(probability):
    """nl(p) = -log(p + 1e-5)."""
    return -np.log(probability + 1e-5)


def reference(logits, estimate, positive, expected, constants):
    """mean[z (nl(p) + nl(q)) + H(q', p) + H(p', q)] / 2 + [excess(p) + excess(q)] / 2.

    p = sigmoid(logits), q = sigmoid(estimate), and p', q' are their values `constants`, which carry
    no gradient. H(t, p) = t nl(p) + (1 - t) nl(1 - p), excess(p) = ((mean_i sum_c p - k) / C)^2.
    """
    p, q = sigmoid(logits), sigmoid(estimate)
    constant_p, constant_q = constants

    def cross_entropy(target, probability):
        return target * guarded_nll(probability) + (1 - target) * guarded_nll(1 - probability)

    def excess(probability):
        return ((probability.sum(1).mean() - expected) / logits.shape[1]) ** 2

    known = positive * (guarded_nll(p) + guarded_nll(q))
    cross = cross_entropy(constant_q, p) + cross_entropy(constant_p, q)
    return 0.5 * np.mean(known + cross) + 0.5 * (excess(p) + excess(q))


@pytest.mark.parametrize("expected", [0.3, 1.5, 31.4])
def test_numpy_reference(uniform, assert_reference, expected):
    logits, estimate = uniform("logits", (3, 4), -5, 5), uniform("theta", (3, 4), -6, 6)
    positive = uniform("positive", (3, 4)) < 0.4
    constants = sigmoid(logits), sigmoid(estimate)
    labels = torch.from_numpy(positive)
    assert_reference(
        lambda variable: role_loss(variable, torch.from_numpy(estimate), labels, expected),
        lambda variable: reference(variable, estimate, positive, expected, constants),
        logits,
    )
    assert_reference(
        lambda variable: role_loss(torch.from_numpy(logits), variable, labels, expected),
        lambda variable: reference(logits, variable, positive, expected, constants),
        estimate,
    )


def test_finite_in_float32(assert_finite):
    for estimate in (-50.0, 0.0, 50.0):

        def by_logits(variable, observed, estimate=estimate):
            fixed = torch.full_like(variable, estimate)
            return role_loss(variable, fixed, observed == 1, 1.5)

        def by_estimate(variable, observed, logit=estimate):
            fixed = torch.full_like(variable, logit)
            return role_loss(fixed, variable, observed == 1, 1.5)

        assert_finite(by_logits)
        assert_finite(by_estimate)


def test_estimates_start_as_published(toy_problem):
    problem = toy_problem(1, ROLE().oracle())
    run = ROLE().setup(problem, Draw(0).at(0, 0))
    estimate = torch.sigmoid(run.params["estimator.logits"])
    for label, start in ((1, 0.995), (0, 0.005)):
        values = estimate[problem.observed == label]
        torch.testing.assert_close(values, torch.full_like(values, start), rtol=1e-5, atol=0)
    unknown = estimate[problem.observed == -1]
    assert unknown.min() >= 0.4 - 1e-6
    assert unknown.max() <= 0.6 + 1e-6
    assert unknown.std() > 0.03


def test_expected_positives_are_oracle_knowledge(toy_problem):
    problem, draw = toy_problem(1, ROLE().oracle()), Draw(0).at(0, 0)
    assert (
        ROLE().oracle() == ROLE(Hyper(expected_positives=2.9)).oracle() == ("expected_positives",)
    )
    truth = problem.oracle["expected_positives"]
    run = ROLE().setup(problem, draw)
    assert run.constants["expected_positives"].item() == pytest.approx(truth)
    run = ROLE(Hyper(expected_positives=2.9)).setup(toy_problem(1), draw)
    assert run.constants["expected_positives"].item() == pytest.approx(2.9)
    with pytest.raises(MethodError):
        ROLE().setup(toy_problem(1), draw)


def test_estimator_learns_faster_and_does_not_decay():
    assert ROLE().rates() == {"estimator": Rate(multiplier=10.0, decay=0.0)}


def test_step_trains_the_rows_of_the_batch(toy_problem, first_step):
    problem = toy_problem(1, ROLE().oracle())
    run = ROLE().setup(problem, Draw(0).at(0, 0))
    _, batch, step = first_step(ROLE(), problem)
    assert step.corrected is not None
    assert not step.corrected[batch.observed != -1].any()

    theta = run.params["estimator.logits"].requires_grad_()
    expected = role_loss(
        ROLE().logits(run, batch.features),
        theta[batch.rows],
        batch.observed == 1,
        problem.oracle["expected_positives"],
    )
    assert step.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    (gradient,) = torch.autograd.grad(expected, theta)
    visited = torch.zeros(problem.num_images, dtype=torch.bool)
    visited[batch.rows] = True
    assert torch.equal(gradient.abs().sum(1) > 0, visited)


def test_stacks(assert_stacks):
    assert_stacks(ROLE())
    assert_stacks(ROLE(), expected_positives=[1.5, 2.9, 0.5])


def test_is_registered():
    assert registry.get("role") is ROLE
    assert ROLE().regimes() == EPR().regimes() == ("pal", "ppl", "spl", "missing")
