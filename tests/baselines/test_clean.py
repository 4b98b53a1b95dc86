"""The upper bounds: an ordinary method on the complete labels, marked as oracle."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from baselines.bce import BCE
from baselines.bce_clean import BCEClean
from baselines.core import (
    ClassAware,
    Clock,
    LabelTable,
    MethodError,
    Oracle,
    Problem,
    Shuffle,
    registry,
)
from baselines.db_clean import DBClean
from baselines.db_focal import DBFocal
from benchkit.base.draw import Draw

BOUNDS = [(BCEClean, BCE), (DBClean, DBFocal)]


def complete(problem: Problem) -> Problem:
    """The same problem with nothing hidden, for the ordinary method."""
    return replace(problem, labels=problem.oracle["true_labels"], regime="full")


@pytest.mark.parametrize(("bound", "method"), BOUNDS)
def test_equals_the_method_on_complete_labels(bound, method, toy_problem, first_step):
    problem = toy_problem(1, bound().oracle())
    full_problem = complete(problem)
    assert not torch.equal(problem.observed.clamp(min=0), full_problem.observed)
    run, batch, step = first_step(bound(), problem)
    full_run, _, full_step = first_step(method(), full_problem)
    assert step.loss.item() == full_step.loss.item()
    for part in ("params", "state", "constants"):
        values, expected = getattr(run, part), getattr(full_run, part)
        assert values.keys() == expected.keys()
        assert all(torch.equal(values[name], expected[name]) for name in expected)

    def bias_gradient(method, run, batch):
        for value in run.params.values():
            value.requires_grad_()
        loss = method.step(run, batch, Clock(0, 1, 10, 0, 3), Draw(0).at(0, 1, 0)).loss
        return torch.autograd.grad(loss, run.params["head.bias"])[0]

    full_batch = replace(batch, observed=full_problem.observed[batch.rows])
    expected = bias_gradient(method(), full_run, full_batch)
    assert torch.equal(bias_gradient(bound(), run, batch), expected)


def test_the_observed_labels_are_not_read(toy_problem, first_step):
    for bound, _ in BOUNDS:
        problem = toy_problem(1, bound().oracle())
        blank = replace(problem, labels=LabelTable.of(torch.zeros_like(problem.observed)))
        losses = [first_step(bound(), each)[2].loss.item() for each in (problem, blank)]
        assert losses[0] == losses[1]


def test_rows_are_visited_by_true_labels(toy_problem):
    problem = toy_problem(1, DBClean().oracle())
    true_labels, clock = problem.oracle["true_labels"], Clock(0, 1, 10, 0, 1)
    run = DBClean().setup(problem, Draw(0))
    order = DBClean().sampling(run, problem, clock)
    assert isinstance(order, ClassAware)
    assert torch.equal(order.lists.whole(), true_labels.whole())
    longer = DBClean(DBClean.Hyper(length="classes"))
    expected = DBFocal(DBFocal.Hyper(length="classes")).epoch_length(complete(problem), 0)
    assert longer.epoch_length(problem, 0) == expected
    assert longer.epoch_length(problem, 0) != problem.num_images
    assert isinstance(BCEClean().sampling(run, problem, clock), Shuffle)
    assert BCEClean().epoch_length(problem, 0) == problem.num_images


def test_counts_are_the_true_ones_under_all_options(toy_problem):
    problem = toy_problem(1, DBClean().oracle())
    for counts in ("observed", "true"):
        run = DBClean(DBClean.Hyper(counts=counts)).setup(problem, Draw(0))
        assert torch.equal(run.constants["class_counts"], problem.oracle["true_counts"].float())


def test_is_marked_as_oracle(toy_problem):
    assert BCEClean().oracle() == ("true_labels",)
    for options in ({}, {"counts": "true"}, {"sampler": "shuffle"}, {"sampler_labels": "true"}):
        assert DBClean(DBClean.Hyper(**options)).oracle() == ("true_labels", "true_counts")
    hidden = replace(toy_problem(1), oracle=Oracle({}, ()))
    for bound, _ in BOUNDS:
        with pytest.raises(MethodError, match="without declaring it"):
            bound().setup(hidden, Draw(0))


def test_stacks(assert_stacks):
    assert_stacks(BCEClean())
    assert_stacks(DBClean(), neg_scale=[5.0, 2.0, 1.0], mu=[0.3, 0.2, 0.1])


def test_are_registered():
    for bound, _ in BOUNDS:
        assert registry.get(bound.info.key) is bound
        assert bound.info.regimes == ()
