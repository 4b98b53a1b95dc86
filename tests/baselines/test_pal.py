"""PAL-loss: given numbers, an independent implementation, subsets, memory and switches."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from baselines.bce import bce
from baselines.core import Batch, Clock, registry
from baselines.pal import PAL, Hyper, class_shares, pal_loss, random_subset
from benchkit.base.draw import Draw


def test_equals_the_given_numbers(vectors, assert_matches):
    cases = vectors("pl_pal_loss")["cases"]
    assert len(cases) == 12
    for case in cases:
        given = case["hyper"]
        observed = torch.tensor(case["observed"])
        pseudo = torch.tensor(case["pseudo"], dtype=torch.float64)
        fixed = observed, pseudo, torch.tensor(case["sample_mask"])
        options = dict(
            epoch=given["e_c"],
            epochs=given["e_T"],
            margin=given["m"],
            floor=given["gamma"],
            threshold=given["threshold"],
            weights=given["ab"],
            schedule=given["d"],
            penalty=given["p"],
        )
        assert_matches(
            lambda z, fixed=fixed, options=options: pal_loss(z, *fixed, **options),
            case["logits"],
            case["loss"],
            case["grad_logits"],
        )
        if given["ab"]:
            alpha, beta = class_shares(observed, floor=given["gamma"], dtype=torch.float64)
            assert alpha.item() == pytest.approx(case["state"]["alpha"], rel=1e-12)
            assert beta.item() == pytest.approx(case["state"]["beta"], rel=1e-12)


def reference(z, observed, pseudo, subset, o):
    """The equations, image by image."""
    total = 0.0
    known_labels = (observed != -1).sum() if o["total"] == "observed" else observed.size
    beta = max((observed == 1).sum() / known_labels, o["floor"]) if o["weights"] else 1.0
    alpha = 1 - beta if o["weights"] else 1.0
    d = np.exp((o["epoch"] + o["margin"] - o["epochs"]) / o["epochs"]) if o["schedule"] else 1.0
    a, b = (0.5, 0.5) if o["even_unknown"] else (alpha, beta)
    for i in range(len(z)):
        p = 1 / (1 + np.exp(-z[i]))
        known, chosen = observed[i] != -1, subset[i]
        term = 0.0
        if known.any():
            y = observed[i, known]
            term += np.mean(alpha * y * np.log(p[known]) + beta * (1 - y) * np.log(1 - p[known]))
        if chosen.any():
            t = pseudo[i, chosen]
            term += d * np.mean(a * t * np.log(p[chosen]) + b * (1 - t) * np.log(1 - p[chosen]))
        total -= term * (2 if o["penalty"] and p.max() <= o["threshold"] else 1)
    return total / len(z)


@pytest.mark.parametrize(
    "changes",
    [
        dict(),
        dict(epoch=9, epochs=12, margin=1.5, floor=0.4, threshold=0.6),
        dict(total="observed", even_unknown=True),
        dict(weights=False, threshold=0.9),
        dict(schedule=False, even_unknown=True),
        dict(penalty=False, weights=False, epoch=5, epochs=5),
    ],
)
def test_numpy_reference(uniform, assert_reference, changes):
    options = dict(epoch=1, epochs=10, margin=3.0, floor=0.05, threshold=0.1, total="all")
    options |= dict(weights=True, schedule=True, penalty=True, even_unknown=False) | changes
    numbers = uniform("observed", (5, 6))
    observed = np.where(numbers < 0.2, 1, np.where(numbers < 0.5, 0, -1))
    observed[0], observed[1, 0] = -1, 1
    observed[2] = np.abs(observed[2])
    subset = (observed == -1) & (uniform("subset", (5, 6)) < 0.6)
    pseudo = uniform("pseudo", (5, 6))
    logits = uniform("logits", (5, 6), -4, 4)
    logits[3] = -5 + 0.1 * logits[3]
    fixed = torch.from_numpy(observed), torch.from_numpy(pseudo), torch.from_numpy(subset)
    assert_reference(
        lambda z: pal_loss(z, *fixed, **options),
        lambda z: reference(z, observed, pseudo, subset, options),
        logits,
    )


def test_full_labels_without_factors_are_bce(uniform):
    z = torch.from_numpy(uniform("logits", (4, 5), -6, 6))
    y = torch.from_numpy(uniform("target", (4, 5)) < 0.4).to(torch.int8)
    got = pal_loss(
        z, y, torch.zeros_like(z), y == -1, epoch=1, epochs=10, weights=False, penalty=False
    )
    torch.testing.assert_close(got, bce(z, y.double()), rtol=1e-12, atol=0)


def test_both_kinds_weigh_the_same_margin_epochs_before_the_end():
    z = torch.zeros(1, 2, dtype=torch.float64)
    unknown = torch.tensor([[-1, -1]])

    def value(epoch, **options):
        pseudo = torch.full((1, 2), 0.5)
        return pal_loss(z, unknown, pseudo, unknown == -1, epoch=epoch, epochs=10, **options).item()

    assert value(7) == pytest.approx(value(7, schedule=False), rel=1e-12)
    assert value(1) / value(7) == pytest.approx(np.exp(-0.6))
    assert value(10) / value(7) == pytest.approx(np.exp(0.3))


def test_pseudo_labels_drift_by_the_ratio_of_the_weights():
    pseudo, unknown = torch.tensor([[0.5, 0.2, 0.9]], dtype=torch.float64), torch.full((1, 3), -1)
    z = (torch.logit(pseudo) + math.log(0.95 / 0.05)).requires_grad_()
    loss = pal_loss(z, unknown, pseudo, unknown == -1, epoch=1, epochs=10, penalty=False)
    (slope,) = torch.autograd.grad(loss, z)
    assert slope.abs().max() < 1e-15


def test_share_of_observed_labels_ignores_positives_where_only_those_are_observed():
    observed = torch.tensor([[1, -1, -1, -1], [-1, 1, -1, -1]])
    assert [x.item() for x in class_shares(observed, total="observed")] == [0.0, 1.0]
    assert [x.item() for x in class_shares(observed)] == [0.75, 0.25]
    assert class_shares(observed * 0)[1].item() == pytest.approx(0.05)
    with pytest.raises(ValueError, match="total is 'some'"):
        class_shares(observed, total="some")


def test_pseudo_labels_and_factors_carry_no_gradient():
    z = torch.full((2, 3), -4.0, requires_grad=True)
    pseudo = torch.full((2, 3), 0.3, requires_grad=True)
    observed = torch.tensor([[1, -1, -1], [0, -1, 1]])
    pal_loss(z, observed, pseudo, observed == -1, epoch=1, epochs=10).backward()
    assert pseudo.grad is None


def test_finite_in_float32(assert_finite):
    for pseudo in (0.0, 0.5, 1.0):
        for options in (dict(), dict(weights=False), dict(total="observed")):
            assert_finite(
                lambda z, observed, t=pseudo, o=options: pal_loss(
                    z, observed, torch.full_like(z, t), observed == -1, epoch=1, epochs=10, **o
                )
            )


@pytest.mark.parametrize("fraction", [0.01, 0.25, 0.5, 1.0])
def test_subset_has_the_rounded_size_and_the_smallest_numbers(fraction):
    sizes = torch.arange(0, 11)
    unknown = torch.arange(10)[None, :] < sizes[:, None]  # row i has i unknown labels
    uniform = Draw(3).at(0, 1).uniform("subset", 11, 10)
    subset = random_subset(unknown, uniform, fraction)
    for size in range(11):
        count = min(size, max(1, int(np.floor(fraction * size + 0.5))))
        assert subset[size].sum() == count
        left = uniform[size][unknown[size] & ~subset[size]]
        if 0 < count < size:
            assert uniform[size][subset[size]].max() <= left.min()
    assert not (subset & ~unknown).any()


def test_subset_sizes_round_halves_up_exactly():
    unknown = torch.arange(200)[None, :] < torch.arange(1, 201)[:, None]  # row i has i + 1
    uniform = Draw(3).at(0, 1).uniform("subset", 200, 200)
    for hundredths in (15, 21, 29, 35, 50, 53, 65):
        sizes = [max(1, (hundredths * n + 50) // 100) for n in range(1, 201)]
        for fraction in (hundredths / 100, torch.tensor(hundredths / 100)):  # float32 when stacked
            assert random_subset(unknown, uniform, fraction).sum(1).tolist() == sizes


def test_a_random_subset_leaves_the_expected_loss_as_it_is():
    z = torch.tensor([[0.3, -2.0, 1.5, 4.0, -0.7]], dtype=torch.float64)
    observed, pseudo = torch.tensor([[1, -1, -1, -1, -1]]), torch.sigmoid(0.5 * z)

    def loss(subset):
        mask = torch.zeros(1, 5, dtype=torch.bool)
        mask[0, list(subset)] = True
        return pal_loss(z, observed, pseudo, mask, epoch=2, epochs=10).item()

    whole = loss((1, 2, 3, 4))
    halves = [loss(pair) for pair in itertools.combinations((1, 2, 3, 4), 2)]
    assert np.mean(halves) == pytest.approx(whole, rel=1e-12)


def step_of(method, run, batch, epoch):
    return method.step(run, batch, Clock(0, epoch, 10, 0, 3), Draw(0).at(0, epoch, 0))


def test_memory_holds_the_predictions_of_the_epoch_before(toy_problem, first_step):
    problem = toy_problem(1)
    run, batch, step = first_step(PAL(), problem)
    unknown = problem.observed == -1
    assert set(run.memory["pseudo"][unknown].tolist()) == {0.5}
    assert torch.equal(run.memory["pseudo"][~unknown], problem.observed[~unknown].float())

    fresh = torch.sigmoid(PAL().logits(run, batch.features))
    hidden = batch.observed == -1
    torch.testing.assert_close(step.memory["pseudo"][hidden], fresh[hidden])
    known = batch.observed[~hidden].float()
    assert torch.equal(step.memory["pseudo"][~hidden], known)
    assert not step.corrected.any()  # one half is no opinion

    run.memory["pseudo"][batch.rows] = step.memory["pseudo"]
    later = step_of(PAL(Hyper(q=1.0)), run, batch, 2)
    expected = pal_loss(
        PAL().logits(run, batch.features), batch.observed, fresh, hidden, epoch=2, epochs=10
    )
    assert later.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert torch.equal(later.corrected, hidden & (fresh > 0.5))


def test_online_keeps_no_memory(toy_problem, first_step):
    method = PAL(Hyper(online=True, q=1.0))
    run, batch, step = first_step(method, toy_problem(1))
    logits = method.logits(run, batch.features)
    expected = pal_loss(
        logits, batch.observed, torch.sigmoid(logits), batch.observed == -1, epoch=1, epochs=10
    )
    assert run.memory == step.memory == {}
    assert step.loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_subsets_change_with_the_epoch_and_not_with_the_batch(toy_problem):
    problem = toy_problem(1)
    run = PAL().setup(problem, Draw(0).at(0, 0))
    run.memory["pseudo"] += 0.4  # above one half wherever a label is unknown
    rows = torch.arange(20)
    features = torch.zeros(20, 6)

    def chosen(order, epoch):
        batch = Batch(rows[order], features[order], problem.observed[order])
        return step_of(PAL(), run, batch, epoch).corrected

    first = chosen(rows, 1)
    assert torch.equal(chosen(rows.flip(0)[:7], 1), first.flip(0)[:7])
    assert not torch.equal(chosen(rows, 2), first)


@pytest.mark.parametrize(
    "switches",
    [
        dict(),
        dict(weights=False, schedule=False, penalty=False),
        dict(online=True, total="observed", even_unknown=True),
    ],
)
def test_stacks(assert_stacks, switches):
    assert_stacks(PAL(Hyper(**switches)))
    assert_stacks(
        PAL(Hyper(**switches)),
        q=[0.25, 0.5, 1.0],
        margin=[3.0, 1.0, 0.0],
        floor=[0.05, 0.5, 0.9],
        threshold=[0.1, 0.6, 0.9],
    )


def test_is_registered():
    assert registry.get("pal") is PAL
    assert PAL().regimes() == ("full", "pal", "ppl", "spl", "missing")
