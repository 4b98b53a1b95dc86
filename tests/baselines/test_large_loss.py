"""Large loss: a NumPy reference, counts, permanent corrections, the released variant."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from baselines.bce import bce
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


def large(logits, labels, count):
    """The unknown labels with u >= T and with u > T.

    u is the loss of an unknown label taken as negative, 0 of a known one; T is the `count`-th
    largest u of the batch.
    """
    unknown = labels == -1
    negative_loss = np.where(unknown, np.logaddexp(0, logits), 0)
    threshold = np.sort(negative_loss.ravel())[::-1][count - 1] if count else np.inf
    return (negative_loss >= threshold) & unknown, (negative_loss > threshold) & unknown


def reference(logits, labels, replaced, flip):
    """BCE with unknown as negative; where `replaced`, BCE of the flipped label, or 0; mean."""
    target = labels == 1
    entropy = np.logaddexp(0, logits) - target * logits
    flipped_entropy = np.logaddexp(0, logits) - ~target * logits
    return np.where(replaced, flipped_entropy if flip else 0, entropy).mean()


@pytest.fixture
def case(uniform):
    numbers = uniform("observed", (6, 7))
    labels = np.where(numbers < 0.2, 1, np.where(numbers < 0.4, 0, -1))
    return uniform("logits", (6, 7), -5, 5), labels


@pytest.mark.parametrize("k", [0, 1, 5, 20])
def test_numpy_reference(case, assert_reference, k):
    logits, labels = case
    observed = torch.from_numpy(labels)
    replaced, above = large_losses(torch.from_numpy(logits), observed, torch.tensor(k))
    expected_replaced, expected_above = large(logits, labels, k)
    assert np.array_equal(replaced.numpy(), expected_replaced)
    assert np.array_equal(above.numpy(), expected_above)
    for flip, loss in ((False, rejection), (True, correction)):
        assert_reference(
            lambda logits, loss=loss: loss(logits, observed, replaced),
            lambda logits, flip=flip: reference(logits, labels, expected_replaced, flip),
            logits,
        )


@pytest.mark.parametrize("delta", [0.1, 0.2, 0.3, 0.5, 0.005, 0.01, 5.0])
@pytest.mark.parametrize("shape", [(8, 20), (16, 80), (7, 3)])
def test_counts(delta, shape):
    logits = torch.zeros(shape)
    entries = shape[0] * shape[1]
    for epoch in range(1, 12):
        clean_rate = 1 - (epoch - 1) * (delta / 100)
        cumulative = math.ceil(entries * (1 - clean_rate))
        constant = math.ceil(entries * (delta / 100)) if epoch > 1 else 0
        assert large_count(entries, clean_rate, logits).item() == cumulative
        for value in (delta, torch.tensor(delta)):  # delta is float32 in a stack of runs
            assert cumulative_count(logits, value, epoch).item() == cumulative
            assert constant_count(logits, value, epoch).item() == constant


def test_a_count_above_the_number_of_unknown_labels():
    logits = torch.tensor([[2.0, -1.0, 0.5, 1.0]])
    labels = torch.tensor([[1, 0, -1, -1]])
    replaced, above = large_losses(logits, labels, torch.tensor(3))
    assert replaced.tolist() == above.tolist() == [[False, False, True, True]]
    replaced, above = large_losses(logits, labels, torch.tensor(3), as_released=True)
    assert replaced.tolist() == [[True] * 4]
    assert above.tolist() == [[False, False, True, True]]
    assert large_losses(logits, labels, torch.tensor(99))[0].sum() == 2
    assert not large_losses(logits, labels, torch.tensor(0), as_released=True)[0].any()


@pytest.mark.parametrize("as_released", [False, True])
@pytest.mark.parametrize("replace", [rejection, correction])
@pytest.mark.parametrize("count", [0, 1, 4, 100])
def test_finite_in_float32(assert_finite, count, replace, as_released):
    def loss(logits, observed):
        replaced, _ = large_losses(logits, observed, torch.tensor(count), as_released=as_released)
        return replace(logits, observed, replaced)

    assert_finite(loss)
    assert_finite(lambda logits, observed: loss(20 * logits, observed))


def clock_and_draw(epoch):
    return Clock(0, epoch, 10, 0, 3), Draw(0).at(0, epoch, 0)


@pytest.mark.parametrize(
    "method",
    [LLR(Hyper(delta=50.0)), LLCt(CtHyper(delta=50.0)), LLCp(CpHyper(delta=50.0))],
    ids=["ll-r", "ll-ct", "ll-cp"],
)
def test_nothing_is_corrected_in_the_first_epoch(toy_problem, first_step, method):
    run, batch, step = first_step(method, toy_problem(1))
    expected = bce(method.logits(run, batch.features), (batch.observed == 1).float())
    assert step.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert not step.corrected.any()
    for labels in step.memory.values():
        assert torch.equal(labels, batch.observed)
    later = method.step(run, batch, *clock_and_draw(2))
    assert later.corrected.any()


@pytest.mark.parametrize("flip", [False, True])
def test_first_epoch_is_plain_then_the_share_grows(toy_problem, first_step, assert_close, flip):
    method = LLCt(CtHyper(delta=3.0)) if flip else LLR(Hyper(delta=3.0))
    run, batch, _ = first_step(method, toy_problem(1))
    logits = method.logits(run, batch.features).double().numpy()
    labels = batch.observed.numpy()
    for epoch in range(1, 8):
        step = method.step(run, batch, *clock_and_draw(epoch))
        count = math.ceil(logits.size * (1 - (1 - (epoch - 1) * 0.03)))
        replaced, _ = large(logits, labels, count)
        assert replaced.any() == (epoch > 1)
        assert_close(step.loss, reference(logits, labels, replaced, flip))
        assert np.array_equal(step.corrected.numpy(), replaced)
        assert step.memory == {}


def test_permanent_corrections_add_up(toy_problem, first_step, assert_close):
    method = LLCp(CpHyper(delta=6.0))
    run, batch, _ = first_step(method, toy_problem(1))
    hidden = batch.observed.numpy() == -1
    labels = batch.observed.numpy().copy()
    for epoch in range(1, 8):
        run.params["head.weight"] = run.params["head.weight"] * 1.7
        logits = method.logits(run, batch.features).double().numpy()
        count = math.ceil(logits.size * (6.0 / 100)) if epoch > 1 else 0
        replaced, above = large(logits, labels, count)
        step = method.step(run, batch, *clock_and_draw(epoch))
        assert_close(step.loss, reference(logits, labels, replaced, flip=True))
        assert np.array_equal(step.corrected.numpy(), (replaced | (labels == 1)) & hidden)
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
