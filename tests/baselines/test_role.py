"""ROLE: the authors' loss, their dense Adam over four steps, an independent implementation."""

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

        def by_logits(z, fixed=(estimate, observed, expected)):
            return role_loss(z, *fixed)

        def by_estimate(theta, logits=logits, fixed=(observed, expected)):
            return role_loss(logits, theta, *fixed)

        assert_matches(by_logits, case["logits"], case["loss"], case["grad_logits"])
        assert_matches(
            by_estimate, case["estimator_logits"], case["loss"], case["grad_estimator_logits"]
        )


def test_estimator_moves_under_dense_adam(vectors):
    (case,) = vectors("pl_role_estimator_adam")["cases"]
    given = case["hyper"]
    theta = torch.tensor(case["theta_init"], dtype=torch.float64, requires_grad=True)
    logits = torch.tensor(case["logits"], dtype=torch.float64)
    observed = torch.tensor(case["observed"])
    adam = torch.optim.Adam([theta], lr=given["lr"], betas=given["betas"], eps=given["eps"])
    for step in case["steps"]:
        rows = step["idx"]
        loss = role_loss(logits[rows], theta[rows], observed[rows], given["expected_num_pos"])
        adam.zero_grad()
        loss.backward()
        assert loss.item() == pytest.approx(step["loss"], rel=1e-9)
        for got, name in ((theta.grad, "grad_theta"), (None, "theta_after")):
            if got is None:
                adam.step()
                got = theta.detach()
            wanted = torch.tensor(step[name], dtype=torch.float64)
            torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


def test_guarded_cross_entropy_is_the_authors_bce(vectors, assert_matches):
    for case in vectors("pl_bce_spml")["cases"]:
        target = torch.tensor(case["observed"], dtype=torch.float64)
        if case["hyper"]["loss"] == "bce_ls":
            target = target * 0.9 + (1 - target) * 0.1
        assert_matches(
            lambda z, target=target: guarded_cross_entropy(z, target).mean(),
            case["logits"],
            case["loss"],
            case["grad_logits"],
        )


def test_the_guard_keeps_its_digits_in_float32():
    z = torch.tensor([-50.0, -12.0, -6.0, 0.0, 6.0, 12.0, 50.0], dtype=torch.float64)
    laws = [
        lambda x: guarded_cross_entropy(x, torch.ones_like(x)),
        lambda x: guarded_cross_entropy(x, torch.zeros_like(x)),
        lambda x: taught_cross_entropy(x, 0.3 * z.to(x.dtype)),
        lambda x: taught_cross_entropy(x, x),
    ]
    targets = [lambda x: (1, 0), lambda x: (0, 1), lambda x: pair(0.3 * z), lambda x: pair(x)]

    def pair(x):
        return torch.sigmoid(x), torch.sigmoid(-x)

    for law, target in zip(laws, targets, strict=True):
        wide, narrow = z.clone().requires_grad_(), z.float().requires_grad_()
        (p, q), (t, u) = pair(wide), target(wide)
        exact = -t * torch.log(p + 1e-5) - u * torch.log(q + 1e-5)
        got = law(narrow)
        torch.testing.assert_close(got.double(), exact, rtol=1e-6, atol=1e-15)
        (slope,) = torch.autograd.grad(got.sum(), narrow)
        (wanted,) = torch.autograd.grad(exact.sum(), wide)
        torch.testing.assert_close(slope.double(), wanted, rtol=1e-5, atol=1e-11)


def reference(z, theta, y, k, held):
    """The equations; `held`: p and q as constants, where no gradient flows."""
    p, q = 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(-theta))
    sp, sq = held

    def nl(a):
        return -np.log(a + 1e-5)

    known = y * (nl(p) + nl(q))
    cross = sq * nl(p) + (1 - sq) * nl(1 - p) + sp * nl(q) + (1 - sp) * nl(1 - q)
    excess = [((a.sum(1).mean() - k) / z.shape[1]) ** 2 for a in (p, q)]
    return 0.5 * np.mean(known + cross) + 0.5 * sum(excess)


@pytest.mark.parametrize("expected", [0.3, 1.5, 31.4])
def test_numpy_reference(uniform, assert_reference, expected):
    z, theta = uniform("logits", (3, 4), -5, 5), uniform("theta", (3, 4), -6, 6)
    y = uniform("positive", (3, 4)) < 0.4
    held = 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(-theta))
    assert_reference(
        lambda x: role_loss(x, torch.from_numpy(theta), torch.from_numpy(y), expected),
        lambda x: reference(x, theta, y, expected, held),
        z,
    )
    assert_reference(
        lambda x: role_loss(torch.from_numpy(z), x, torch.from_numpy(y), expected),
        lambda x: reference(z, x, y, expected, held),
        theta,
    )


def test_finite_in_float32(assert_finite):
    for estimate in (-50.0, 0.0, 50.0):
        assert_finite(
            lambda z, observed, e=estimate: role_loss(z, torch.full_like(z, e), observed == 1, 1.5)
        )
        assert_finite(
            lambda z, observed, e=estimate: role_loss(torch.full_like(z, e), z, observed == 1, 1.5)
        )


def test_estimates_start_as_published(toy_problem):
    problem = toy_problem(1, ROLE().oracle())
    estimate = torch.sigmoid(ROLE().setup(problem, Draw(0).at(0, 0)).params["estimator.logits"])
    torch.testing.assert_close(estimate[problem.observed == 1].unique(), torch.tensor([0.995]))
    torch.testing.assert_close(
        estimate[problem.observed == 0], torch.full_like(estimate[problem.observed == 0], 0.005)
    )
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
    taken = ROLE().setup(problem, draw).constants["expected_positives"]
    assert taken.item() == pytest.approx(truth)
    given = ROLE(Hyper(expected_positives=2.9)).setup(toy_problem(1), draw)
    assert given.constants["expected_positives"].item() == pytest.approx(2.9)
    with pytest.raises(MethodError):
        ROLE().setup(toy_problem(1), draw)


def test_estimator_learns_faster_and_does_not_decay():
    assert ROLE().rates() == {"estimator": Rate(multiplier=10.0, decay=False)}


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
    (slope,) = torch.autograd.grad(expected, theta)
    visited = torch.zeros(problem.num_images, dtype=torch.bool)
    visited[batch.rows] = True
    assert torch.equal(slope.abs().sum(1) > 0, visited)


def test_stacks(assert_stacks):
    assert_stacks(ROLE())
    assert_stacks(ROLE(), expected_positives=[1.5, 2.9, 0.5])


def test_is_registered():
    assert registry.get("role") is ROLE
    assert ROLE().regimes() == EPR().regimes() == ("pal", "ppl", "spl", "missing")
