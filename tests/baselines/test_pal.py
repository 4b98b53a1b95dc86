"""PAL-loss: the published vectors, a NumPy reference, subsets, memory and options."""

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
        hyper = case["hyper"]
        observed = torch.tensor(case["observed"])
        pseudo = torch.tensor(case["pseudo"], dtype=torch.float64)
        fixed = observed, pseudo, torch.tensor(case["sample_mask"])
        options = dict(
            epoch=hyper["e_c"],
            epochs=hyper["e_T"],
            margin=hyper["m"],
            floor=hyper["gamma"],
            threshold=hyper["threshold"],
            weights=hyper["ab"],
            schedule=hyper["d"],
            penalty=hyper["p"],
        )
        assert_matches(
            lambda logits, fixed=fixed, options=options: pal_loss(logits, *fixed, **options),
            case["logits"],
            case["loss"],
            case["grad_logits"],
        )
        if hyper["ab"]:
            alpha, beta = class_shares(observed, floor=hyper["gamma"], dtype=torch.float64)
            assert alpha.item() == pytest.approx(case["state"]["alpha"], rel=1e-12)
            assert beta.item() == pytest.approx(case["state"]["beta"], rel=1e-12)


def mean_log_likelihood(probability, target, alpha, beta):
    """mean[alpha t log p + beta (1 - t) log(1 - p)], 0 over an empty set."""
    if not len(target):
        return 0.0
    positive_terms = alpha * target * np.log(probability)
    return np.mean(positive_terms + beta * (1 - target) * np.log(1 - probability))


def reference(logits, observed, pseudo, subset, options):
    """-mean_i pen_i (l(known labels of i) + d l(pseudo labels in the subset of i)).

    l is `mean_log_likelihood`; beta = max(P / T, floor) with P observed positives among T labels,
    alpha = 1 - beta; d = exp((e + m - e_T) / e_T); pen_i = 2 if max_c p_ic <= threshold, else 1.
    """
    alpha = beta = 1.0
    if options["weights"]:
        labels = observed.size if options["total"] == "all" else (observed != -1).sum()
        beta = max((observed == 1).sum() / labels, options["floor"])
        alpha = 1 - beta
    pseudo_alpha, pseudo_beta = (0.5, 0.5) if options["even_unknown"] else (alpha, beta)
    schedule = 1.0
    if options["schedule"]:
        epochs = options["epochs"]
        schedule = np.exp((options["epoch"] + options["margin"] - epochs) / epochs)
    total = 0.0
    for i, image_logits in enumerate(logits):
        probability, known, drawn = 1 / (1 + np.exp(-image_logits)), observed[i] != -1, subset[i]
        term = mean_log_likelihood(probability[known], observed[i, known], alpha, beta)
        term += schedule * mean_log_likelihood(
            probability[drawn], pseudo[i, drawn], pseudo_alpha, pseudo_beta
        )
        collapsed = options["penalty"] and probability.max() <= options["threshold"]
        total -= term * (2 if collapsed else 1)
    return total / len(logits)


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
        lambda logits: pal_loss(logits, *fixed, **options),
        lambda logits: reference(logits, observed, pseudo, subset, options),
        logits,
    )


def test_full_labels_without_factors_are_bce(uniform):
    logits = torch.from_numpy(uniform("logits", (4, 5), -6, 6))
    target = torch.from_numpy(uniform("target", (4, 5)) < 0.4).to(torch.int8)
    unused = torch.zeros_like(logits), target == -1
    options = dict(epoch=1, epochs=10, weights=False, penalty=False)
    loss = pal_loss(logits, target, *unused, **options)
    torch.testing.assert_close(loss, bce(logits, target.double()), rtol=1e-12, atol=0)


def test_known_and_pseudo_labels_weigh_the_same_margin_epochs_before_the_end():
    logits = torch.zeros(1, 2, dtype=torch.float64)
    unknown, pseudo = torch.tensor([[-1, -1]]), torch.full((1, 2), 0.5)

    def value(epoch, **options):
        options |= dict(epoch=epoch, epochs=10)
        return pal_loss(logits, unknown, pseudo, unknown == -1, **options).item()

    assert value(7) == pytest.approx(value(7, schedule=False), rel=1e-12)
    assert value(1) / value(7) == pytest.approx(np.exp(-0.6))
    assert value(10) / value(7) == pytest.approx(np.exp(0.3))


