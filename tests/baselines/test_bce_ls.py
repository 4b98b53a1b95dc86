"""BCE-LS: a NumPy reference, its relation to BCE, hard cases, the method."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baselines.bce import bce
from baselines.bce_ls import BCELS, Hyper, smoothed_bce
from baselines.core import registry


@pytest.mark.parametrize("smoothing", [0.0, 0.05, 0.1, 0.3, 0.5])
def test_numpy_reference(uniform, assert_reference, smoothing):
    target = (uniform("target", (4, 5)) < 0.4).astype(float)

    def reference(logits):
        """-mean[t log(p + 1e-5) + (1 - t) log(1 - p + 1e-5)], t = 1 - e or e."""
        probability = 1 / (1 + np.exp(-logits))
        smoothed = np.where(target == 1, 1 - smoothing, smoothing)
        positive_terms = smoothed * np.log(probability + 1e-5)
        negative_terms = (1 - smoothed) * np.log(1 - probability + 1e-5)
        return -np.mean(positive_terms + negative_terms)

    assert_reference(
        lambda logits: smoothed_bce(logits, torch.from_numpy(target), smoothing=smoothing),
        reference,
        uniform("logits", (4, 5), -5, 5),
    )


def test_smoothing_is_the_mean_of_both_labels(uniform):
    logits = torch.from_numpy(uniform("logits", (4, 5), -2, 2))
    target = torch.from_numpy(uniform("target", (4, 5)) < 0.4).double()
    right, flipped = (smoothed_bce(logits, t, smoothing=0.0) for t in (target, 1 - target))
    expected = 0.9 * right + 0.1 * flipped
    torch.testing.assert_close(smoothed_bce(logits, target), expected, rtol=1e-12, atol=0)
    # The guard 1e-5 inside the logarithms is the only difference from BCE.
    guarded, plain = smoothed_bce(logits, target, smoothing=0.0), bce(logits, target)
    assert 0 < (plain - guarded).item() < 1e-4


def test_finite_in_float32(assert_finite):
    assert_finite(lambda logits, observed: smoothed_bce(logits, observed == 1))


def test_method(toy_problem, first_step, assert_stacks):
    method = BCELS(Hyper(smoothing=0.2))
    run, batch, step = first_step(method, toy_problem(1))
    expected = smoothed_bce(method.logits(run, batch.features), batch.observed == 1, smoothing=0.2)
    assert step.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert method.info.regimes == ("full",)
    assert_stacks(BCELS(), smoothing=[0.0, 0.1, 0.3])
    assert registry.get("bce-ls") is BCELS
