"""Partial BCE: a NumPy reference, identities, images without known labels, the method."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baselines.bce import bce
from baselines.core import registry
from baselines.partial_bce import Hyper, PartialBCE, known_bce, partial_bce


def reference(logits, observed, a, b, gamma):
    """g(r_i) / C times the sum of BCE over the known labels of image i; mean over the images.

    g(r) = a r^gamma + b, r_i the share of known labels; 0 for an image without any.
    """
    total = 0.0
    for image_logits, labels in zip(logits, observed, strict=True):
        known = labels != -1
        if not known.any():
            continue
        probability = 1 / (1 + np.exp(-image_logits[known]))
        entropy = -np.where(labels[known] == 1, np.log(probability), np.log(1 - probability))
        image_weight = a * known.mean() ** gamma + b
        total += image_weight * entropy.sum() / len(labels)
    return total / len(logits)


@pytest.fixture
def observed(uniform):
    numbers = uniform("observed", (5, 8))
    labels = np.where(numbers < 0.2, 1, np.where(numbers < 0.5, 0, -1))
    labels[0], labels[1, 1:], labels[2] = -1, -1, np.abs(labels[2])
    return labels


@pytest.mark.parametrize("weight", [(-4.45, 5.45, 1.0), (1.0, 0.0, -1.0), (-2.0, 3.0, 0.5)])
def test_numpy_reference(uniform, assert_reference, observed, weight):
    a, b, gamma = weight
    assert_reference(
        lambda logits: partial_bce(logits, torch.from_numpy(observed), a=a, b=b, gamma=gamma),
        lambda logits: reference(logits, observed, a, b, gamma),
        uniform("logits", (5, 8), -5, 5),
    )


def test_full_labels_are_bce(uniform):
    logits = torch.from_numpy(uniform("logits", (4, 5), -6, 6))
    target = torch.from_numpy(uniform("target", (4, 5)) < 0.4).long()
    expected = bce(logits, target.double()).item()
    for loss in (partial_bce, known_bce):
        assert loss(logits, target).item() == pytest.approx(expected, rel=1e-12)


def test_an_image_with_a_tenth_of_its_labels_known_weighs_five_times():
    logits = torch.zeros(1, 10, dtype=torch.float64)
    observed = torch.full((1, 10), -1)
    observed[0, 3] = 0
    assert partial_bce(logits, observed).item() == pytest.approx(5.005 * np.log(2) / 10)
    assert known_bce(logits, observed).item() == pytest.approx(np.log(2))


def test_finite_in_float32(assert_finite):
    def mean_over_known(logits, observed):
        return partial_bce(logits, observed, a=1.0, b=0.0, gamma=-1.0)

    for loss in (partial_bce, known_bce, mean_over_known):
        assert_finite(loss)
        assert_finite(lambda logits, observed, loss=loss: loss(20 * logits, observed))


@pytest.mark.parametrize("normalise", ["image", "batch"])
def test_method(toy_problem, first_step, normalise):
    method = PartialBCE(Hyper(normalise=normalise))
    run, batch, step = first_step(method, toy_problem(1))
    loss = partial_bce if normalise == "image" else known_bce
    expected = loss(method.logits(run, batch.features), batch.observed)
    assert step.loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_stacks(assert_stacks):
    assert_stacks(PartialBCE(Hyper(normalise="batch")))
    assert_stacks(PartialBCE(), a=[-4.45, 1.0, 0.0], b=[5.45, 0.0, 1.0], gamma=[1.0, -1.0, 2.0])


def test_is_registered():
    assert registry.get("partial-bce") is PartialBCE
