"""Large loss: independent implementation, counts, what is kept over steps, the released branch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from baselines.core import Clock, registry
from baselines.ll_cp import Hyper as CpHyper
from baselines.ll_cp import LLCp, constant_count
from baselines.ll_ct import Hyper as CtHyper
from baselines.ll_ct import LLCt
from baselines.ll_r import (
    LLR,
    Hyper,
    correction,
    cumulative_count,
    large_count,
    large_losses,
    rejection,
)
from benchkit.base.draw import Draw


def reference(z, labels, k, flip, held):
    """Loss, u >= T and u > T; T from the logits `held`."""
    y = labels == 1
    unknown = labels == -1
    entropy = [np.logaddexp(0, z) - target * z for target in (y, 1 - y)]
    u = np.where(unknown, np.logaddexp(0, held), 0)
    threshold = np.sort(u.ravel())[::-1][k - 1] if k else np.inf
    large = (u >= threshold) & unknown
    other = entropy[1] if flip else np.zeros(z.shape)
    return np.where(large, other, entropy[0]).mean(), large, (u > threshold) & unknown


@pytest.fixture
def case(uniform):
    numbers = uniform("observed", (6, 7))
    labels = np.where(numbers < 0.2, 1, np.where(numbers < 0.4, 0, -1))
    return uniform("logits", (6, 7), -5, 5), labels


@pytest.mark.parametrize("k", [0, 1, 5, 20])
def test_numpy_reference(case, assert_reference, k):
    logits, labels = case
    given = torch.from_numpy(labels)
    large, above = large_losses(torch.from_numpy(logits), given, torch.tensor(k))
    for flip, law in ((False, rejection), (True, correction)):
        wanted = reference(logits, labels, k, flip, logits)
        assert np.array_equal(large.numpy(), wanted[1])
        assert np.array_equal(above.numpy(), wanted[2])
        assert_reference(
            lambda z, law=law: law(z, given, large),
            lambda z, flip=flip: reference(z, labels, k, flip, logits)[0],
            logits,
        )


@pytest.mark.parametrize("delta", [0.1, 0.2, 0.3, 0.5, 0.005, 0.01, 5.0])
@pytest.mark.parametrize("shape", [(8, 20), (16, 80), (7, 3)])
def test_counts(delta, shape):
    z = torch.zeros(shape)
    entries = shape[0] * shape[1]
    for epoch in range(1, 12):
        clean_rate = 1 - (epoch - 1) * (delta / 100)
        k = math.ceil(entries * (1 - clean_rate))
        kept = math.ceil(entries * (delta / 100)) if epoch > 1 else 0
        assert large_count(entries, clean_rate, z).item() == k
        for given in (delta, torch.tensor(delta)):  # a stacked run's delta is float32
            assert cumulative_count(z, given, epoch).item() == k
            assert constant_count(z, given, epoch).item() == kept


def test_more_wanted_than_unknown():
    z = torch.tensor([[2.0, -1.0, 0.5, 1.0]])
    labels = torch.tensor([[1, 0, -1, -1]])
    large, above = large_losses(z, labels, torch.tensor(3))
    assert large.tolist() == above.tolist() == [[False, False, True, True]]
    large, above = large_losses(z, labels, torch.tensor(3), as_released=True)
    assert large.tolist() == [[True] * 4]
    assert above.tolist() == [[False, False, True, True]]
    assert large_losses(z, labels, torch.tensor(99))[0].sum() == 2
    assert not large_losses(z, labels, torch.tensor(0), as_released=True)[0].any()


def test_finite_in_float32(assert_finite):
    for k in (0, 1, 4, 100):
        for released in (False, True):
            for law in (rejection, correction):

                def loss(z, s, law=law, k=k, released=released):
                    large, _ = large_losses(z, s, torch.tensor(k), as_released=released)
                    return law(z, s, large)

                assert_finite(loss)
                assert_finite(lambda z, s, loss=loss: loss(20 * z, s))


def clock_and_draw(epoch):
    return Clock(0, epoch, 10, 0, 3), Draw(0).at(0, epoch, 0)


@pytest.mark.parametrize("flip", [False, True])
def test_first_epoch_is_plain_then_the_share_grows(toy_problem, first_step, flip):
    method = LLCt(CtHyper(delta=3.0)) if flip else LLR(Hyper(delta=3.0))
    run, batch, _ = first_step(method, toy_problem(1))
    z = method.logits(run, batch.features).double().numpy()
    labels = batch.observed.numpy()
    for epoch in range(1, 8):
        step = method.step(run, batch, *clock_and_draw(epoch))
        k = math.ceil(z.size * (1 - (1 - (epoch - 1) * 0.03)))
        loss, large, _ = reference(z, labels, k, flip, z)
        assert step.loss.item() == pytest.approx(loss, rel=1e-5)
        assert np.array_equal(step.corrected.numpy(), large)
        assert step.memory == {}
    assert large.sum() > 0


def test_permanent_corrections_add_up(toy_problem, first_step):
    method = LLCp(CpHyper(delta=6.0))
    run, batch, _ = first_step(method, toy_problem(1))
    labels = batch.observed.numpy().copy()
    for epoch in range(1, 8):
        run.params["head.weight"] = run.params["head.weight"] * 1.7
        z = method.logits(run, batch.features).double().numpy()
        k = math.ceil(z.size * (6.0 / 100)) if epoch > 1 else 0
        loss, large, above = reference(z, labels, k, True, z)
        step = method.step(run, batch, *clock_and_draw(epoch))
        assert step.loss.item() == pytest.approx(loss, rel=1e-5)
        hidden = batch.observed.numpy() == -1
        assert np.array_equal(step.corrected.numpy(), (large | (labels == 1)) & hidden)
        labels[above] = 1
        assert step.memory["labels"].dtype == torch.int8
        assert np.array_equal(step.memory["labels"].numpy(), labels)
        run.memory["labels"][batch.rows] = step.memory["labels"]
    assert ((labels == 1) & hidden).sum() > 4


def test_released_permanent_correction_is_the_temporary_one(toy_problem, first_step):
    released = LLCp(CpHyper(delta=3.0, as_released=True))
    run, batch, _ = first_step(released, toy_problem(1))
    assert run.memory == {}
    for epoch in (1, 2, 5):
        steps = [
            method.step(run, batch, *clock_and_draw(epoch))
            for method in (released, LLCt(CtHyper(delta=3.0)))
        ]
        assert steps[0].loss.item() == steps[1].loss.item()
        assert torch.equal(steps[0].corrected, steps[1].corrected)
        assert steps[0].memory == {}


def test_stacks(assert_stacks):
    for method in (LLR(), LLCt(), LLCp(), LLR(Hyper(as_released=True))):
        assert_stacks(method, delta=[0.2, 5.0, 20.0])


def test_are_registered():
    keys = {"ll-r": LLR, "ll-ct": LLCt, "ll-cp": LLCp}
    assert {key: registry.get(key) for key in keys} == keys
