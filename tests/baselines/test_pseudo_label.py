"""Pseudo-label: independent implementation, its place in PAL-loss, memory over steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baselines.core import Clock, registry
from baselines.pal import pal_loss
from baselines.pseudo_label import PseudoLabel, pseudo_label_loss
from benchkit.base.draw import Draw


def reference(z, observed, pseudo):
    total = 0.0
    for x, s, t in zip(z, observed, pseudo, strict=True):
        p = 1 / (1 + np.exp(-x))
        for mask, y in ((s != -1, s), (s == -1, t)):
            if mask.any():
                total -= np.mean((y * np.log(p) + (1 - y) * np.log(1 - p))[mask])
    return total / len(z)


@pytest.fixture
def case(uniform):
    numbers = uniform("observed", (5, 6))
    observed = np.where(numbers < 0.2, 1, np.where(numbers < 0.5, 0, -1))
    observed[0], observed[1] = -1, np.abs(observed[1])
    return uniform("logits", (5, 6), -5, 5), observed, uniform("pseudo", (5, 6))


def test_numpy_reference(case, assert_reference):
    logits, observed, pseudo = case
    fixed = torch.from_numpy(observed), torch.from_numpy(pseudo)
    assert_reference(
        lambda z: pseudo_label_loss(z, *fixed), lambda z: reference(z, observed, pseudo), logits
    )


def test_is_pal_loss_without_its_factors(case):
    z, s, t = map(torch.from_numpy, case)
    options = dict(weights=False, schedule=False, penalty=False, epoch=3, epochs=10)
    wanted = pal_loss(z, s, t, s == -1, **options)
    torch.testing.assert_close(pseudo_label_loss(z, s, t), wanted, rtol=1e-12, atol=0)


def test_finite_in_float32(assert_finite):
    for pseudo in (0.0, 0.5, 1.0):
        assert_finite(
            lambda z, s, t=pseudo: pseudo_label_loss(20 * z, s, torch.full_like(z, t)),
        )


def test_memory_follows_the_predictions(toy_problem, first_step):
    method, problem = PseudoLabel(), toy_problem(1)
    run, batch, step = first_step(method, problem)
    hidden = batch.observed == -1
    assert set(run.memory["pseudo"][problem.observed == -1].tolist()) == {0.5}
    assert not step.corrected.any()  # one half is no opinion
    for epoch in (2, 3, 4):
        logits = method.logits(run, batch.features)
        wanted = torch.where(hidden, torch.sigmoid(logits), batch.observed.float())
        assert torch.equal(step.memory["pseudo"], wanted)

        run.memory["pseudo"][batch.rows] = step.memory["pseudo"]
        run.params["head.weight"] = run.params["head.weight"] + 0.1 * epoch
        logits = method.logits(run, batch.features)
        step = method.step(run, batch, Clock(0, epoch, 10, 0, 3), Draw(0).at(0, epoch, 0))
        loss = reference(logits.double().numpy(), batch.observed.numpy(), wanted.double().numpy())
        assert step.loss.item() == pytest.approx(loss, rel=1e-5)
        assert torch.equal(step.corrected, hidden & (wanted > 0.5))


def test_stacks(assert_stacks):
    assert_stacks(PseudoLabel())


def test_is_registered():
    assert registry.get("pseudo-label") is PseudoLabel