def test_pseudo_labels_drift_by_the_ratio_of_the_weights():
    # The minimiser has odds(p) = alpha / beta odds(pseudo label): there the gradient vanishes.
    pseudo, unknown = torch.tensor([[0.5, 0.2, 0.9]], dtype=torch.float64), torch.full((1, 3), -1)
    logits = (torch.logit(pseudo) + math.log(0.95 / 0.05)).requires_grad_()
    loss = pal_loss(logits, unknown, pseudo, unknown == -1, epoch=1, epochs=10, penalty=False)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.abs().max() < 1e-15


def test_share_of_observed_labels_ignores_positives_where_only_those_are_observed():
    observed = torch.tensor([[1, -1, -1, -1], [-1, 1, -1, -1]])
    assert [share.item() for share in class_shares(observed, total="observed")] == [0.0, 1.0]
    assert [share.item() for share in class_shares(observed)] == [0.75, 0.25]
    assert class_shares(observed * 0)[1].item() == pytest.approx(0.05)
    with pytest.raises(ValueError, match="total is 'some'"):
        class_shares(observed, total="some")


def test_pseudo_labels_and_factors_carry_no_gradient():
    logits = torch.full((2, 3), -4.0, requires_grad=True)
    pseudo = torch.full((2, 3), 0.3, requires_grad=True)
    observed = torch.tensor([[1, -1, -1], [0, -1, 1]])
    pal_loss(logits, observed, pseudo, observed == -1, epoch=1, epochs=10).backward()
    assert pseudo.grad is None


@pytest.mark.parametrize("pseudo", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("options", [dict(), dict(weights=False), dict(total="observed")])
def test_finite_in_float32(assert_finite, pseudo, options):
    def loss(logits, observed):
        fixed = torch.full_like(logits, pseudo), observed == -1
        return pal_loss(logits, observed, *fixed, epoch=1, epochs=10, **options)

    assert_finite(loss)


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


def test_a_random_subset_does_not_change_the_expected_loss():
    logits = torch.tensor([[0.3, -2.0, 1.5, 4.0, -0.7]], dtype=torch.float64)
    observed, pseudo = torch.tensor([[1, -1, -1, -1, -1]]), torch.sigmoid(0.5 * logits)

    def loss(subset):
        mask = torch.zeros(1, 5, dtype=torch.bool)
        mask[0, list(subset)] = True
        return pal_loss(logits, observed, pseudo, mask, epoch=2, epochs=10).item()

    halves = [loss(pair) for pair in itertools.combinations((1, 2, 3, 4), 2)]
    assert np.mean(halves) == pytest.approx(loss((1, 2, 3, 4)), rel=1e-12)


def step_of(method, run, batch, epoch):
    return method.step(run, batch, Clock(0, epoch, 10, 0, 3), Draw(0).at(0, epoch, 0))


def test_memory_holds_the_predictions_of_the_epoch_before(toy_problem, first_step, assert_close):
    problem = toy_problem(1)
    run, batch, step = first_step(PAL(), problem)
    unknown = problem.observed == -1
    assert set(run.memory["pseudo"][unknown].tolist()) == {0.5}
    assert torch.equal(run.memory["pseudo"][~unknown], problem.observed[~unknown].float())

    fresh = torch.sigmoid(PAL().logits(run, batch.features))
    hidden = batch.observed == -1
    assert_close(step.memory["pseudo"][hidden], fresh[hidden], 1e-6)
    known = batch.observed[~hidden].float()
    assert torch.equal(step.memory["pseudo"][~hidden], known)
    assert not step.corrected.any()  # a pseudo label of one half corrects nothing

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


def test_subsets_depend_on_the_epoch_and_the_image_alone(toy_problem):
    problem = toy_problem(1)
    run = PAL().setup(problem, Draw(0).at(0, 0))
    run.memory["pseudo"] += 0.4  # above one half wherever a label is unknown
    rows = torch.arange(20)
    features = torch.zeros(20, 6)

    def subset(order, epoch):
        batch = Batch(rows[order], features[order], problem.observed[order])
        return step_of(PAL(), run, batch, epoch).corrected

    first = subset(rows, 1)
    assert torch.equal(subset(rows.flip(0)[:7], 1), first.flip(0)[:7])
    assert not torch.equal(subset(rows, 2), first)


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
