"""BCE-LS: an independent implementation, its identity with BCE, robustness, the method."""

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

    def reference(z):
        p = 1 / (1 + np.exp(-z))
        t = np.where(target == 1, 1 - smoothing, smoothing)
        return -np.mean(t * np.log(p + 1e-5) + (1 - t) * np.log(1 - p + 1e-5))

    assert_reference(
        lambda z: smoothed_bce(z, torch.from_numpy(target), smoothing=smoothing),
        reference,
        uniform("logits", (4, 5), -5, 5),
    )


def test_smoothing_is_the_mean_of_both_labels(uniform):
    z = torch.from_numpy(uniform("logits", (4, 5), -2, 2))
    y = torch.from_numpy(uniform("target", (4, 5)) < 0.4).double()
    plain = [smoothed_bce(z, t, smoothing=0.0) for t in (y, 1 - y)]
    expected = 0.9 * plain[0] + 0.1 * plain[1]
    torch.testing.assert_close(smoothed_bce(z, y), expected, rtol=1e-12, atol=0)
    assert smoothed_bce(z, y, smoothing=0.0).item() == pytest.approx(bce(z, y).item(), abs=1e-4)


def test_finite_in_float32(assert_finite):
    assert_finite(lambda z, observed: smoothed_bce(z, observed == 1))


def test_method(toy_problem, first_step, assert_stacks):
    method = BCELS(Hyper(smoothing=0.2))
    run, batch, step = first_step(method, toy_problem(1))
    expected = smoothed_bce(method.logits(run, batch.features), batch.observed == 1, smoothing=0.2)
    assert step.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert method.info.regimes == ("full",)
    assert_stacks(BCELS(), smoothing=[0.0, 0.1, 0.3])
    assert registry.get("bce-ls") is BCELS
