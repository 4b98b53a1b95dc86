"""Pseudo-label: a NumPy reference, its relation to PAL-loss, memory over several steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baselines.core import Clock, registry
from baselines.pal import pal_loss
from baselines.pseudo_label import PseudoLabel, pseudo_label_loss
from benchkit.base.draw import Draw


def reference(logits, observed, pseudo):
    """BCE of the known labels plus BCE of the pseudo labels, each a mean of its image; mean."""
    total = 0.0
    for image_logits, labels, pseudo_labels in zip(logits, observed, pseudo, strict=True):
        probability = 1 / (1 + np.exp(-image_logits))
        known = labels != -1
        for mask, target in ((known, labels), (~known, pseudo_labels)):
            log_likelihood = target * np.log(probability) + (1 - target) * np.log(1 - probability)
            if mask.any():
                total -= log_likelihood[mask].mean()
    return total / len(logits)


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
        lambda logits: pseudo_label_loss(logits, *fixed),
        lambda logits: reference(logits, observed, pseudo),
        logits,
    )


def test_is_pal_loss_without_its_factors(case):
    logits, observed, pseudo = map(torch.from_numpy, case)
    options = dict(weights=False, schedule=False, penalty=False, epoch=3, epochs=10)
    expected = pal_loss(logits, observed, pseudo, observed == -1, **options)
    loss = pseudo_label_loss(logits, observed, pseudo)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)


def test_finite_in_float32(assert_finite):
    for pseudo in (0.0, 0.5, 1.0):
        assert_finite(
            lambda logits, observed, pseudo=pseudo: pseudo_label_loss(
                20 * logits, observed, torch.full_like(logits, pseudo)
            )
        )


def test_memory_follows_the_predictions(toy_problem, first_step, assert_close):
    method, problem = PseudoLabel(), toy_problem(1)
    run, batch, step = first_step(method, problem)
    hidden = batch.observed == -1
    assert set(run.memory["pseudo"][problem.observed == -1].tolist()) == {0.5}
    assert not step.corrected.any()  # a pseudo label of one half corrects nothing
    for epoch in (2, 3, 4):
        logits = method.logits(run, batch.features)
        pseudo = torch.where(hidden, torch.sigmoid(logits), batch.observed.float())
        assert torch.equal(step.memory["pseudo"], pseudo)

        run.memory["pseudo"][batch.rows] = step.memory["pseudo"]
        run.params["head.weight"] = run.params["head.weight"] + 0.1 * epoch
        logits = method.logits(run, batch.features)
        step = method.step(run, batch, Clock(0, epoch, 10, 0, 3), Draw(0).at(0, epoch, 0))
        arrays = logits.double().numpy(), batch.observed.numpy(), pseudo.double().numpy()
        assert_close(step.loss, reference(*arrays))
        assert torch.equal(step.corrected, hidden & (pseudo > 0.5))


def test_stacks(assert_stacks):
    assert_stacks(PseudoLabel())


def test_is_registered():
    assert registry.get("pseudo-label") is PseudoLabel
