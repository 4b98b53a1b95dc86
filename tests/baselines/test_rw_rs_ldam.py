"""RW, RS and LDAM: NumPy references, identities, hard cases, the methods."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from baselines.bce import bce
from baselines.core import ClassAware, Clock, LabelTable, MethodError, Shuffle, registry
from baselines.ldam import LDAM, class_margin, ldam_loss
from baselines.ldam import Hyper as LDAMHyper
from baselines.rs import RS
from baselines.rs import Hyper as RSHyper
from baselines.rw import FORMS, RW, frequency_weight, reweighted_bce
from baselines.rw import Hyper as RWHyper
from benchkit.base.draw import Draw

COUNTS = np.array([1.0, 90.0, 7.0, 33.0, 60.0])


@pytest.mark.parametrize("form", FORMS)
def test_rw_numpy_reference(uniform, assert_reference, form):
    target = (uniform("target", (4, 5)) < 0.4).astype(float)
    weight = (100 / COUNTS) ** (0.5 if form == "inverse-sqrt" else 1.0)

    def reference(logits):
        """w_c BCE(z, y), w_c = N / n_c or its square root."""
        return np.mean(weight * (np.log1p(np.exp(logits)) - target * logits))

    fixed = torch.from_numpy(target), torch.from_numpy(COUNTS), 100
    assert_reference(
        lambda logits: reweighted_bce(logits, *fixed, form=form),
        reference,
        uniform("logits", (4, 5), -4, 4),
    )


def test_rw_weights():
    counts = torch.tensor([0.0, 1.0, 4.0, 100.0])
    assert frequency_weight(counts, 100).tolist() == [10, 10, 5, 1]
    assert frequency_weight(counts, 100, "inverse").tolist() == [100, 100, 25, 1]
    with pytest.raises(ValueError, match="form is 'cube'"):
        frequency_weight(counts, 100, "cube")


def test_rw_with_equal_counts_is_bce(uniform):
    logits = torch.from_numpy(uniform("logits", (4, 5), -8, 8))
    target = torch.from_numpy(uniform("target", (4, 5)) < 0.4).double()
    loss = reweighted_bce(logits, target, torch.full((5,), 25), 100)
    torch.testing.assert_close(loss, 2 * bce(logits, target), rtol=1e-12, atol=0)


@pytest.mark.parametrize("scale", [1.0, 3.0, 30.0])
@pytest.mark.parametrize("max_margin", [0.0, 0.5, 2.0])
def test_ldam_numpy_reference(uniform, assert_reference, max_margin, scale):
    target = (uniform("target", (4, 5)) < 0.4).astype(float)
    margin = max_margin * (COUNTS.min() / COUNTS) ** 0.25

    def reference(logits):
        """BCE(s (z - Delta_c y), y), Delta_c = max_margin (min_j n_j / n_c)^(1/4)."""
        shifted = scale * (logits - margin * target)
        return np.mean(np.logaddexp(0, shifted) - target * shifted)

    fixed = torch.from_numpy(target), torch.from_numpy(COUNTS)
    assert_reference(
        lambda logits: ldam_loss(logits, *fixed, max_margin=max_margin, scale=scale),
        reference,
        uniform("logits", (4, 5), -1, 1),
    )


def test_ldam_margins(vectors):
    case = vectors("lt_ldam__s1")
    margin = class_margin(torch.tensor(case["class_freq"], dtype=torch.float64), 0.5)
    assert margin.tolist() == pytest.approx(case["margin"], rel=1e-12)
    assert class_margin(torch.tensor([0.0, 16.0]), 1.0).tolist() == pytest.approx([1.0, 0.5])
    assert "proposed" in LDAM.info.title


def test_ldam_without_margin_is_bce(uniform):
    logits = torch.from_numpy(uniform("logits", (4, 5), -8, 8))
    target = torch.from_numpy(uniform("target", (4, 5)) < 0.4).double()
    loss = ldam_loss(logits, target, torch.from_numpy(COUNTS), max_margin=0.0)
    torch.testing.assert_close(loss, bce(logits, target), rtol=1e-12, atol=0)


@pytest.mark.parametrize("counts", [[0, 3, 1, 0], [0, 0, 0, 0]])
def test_finite_in_float32(assert_finite, counts):
    class_counts = torch.tensor(counts)
    for form in FORMS:
        assert_finite(
            lambda logits, observed, form=form: reweighted_bce(
                logits, observed == 1, class_counts, 3, form=form
            )
        )
    for scale in (1.0, 30.0):
        assert_finite(
            lambda logits, observed, scale=scale: ldam_loss(
                logits, observed == 1, class_counts, scale=scale
            )
        )


def test_counts_are_observed_or_declared(toy_problem, first_step):
    for method, hyper in ((RW, RWHyper), (LDAM, LDAMHyper)):
        problem = toy_problem(1)
        run, batch, step = first_step(method(), problem)
        counts = (problem.observed == 1).sum(0)
        assert run.constants["class_counts"].tolist() == counts.tolist()
        logits = method().logits(run, batch.features)
        expected = (
            reweighted_bce(logits, batch.observed == 1, counts, problem.num_images)
            if method is RW
            else ldam_loss(logits, batch.observed == 1, counts)
        )
        assert step.loss.item() == pytest.approx(expected.item(), rel=1e-6)
        assert method().oracle() == ()
        true = method(hyper(counts="true"))
        assert true.oracle() == ("true_counts",)
        open_problem = toy_problem(1, ("true_counts",))
        true_counts = open_problem.oracle["true_counts"]
        run = true.setup(open_problem, Draw(0).at(0, 0))
        assert run.constants["class_counts"].tolist() == true_counts.tolist()
        with pytest.raises(MethodError):
            true.setup(problem, Draw(0).at(0, 0))


def test_rs_is_bce_on_class_aware_rows(toy_problem, first_step):
    problem, clock = toy_problem(1), Clock(0, 1, 10, 0, 3)
    run, batch, step = first_step(RS(), problem)
    expected = bce(RS().logits(run, batch.features), (batch.observed == 1).float())
    assert step.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    order = RS().sampling(run, problem, clock)
    assert isinstance(order, ClassAware)
    assert order.per_class == 3
    assert torch.equal(order.lists.whole(), problem.observed)
    assert order.codes == (1,)
    most = int((problem.observed == 1).sum(0).max())
    assert RS().epoch_length(problem, 0) == 20
    assert RS(RSHyper(length="classes")).epoch_length(problem, 0) == most * 5 // 4
    assert RS(RSHyper(sampler="shuffle")).sampling(run, problem, clock) == Shuffle()

    true = RS(RSHyper(sampler_labels="true"))
    assert RS().oracle() == ()
    assert true.oracle() == ("true_labels",)
    open_problem = toy_problem(1, true.oracle())
    lists = true.sampling(run, open_problem, clock).lists
    assert torch.equal(lists.whole(), open_problem.oracle["true_labels"].whole())


def test_unknown_is_negative_and_runs_stack(toy_problem, first_step, assert_stacks):
    problem = toy_problem(1)
    known = dataclasses.replace(problem, labels=LabelTable.of(problem.observed.clamp(min=0)))
    for method in (RW, RS, LDAM):
        losses = {first_step(method(), each)[2].loss.item() for each in (problem, known)}
        assert len(losses) == 1
        assert_stacks(method())
        assert registry.get(method.info.key) is method
    assert_stacks(RW(RWHyper(form="inverse")))
    assert_stacks(LDAM(), max_margin=[0.0, 0.5, 1.0], scale=[1.0, 2.0, 30.0])
