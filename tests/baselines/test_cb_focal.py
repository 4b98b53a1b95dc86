"""CB-Focal: an independent implementation of its four modes, robustness, the method."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baselines.cb_focal import (
    MODES,
    CBFocal,
    Hyper,
    class_balanced_focal_loss,
    class_balanced_weight,
    effective_weight,
)
from baselines.core import ClassAware, Clock, registry
from baselines.focal import focal_loss

COUNTS = np.array([1.0, 90.0, 7.0, 33.0, 60.0])


def reference(z, y, beta, mode, gamma, balance):
    def inverse(n):
        return (1 - beta) / (1 - beta**n)

    total = 0.0
    for i, c in np.ndindex(z.shape):
        own = [COUNTS[j] for j in range(5) if y[i, j]]
        weight = {
            "by_class": lambda c=c: inverse(COUNTS[c]),
            "average_w": lambda own=own: np.mean([inverse(n) for n in own or [1e5]]),
            "average_n": lambda own=own: inverse(np.mean(own or [1e5])),
            "min_n": lambda own=own: inverse(min(own or [1e5])),
        }[mode]()
        p = 1 / (1 + np.exp(-z[i, c]))
        p_t = p if y[i, c] else 1 - p
        total -= balance * weight * (1 - p_t) ** gamma * np.log(p_t)
    return total / z.size


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.9999])
def test_numpy_reference(uniform, assert_reference, mode, beta):
    target = uniform("target", (5, 5)) < 0.4
    target[-1] = False
    fixed = torch.from_numpy(target), torch.from_numpy(COUNTS)
    options = dict(beta=beta, mode=mode, gamma=1.5, balance=1.2)
    assert_reference(
        lambda z: class_balanced_focal_loss(z, *fixed, **options),
        lambda z: reference(z, target, **options),
        uniform("logits", (5, 5), -4, 4),
    )


def test_weights_worked_by_hand():
    counts = torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64)
    assert effective_weight(counts, 0.5).tolist() == pytest.approx([1.0, 4 / 7, 2 / 3])
    target = torch.tensor([[1, 1, 0], [0, 0, 1], [0, 0, 0]], dtype=torch.float64)

    def weights(mode):
        return class_balanced_weight(target, counts, beta=0.5, mode=mode).flatten().tolist()

    assert weights("by_class") == pytest.approx([1.0, 4 / 7, 2 / 3])
    assert weights("average_w") == pytest.approx([11 / 14, 2 / 3, 0.5])
    assert weights("average_n") == pytest.approx([2 / 3, 2 / 3, 0.5])
    assert weights("min_n") == pytest.approx([1.0, 2 / 3, 0.5])
    with pytest.raises(ValueError, match="mode is 'max_n'"):
        class_balanced_weight(target, counts, beta=0.5, mode="max_n")


@pytest.mark.parametrize("beta", [0.9, 0.999, 0.9999, 0.99999])
def test_weights_keep_their_digits_in_float32(beta):
    counts = np.array([1.0, 4.0, 775.0, 5_000.0, 100_000.0])
    wanted = (1 - beta) / (1 - beta**counts)
    found = effective_weight(torch.tensor(counts, dtype=torch.float32), beta)
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx(wanted, rel=2e-7)


def test_beta_zero_is_focal(uniform):
    z = torch.from_numpy(uniform("logits", (4, 5), -8, 8))
    y = torch.from_numpy(uniform("target", (4, 5)) < 0.4)
    for mode in MODES:
        got = class_balanced_focal_loss(z, y, torch.from_numpy(COUNTS), beta=0.0, mode=mode)
        torch.testing.assert_close(got, focal_loss(z, y), rtol=1e-12, atol=0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("beta", [0.0, 0.9, 0.99999])
def test_finite_in_float32(assert_finite, mode, beta):
    counts = torch.tensor([0, 3, 1, 100_000])
    assert_finite(
        lambda z, observed: class_balanced_focal_loss(
            z, observed == 1, counts, mode=mode, beta=beta
        )
    )


def test_method(toy_problem, first_step, assert_stacks):
    problem, method = toy_problem(1), CBFocal(Hyper(mode="min_n", beta=0.99))
    run, batch, step = first_step(method, problem)
    counts = (problem.observed == 1).sum(0)
    logits = method.logits(run, batch.features)
    expected = class_balanced_focal_loss(
        logits, batch.observed == 1, counts, mode="min_n", beta=0.99
    )
    assert step.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert isinstance(method.sampling(run, problem, Clock(0, 1, 10, 0, 3)), ClassAware)
    both = CBFocal(Hyper(counts="true", sampler_labels="true"))
    assert both.oracle() == ("true_counts", "true_labels")
    for mode in MODES:
        assert_stacks(CBFocal(Hyper(mode=mode)), beta=[0.0, 0.9, 0.99], gamma=[0.5, 1.0, 2.0])
    assert registry.get("cb-focal") is CBFocal
