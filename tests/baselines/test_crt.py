"""cRT: its stages, the rows that they visit, the parameters that they train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from baselines.core import Batch, ClassAware, Clock, LabelTable, Oracle, Problem, Run, Shuffle
from baselines.core.heads import HiddenHead
from baselines.core.sampling import class_aware, epoch_length
from baselines.crt import CRT
from benchkit.base.draw import Draw
from benchkit.runs.specs import hyper_of

IMAGES, CLASSES, FEATURES, BATCH = 50, 6, 4, 9


def make_problem(seed: int = 0) -> Problem:
    frequency = torch.linspace(0.7, 0.03, CLASSES)
    observed = (Draw(seed).uniform("labels", IMAGES, CLASSES) < frequency).to(torch.int8)
    observed[observed.sum(1) == 0] = -1
    observed[5, 0] = -1
    return Problem(LabelTable.of(observed), FEATURES, "pal", 20, Oracle({}, ()))


def test_stages() -> None:
    first, second = CRT().stages()
    assert (first.name, first.epochs, first.train, first.restart) == (
        "representation",
        None,
        (),
        (),
    )
    assert second.epochs is None  # as long as the first
    assert second.train == second.restart == ("head",)
    assert CRT(replace(CRT.Hyper(), classifier_epochs=3)).stages()[1].epochs == 3
    assert CRT().oracle() == ()


def test_the_second_stage_trains_the_classifier_alone() -> None:
    run = CRT(head=HiddenHead(8)).setup(make_problem(), Draw(1))
    trained = {name for name in run.params if name.startswith(CRT().stages()[1].train)}
    assert trained == {"head.weight", "head.bias"}
    assert set(run.params) - trained == {"neck.weight", "neck.bias"}


def test_rows_of_the_two_stages() -> None:
    method, problem = CRT(), make_problem()
    run = method.setup(problem, Draw(1))
    assert isinstance(method.sampling(run, problem, Clock(0, 1, 20, 0, 1)), Shuffle)
    order = method.sampling(run, problem, Clock(1, 1, 10, 0, 1))
    assert isinstance(order, ClassAware)
    assert order.per_class == 4
    assert torch.equal(order.lists.whole(), problem.observed)
    assert order.codes == (1,)
    assert method.epoch_length(problem, 0) == method.epoch_length(problem, 1) == IMAGES
    other = CRT(hyper_of(CRT, {"length": "classes", "per_class": "2"}))
    counts = (problem.observed == 1).sum(0)
    assert other.epoch_length(problem, 0) == IMAGES
    expected = int(counts.max() * CLASSES / 4)
    assert other.epoch_length(problem, 1) == epoch_length("classes", counts, IMAGES) == expected


def test_second_stage_visits_every_class_equally_often() -> None:
    method = CRT()
    observed = torch.zeros(60, 3, dtype=torch.int8)  # one class per image, 50 : 8 : 2
    observed[:50, 0] = observed[50:58, 1] = observed[58:, 2] = 1
    problem = Problem(LabelTable.of(observed), FEATURES, "full", 20, Oracle({}, ()))
    order = method.sampling(method.setup(problem, Draw(1)), problem, Clock(1, 1, 10, 0, 1))
    assert isinstance(order, ClassAware)
    rows = class_aware(order.lists, order.per_class, 0, 600, Draw(1))
    assert observed[rows].sum(0).tolist() == [200, 200, 200]


def test_without_positives_it_shuffles() -> None:
    method, problem = CRT(), make_problem()
    problem = replace(problem, labels=LabelTable.of(torch.full_like(problem.observed, -1)))
    run = method.setup(problem, Draw(1))
    assert isinstance(method.sampling(run, problem, Clock(1, 1, 10, 0, 1)), Shuffle)


def test_loss_takes_unknown_as_negative() -> None:
    method, problem = CRT(), make_problem()
    run = method.setup(problem, Draw(1))
    rows = torch.arange(BATCH)
    features = Draw(2).normal("features", BATCH, FEATURES)
    batch = Batch(rows, features, problem.observed[rows])
    assert (batch.observed == -1).any()
    logits = features.double().numpy() @ run.params["head.weight"].double().numpy()
    logits = logits + run.params["head.bias"].double().numpy()
    target = (batch.observed == 1).double().numpy()
    expected = np.mean(np.logaddexp(0, logits) - target * logits)
    loss = method.step(run, batch, Clock(1, 1, 10, 0, 1), Draw(1)).loss
    assert loss.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("stage", [0, 1])
def test_stacked_runs_equal_single_runs(
    assert_trees_close: Callable[..., None], stage: int
) -> None:
    method, problem = CRT(head=HiddenHead(8)), make_problem()
    rows = torch.arange(BATCH)
    clock = Clock(stage, 2, 10, 0, 5)

    def one(params: dict[str, Tensor], features: Tensor, seed: Tensor) -> Any:
        def loss(params: dict[str, Tensor]) -> Tensor:
            batch = Batch(rows, features, problem.observed[rows])
            return method.step(Run(params), batch, clock, Draw(seed).at(stage, 2, 0)).loss

        return torch.func.grad_and_value(loss)(params)

    seeds = [1, 2, 3]
    params = [method.setup(problem, Draw(seed)).params for seed in seeds]
    features = torch.stack([Draw(s).normal("features", BATCH, FEATURES) * 30 for s in seeds])
    stacked = {name: torch.stack([p[name] for p in params]) for name in params[0]}
    together = torch.func.vmap(one)(stacked, features, torch.tensor(seeds))
    for index, seed in enumerate(seeds):
        alone = one(params[index], features[index], torch.tensor(seed))
        single = torch.utils._pytree.tree_map(lambda value, i=index: value[i], together)
        assert_trees_close(single, alone)
