"""Partial BCE: independent implementation, identities, images of which nothing is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baselines.bce import bce
from baselines.core import registry
from baselines.partial_bce import Hyper, PartialBCE, known_bce, partial_bce


def reference(z, observed, a, b, gamma):
    total = 0.0
    for x, s in zip(z, observed, strict=True):
        known = s != -1
        if not known.any():
            continue
        p = 1 / (1 + np.exp(-x[known]))
        entropy = -np.where(s[known] == 1, np.log(p), np.log(1 - p))
        total += (a * known.mean() ** gamma + b) * entropy.sum() / len(x)
    return total / len(z)


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
        lambda z: partial_bce(z, torch.from_numpy(observed), a=a, b=b, gamma=gamma),
        lambda z: reference(z, observed, a, b, gamma),
        uniform("logits", (5, 8), -5, 5),
    )


def test_full_labels_are_bce(uniform):
    z = torch.from_numpy(uniform("logits", (4, 5), -6, 6))
    y = torch.from_numpy(uniform("target", (4, 5)) < 0.4).long()
    for loss in (partial_bce(z, y), known_bce(z, y)):
        assert loss.item() == pytest.approx(bce(z, y.double()).item(), rel=1e-12)


def test_a_tenth_known_weighs_five_times():
    z = torch.zeros(1, 10, dtype=torch.float64)
    s = torch.full((1, 10), -1)
    s[0, 3] = 0
    assert partial_bce(z, s).item() == pytest.approx(5.005 * np.log(2) / 10)
    assert known_bce(z, s).item() == pytest.approx(np.log(2))


def test_finite_in_float32(assert_finite):
    for law in (
        partial_bce,
        known_bce,
        lambda z, s: partial_bce(z, s, a=1.0, b=0.0, gamma=-1.0),
    ):
        assert_finite(law)
        assert_finite(lambda z, s, law=law: law(20 * z, s))


@pytest.mark.parametrize("normalise", ["image", "batch"])
def test_method(toy_problem, first_step, normalise):
    method = PartialBCE(Hyper(normalise=normalise))
    run, batch, step = first_step(method, toy_problem(1))
    law = partial_bce if normalise == "image" else known_bce
    wanted = law(method.logits(run, batch.features), batch.observed)
    assert step.loss.item() == pytest.approx(wanted.item(), rel=1e-6)


def test_stacks(assert_stacks):
    assert_stacks(PartialBCE(Hyper(normalise="batch")))
    assert_stacks(PartialBCE(), a=[-4.45, 1.0, 0.0], b=[5.45, 0.0, 1.0], gamma=[1.0, -1.0, 2.0])


def test_is_registered():
    assert registry.get("partial-bce") is PartialBCE
