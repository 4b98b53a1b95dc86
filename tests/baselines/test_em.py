"""EM and EM + APL: independent implementation, which labels are marked, memory over epochs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baselines.core import Batch, Clock, registry
from baselines.em import EM, entropy_maximisation
from baselines.em_apl import EMAPL, Hyper, lowest, quota
from benchkit.base.draw import Draw


def reference(z, observed, alpha, soft=None, beta=0.0):
    """Entry by entry; `soft` holds nan where nothing is marked."""

    def nl(a):
        return -np.log(a + 1e-5)

    total = 0.0
    for place in np.ndindex(z.shape):
        p = 1 / (1 + np.exp(-z[place]))
        if observed[place] != -1:
            total += nl(p) if observed[place] == 1 else nl(1 - p)
        elif soft is not None and not np.isnan(soft[place]):
            total += beta * (soft[place] * nl(p) + (1 - soft[place]) * nl(1 - p))
        else:
            total -= alpha * (p * nl(p) + (1 - p) * nl(1 - p))
    return total / z.size


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
    given = torch.from_numpy(observed)
    assert_reference(
        lambda z: entropy_maximisation(z, given, alpha=alpha),
        lambda z: reference(z, observed, alpha),
        logits,
    )
    marked = torch.from_numpy(~np.isnan(soft))
    assert_reference(
        lambda z: entropy_maximisation(
            z,
            given,
            alpha=alpha,
            beta=beta,
            soft=torch.from_numpy(soft).nan_to_num(),
            marked=marked,
        ),
        lambda z: reference(z, observed, alpha, soft, beta),
        logits,
    )


def test_entropy_pulls_towards_one_half():
    z = torch.tensor([[-2.0, 0.0, 2.0]], dtype=torch.float64, requires_grad=True)
    loss = entropy_maximisation(z, torch.full((1, 3), -1), alpha=0.1)
    (slope,) = torch.autograd.grad(loss, z)
    assert slope[0, 0] < 0 < slope[0, 2]
    assert abs(slope[0, 1].item()) < 1e-6


def test_finite_in_float32(assert_finite):
    assert_finite(lambda z, s: entropy_maximisation(20 * z, s, alpha=0.2))
    for soft in (0.0, 1.0):
        assert_finite(
            lambda z, s, t=soft: entropy_maximisation(
                20 * z, s, alpha=0.2, beta=0.9, soft=torch.full_like(z, t), marked=z > 0
            )
        )


def test_lowest_takes_the_smallest_of_each_class():
    p = torch.tensor([[0.1, 0.9], [0.2, 0.1], [0.3, 0.2], [0.4, 0.3]])
    eligible = torch.tensor([[0, 1], [1, 1], [1, 0], [1, 0]]).bool()
    picked = lowest(p, eligible, torch.tensor([2, 5]))
    assert picked.int().tolist() == [[0, 1], [1, 1], [1, 0], [0, 0]]
    assert not lowest(p, eligible, torch.tensor([0, 0])).any()


def test_quota_truncates():
    unknown = torch.arange(30)[:, None] < torch.tensor([30, 29, 1, 0])
    assert quota(unknown, 0.9, 10, 5).tolist() == [int(0.9 * n / 5) for n in (30, 29, 1, 0)]


def test_every_epoch_after_the_warm_up_marks_a_share_for_good(toy_problem):
    problem = toy_problem(1, images=40)
    method = EMAPL(Hyper(warmup=2))
    features = Draw(1).at(0, 1).normal("features", 40, problem.feature_dim)
    run = method.setup(problem, Draw(0).at(0, 0))
    unknown = (problem.observed == -1).numpy()
    soft = np.full(unknown.shape, np.nan)
    for epoch in range(1, 7):
        p = torch.sigmoid(method.logits(run, features)).numpy()
        if epoch > 2:  # at the end of epochs 2, 3, ...
            for c in range(unknown.shape[1]):
                free = np.flatnonzero(unknown[:, c] & np.isnan(soft[:, c]))
                count = int(0.9 * unknown[:, c].sum() / (6 - 2))
                chosen = free[np.argsort(p[free, c])[:count]]
                soft[chosen, c] = p[chosen, c]
        run = method.epoch_start(
            run, problem, features, Clock(0, epoch, 6, 0, 4), Draw(0).at(0, epoch)
        )
        assert np.array_equal(run.memory["marked"].numpy(), ~np.isnan(soft))
        kept = run.memory["soft"].numpy()[~np.isnan(soft)]
        assert np.array_equal(kept, soft[~np.isnan(soft)].astype(np.float32))
        rows = torch.arange(5, 21)
        batch = Batch(rows, features[rows], problem.observed[rows])
        step = method.step(run, batch, Clock(0, epoch, 6, 0, 4), Draw(0).at(0, epoch, 0))
        logits = method.logits(run, batch.features).double().numpy()
        wanted = reference(logits, batch.observed.numpy(), 0.1, soft[5:21], 0.9)
        assert step.loss.item() == pytest.approx(wanted, rel=1e-5)
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
