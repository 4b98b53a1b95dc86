"""EM and EM + APL: a NumPy reference, the labels that are marked, memory over epochs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baselines.core import Batch, Clock, registry
from baselines.em import EM, entropy_maximisation
from baselines.em_apl import EMAPL, Hyper, lowest, quota
from benchkit.base.draw import Draw


def guarded_nll(probability):
    """nl(p) = -log(p + 1e-5)."""
    return -np.log(probability + 1e-5)


def cross_entropy(target, probability):
    """H(t, p) = t nl(p) + (1 - t) nl(1 - p)."""
    return target * guarded_nll(probability) + (1 - target) * guarded_nll(1 - probability)


def reference(logits, observed, alpha, soft=None, beta=0.0):
    """H(y, p) of known labels, beta H(s, p) of marked ones, -alpha H(p, p) of the others; mean.

    `soft` holds the soft negatives s, nan where nothing is marked.
    """
    probability = 1 / (1 + np.exp(-logits))
    terms = np.where(
        observed == -1,
        -alpha * cross_entropy(probability, probability),
        cross_entropy(observed, probability),
    )
    if soft is not None:
        marked = (observed == -1) & ~np.isnan(soft)
        terms[marked] = beta * cross_entropy(soft, probability)[marked]
    return terms.mean()


@pytest.fixture
def case(uniform):
    numbers = uniform("observed", (5, 6))
    observed = np.where(numbers < 0.2, 1, np.where(numbers < 0.4, 0, -1))
    observed[0], observed[1] = -1, np.abs(observed[1])
    soft = uniform("soft", (5, 6), 0, 0.3)
    return uniform("logits", (5, 6), -5, 5), observed, np.where(soft < 0.2, soft, np.nan)


@pytest.mark.parametrize(("alpha", "beta"), [(0.1, 0.9), (0.01, 0.4), (0.2, 0.02)])
def test_numpy_reference(case, assert_reference, alpha, beta):
    logits, observed, soft = case
    labels = torch.from_numpy(observed)
    assert_reference(
        lambda logits: entropy_maximisation(logits, labels, alpha=alpha),
        lambda logits: reference(logits, observed, alpha),
        logits,
    )
    marks = dict(soft=torch.from_numpy(soft).nan_to_num(), marked=torch.from_numpy(~np.isnan(soft)))
    assert_reference(
        lambda logits: entropy_maximisation(logits, labels, alpha=alpha, beta=beta, **marks),
        lambda logits: reference(logits, observed, alpha, soft, beta),
        logits,
    )


def test_entropy_pulls_towards_one_half():
    logits = torch.tensor([[-2.0, 0.0, 2.0]], dtype=torch.float64, requires_grad=True)
    loss = entropy_maximisation(logits, torch.full((1, 3), -1), alpha=0.1)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient[0, 0] < 0 < gradient[0, 2]
    assert abs(gradient[0, 1].item()) < 1e-6


def test_finite_in_float32(assert_finite):
    assert_finite(lambda logits, observed: entropy_maximisation(20 * logits, observed, alpha=0.2))
    for soft in (0.0, 1.0):

        def loss(logits, observed, soft=soft):
            marks = dict(soft=torch.full_like(logits, soft), marked=logits > 0)
            return entropy_maximisation(20 * logits, observed, alpha=0.2, beta=0.9, **marks)

        assert_finite(loss)


def test_lowest_takes_the_smallest_of_each_class():
    p = torch.tensor([[0.1, 0.9], [0.2, 0.1], [0.3, 0.2], [0.4, 0.3]])
    eligible = torch.tensor([[0, 1], [1, 1], [1, 0], [1, 0]]).bool()
    marked = lowest(p, eligible, torch.tensor([2, 5]))
    assert marked.int().tolist() == [[0, 1], [1, 1], [1, 0], [0, 0]]
    assert not lowest(p, eligible, torch.tensor([0, 0])).any()


def test_quota_truncates():
    unknown = torch.arange(30)[:, None] < torch.tensor([30, 29, 1, 0])
    assert quota(unknown, 0.9, 10, 5).tolist() == [int(0.9 * n / 5) for n in (30, 29, 1, 0)]


def mark_lowest(soft, probability, unknown, epochs, warmup, share=0.9):
    """Mark, class by class, int(share U_c / (epochs - warmup)) of the labels without a mark.

    U_c labels of class c are unknown; those with the lowest probability become soft negatives.
    """
    for c in range(unknown.shape[1]):
        free = np.flatnonzero(unknown[:, c] & np.isnan(soft[:, c]))
        count = int(share * unknown[:, c].sum() / (epochs - warmup))
        rows = free[np.argsort(probability[free, c])[:count]]
        soft[rows, c] = probability[rows, c]


def test_every_epoch_after_the_warm_up_marks_a_share_for_good(toy_problem, assert_close):
    problem, epochs, warmup = toy_problem(1, images=40), 6, 2
    method = EMAPL(Hyper(warmup=warmup))
    features = Draw(1).at(0, 1).normal("features", 40, problem.feature_dim)
    run = method.setup(problem, Draw(0).at(0, 0))
    unknown = (problem.observed == -1).numpy()
    soft = np.full(unknown.shape, np.nan)
    rows = torch.arange(5, 21)
    batch = Batch(rows, features[rows], problem.observed[rows])
    for epoch in range(1, epochs + 1):
        if epoch > warmup:  # the first marks are made at the end of epoch `warmup`
            probability = torch.sigmoid(method.logits(run, features)).numpy()
            mark_lowest(soft, probability, unknown, epochs, warmup)
        clock = Clock(0, epoch, epochs, 0, 4)
        run = method.epoch_start(run, problem, features, clock, Draw(0).at(0, epoch))
        marked = ~np.isnan(soft)
        assert np.array_equal(run.memory["marked"].numpy(), marked)
        assert np.array_equal(run.memory["soft"].numpy()[marked], soft[marked].astype(np.float32))
        step = method.step(run, batch, clock, Draw(0).at(0, epoch, 0))
        logits = method.logits(run, batch.features).double().numpy()
        assert_close(step.loss, reference(logits, batch.observed.numpy(), 0.1, soft[5:21], 0.9))
        assert step.memory == {}
        likely = unknown[5:21] & (np.nan_to_num(soft[5:21]) > 0.5)
        assert np.array_equal(step.corrected.numpy(), likely)
        run.params["head.weight"] = run.params["head.weight"] + 0.3 * torch.sin(
            epoch * torch.arange(30.0).reshape(6, 5)
        )
    assert (~np.isnan(soft)).sum() > 0.5 * unknown.sum()


def test_is_em_during_the_warm_up(toy_problem, first_step):
    problem = toy_problem(1)
    run, _, step = first_step(EMAPL(), problem)
    assert step.loss.item() == first_step(EM(), problem)[2].loss.item()
    clock = Clock(0, 5, 10, 0, 3)
    features = torch.ones(20, problem.feature_dim)
    assert EMAPL().epoch_start(run, problem, features, clock, Draw(0).at(0, 5)) is run


def test_stacks(assert_stacks):
    assert_stacks(EM(), alpha=[0.1, 0.2, 0.01])
    assert_stacks(EMAPL(), alpha=[0.1, 0.2, 0.01], beta=[0.9, 0.02, 0.4])


def test_are_registered():
    assert (registry.get("em"), registry.get("em-apl")) == (EM, EMAPL)
