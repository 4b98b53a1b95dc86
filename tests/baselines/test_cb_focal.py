"""CB-Focal: a NumPy reference of its four modes, weights by hand, hard cases, the method."""

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


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def inverse_effective_number(count, beta):
    """E(n) = (1 - beta) / (1 - beta^n)."""
    return (1 - beta) / (1 - beta**count)


def weights(target, beta, mode):
    """w_bc = E(n_c) by class, else one weight per image from the counts of its positives."""
    if mode == "by_class":
        return np.broadcast_to(inverse_effective_number(COUNTS, beta), target.shape)
    image_weights = []
    for labels in target:
        own_counts = COUNTS[labels] if labels.any() else np.array([1e5])
        image_weights.append(
            {
                "average_w": np.mean(inverse_effective_number(own_counts, beta)),
                "average_n": inverse_effective_number(np.mean(own_counts), beta),
                "min_n": inverse_effective_number(np.min(own_counts), beta),
            }[mode]
        )
    return np.array(image_weights)[:, None]


def reference(logits, target, beta, mode, gamma, balance):
    """-balance w (1 - p_t)^gamma log p_t, p_t = p for positives and 1 - p for negatives; mean."""
    probability = sigmoid(logits)
    right = np.where(target, probability, 1 - probability)
    return -np.mean(balance * weights(target, beta, mode) * (1 - right) ** gamma * np.log(right))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.9999])
def test_numpy_reference(uniform, assert_reference, mode, beta):
    target = uniform("target", (5, 5)) < 0.4
    target[-1] = False
    fixed = torch.from_numpy(target), torch.from_numpy(COUNTS)
    options = dict(beta=beta, mode=mode, gamma=1.5, balance=1.2)
    assert_reference(
        lambda logits: class_balanced_focal_loss(logits, *fixed, **options),
        lambda logits: reference(logits, target, **options),
        uniform("logits", (5, 5), -4, 4),
    )


def test_weights_worked_by_hand():
    counts = torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64)
    assert effective_weight(counts, 0.5).tolist() == pytest.approx([1.0, 4 / 7, 2 / 3])
    target = torch.tensor([[1, 1, 0], [0, 0, 1], [0, 0, 0]], dtype=torch.float64)

    expected = {
        "by_class": [1.0, 4 / 7, 2 / 3],
        "average_w": [11 / 14, 2 / 3, 0.5],
        "average_n": [2 / 3, 2 / 3, 0.5],
        "min_n": [1.0, 2 / 3, 0.5],
    }
    for mode, values in expected.items():
        weight = class_balanced_weight(target, counts, beta=0.5, mode=mode)
        assert weight.flatten().tolist() == pytest.approx(values)
    with pytest.raises(ValueError, match="mode is 'max_n'"):
        class_balanced_weight(target, counts, beta=0.5, mode="max_n")


@pytest.mark.parametrize("beta", [0.9, 0.999, 0.9999, 0.99999])
def test_weights_keep_their_digits_in_float32(beta):
    counts = np.array([1.0, 4.0, 775.0, 5_000.0, 100_000.0])
    weight = effective_weight(torch.tensor(counts, dtype=torch.float32), beta)
    assert weight.dtype == torch.float32
    assert weight.tolist() == pytest.approx(inverse_effective_number(counts, beta), rel=2e-7)


def test_beta_zero_is_focal(uniform):
    logits = torch.from_numpy(uniform("logits", (4, 5), -8, 8))
    target = torch.from_numpy(uniform("target", (4, 5)) < 0.4)
    counts = torch.from_numpy(COUNTS)
    for mode in MODES:
        loss = class_balanced_focal_loss(logits, target, counts, beta=0.0, mode=mode)
        torch.testing.assert_close(loss, focal_loss(logits, target), rtol=1e-12, atol=0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("beta", [0.0, 0.9, 0.99999])
def test_finite_in_float32(assert_finite, mode, beta):
    counts = torch.tensor([0, 3, 1, 100_000])
    assert_finite(
        lambda logits, observed: class_balanced_focal_loss(
            logits, observed == 1, counts, mode=mode, beta=beta
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
