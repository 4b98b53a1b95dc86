"""NDLP: the oracles of its variants, its sampling, its step, stacked runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from baselines.core import (
    Batch,
    ClassAware,
    Clock,
    LabelTable,
    MethodError,
    Oracle,
    Problem,
    Run,
    Shuffle,
)
from baselines.core.sampling import epoch_length
from baselines.db_focal import class_bias, distribution_balanced_loss
from baselines.ndlp import NDLP
from baselines.shared.candidate_bank import (
    class_threshold,
    initial_bank,
    mixing_share,
    pseudo_labels,
    select,
    sharpen,
    update_bank,
    update_quota,
)
from baselines.shared.candidate_labels import invert_prior
from benchkit.base.draw import Draw
from benchkit.runs.specs import hyper_of

CLASSES, IMAGES, FEATURES, BATCH = 7, 40, 5, 12
Tensors = dict[str, Tensor]


def make_problem(seed: int = 0, **oracle: Any) -> Problem:
    random = Draw(seed)
    frequency = torch.linspace(0.6, 0.05, CLASSES)
    true = random.uniform("true", IMAGES, CLASSES) < frequency
    observed = (true | (random.uniform("noise", IMAGES, CLASSES) < 0.3)).to(torch.int8)
    observed[0] = 0  # a row without candidates
    observed[:, -1] = 0  # a class without candidates
    values = {"true_labels": true.to(torch.int8), "true_counts": true.sum(0), "noise_rate": 0.3}
    allowed = tuple(oracle.get("allowed", ()))
    return Problem(LabelTable.of(observed), FEATURES, "candidates", 10, Oracle(values, allowed))


def make_batch(problem: Problem, seed: int = 0) -> Batch:
    rows = Draw(seed).permutation("rows", IMAGES)[:BATCH]
    rows[0] = 0
    return Batch(rows, Draw(seed).normal("features", BATCH, FEATURES), problem.observed[rows])


def make_method(**values: Any) -> NDLP:
    return NDLP(replace(NDLP.Hyper(), **values))


def test_oracles_of_the_variants() -> None:
    assert make_method().oracle() == ()
    assert make_method(rho="given").oracle() == ("noise_rate",)
    assert make_method(variant="repository").oracle() == ("true_counts", "true_labels")
    assert make_method(prior="true").oracle() == ("true_counts",)
    with pytest.raises(MethodError, match="without declaring it"):
        make_method(variant="repository").setup(make_problem(), Draw(1))


OPTIONS = (
    "", "rho=given", "prior=true", "prior=inverted", "selection=off", "quota=off",
    "quota_rule=inverse-ema", "variant=repository", "variant=repository prior=pseudo",
    "variant=repository prior=inverted rho=given",
)  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS)
def test_two_epochs_read_only_what_is_declared(options: str) -> None:
    method = NDLP(hyper_of(NDLP, dict(o.split("=") for o in options.split())))
    problem = make_problem(allowed=method.oracle())
    draw = Draw(4)
    run = method.setup(problem, draw)
    length = method.epoch_length(problem, 0)
    for epoch in (1, 2):
        clock = Clock(0, epoch, 10, 0, 1)
        run = method.epoch_start(run, problem, torch.zeros(0), clock, draw.at(0, epoch))
        method.sampling(run, problem, clock)
        batch = make_batch(problem, epoch)
        result = method.step(run, batch, clock, draw.at(0, epoch, 0))
        assert torch.isfinite(result.loss)
        bank = run.memory["bank"].clone()
        bank[batch.rows] = result.memory["bank"]
        run = replace(run, state=run.state | result.state, memory={"bank": bank})
        assert run.state["quota"].sum().item() == pytest.approx(1.0, rel=1e-5)
    assert method.epoch_length(problem, 0) == length
    if options == "quota=off":
        assert torch.equal(run.state["quota"], torch.full((CLASSES,), 1 / CLASSES))


def test_sampling_and_epoch_length() -> None:
    problem = make_problem(allowed=("true_counts", "true_labels"))
    true = problem.oracle["true_labels"].whole()
    repository = make_method(variant="repository")
    run = repository.setup(problem, Draw(1))
    order = repository.sampling(run, problem, Clock(0, 1, 10, 0, 1))
    assert isinstance(order, ClassAware)
    assert order.per_class == 3
    assert torch.equal(order.lists.whole(), true)
    assert torch.equal(run.state["counts"], true.sum(0).float())
    assert repository.epoch_length(problem, 0) == IMAGES

    faithful = make_method()
    run = faithful.setup(problem, Draw(1))
    clock, draw = Clock(0, 1, 10, 0, 1), Draw(1).at(0, 1)
    assert isinstance(faithful.sampling(run, problem, clock), Shuffle)
    first = faithful.epoch_start(run, problem, torch.zeros(0), clock, draw)
    assert torch.equal(first.state["counts"], invert_prior(problem.observed))
    order = faithful.sampling(run, problem, Clock(0, 2, 10, 0, 1))
    assert isinstance(order, ClassAware)
    bank = run.memory["bank"]
    expected = pseudo_labels(sharpen(bank, 3.0), class_threshold(bank))
    assert expected.any()
    assert torch.equal(order.lists.whole(), expected)
    second = faithful.epoch_start(run, problem, torch.zeros(0), replace(clock, epoch=2), draw)
    assert torch.equal(second.state["counts"], expected.sum(0).clamp(min=1).float())
    assert faithful.epoch_length(problem, 0) == IMAGES
    longer = make_method(length="classes")
    inverted = invert_prior(problem.observed)
    assert longer.epoch_length(problem, 0) == epoch_length("classes", inverted, IMAGES)

    nothing = replace(problem, labels=LabelTable.of(torch.zeros_like(problem.observed)))
    run = faithful.setup(nothing, Draw(1))
    assert isinstance(faithful.sampling(run, nothing, Clock(0, 2, 10, 0, 1)), Shuffle)


def test_step_is_the_sum_of_its_parts(assert_close: Callable[..., None]) -> None:
    method, problem = make_method(), make_problem()
    run = method.setup(problem, Draw(2))
    logits, candidates = Draw(8).normal("bank", IMAGES, CLASSES), (problem.observed == 1).float()
    run.memory["bank"] = update_bank(run.memory["bank"], logits, candidates, 0.8)
    batch, clock, draw = make_batch(problem), Clock(0, 5, 10, 0, 1), Draw(2).at(0, 5, 0)
    step = method.step(run, batch, clock, draw)

    counts, bank = run.state["counts"], run.memory["bank"]

    def elements_of(logits: Tensor, target: Tensor) -> Tensor:
        options = dict(alpha=0.1, beta=10.0, mu=0.3, neg_scale=5.0, kappa=0.05)
        return distribution_balanced_loss(logits, target, counts, IMAGES, **options)

    sharp = sharpen(bank[batch.rows], 3.0)
    labels = pseudo_labels(sharp, class_threshold(bank))
    logits = method.logits(run, batch.features)
    elements = elements_of(logits, labels.float())
    selected = select(elements.mean(1), labels, run.state["quota"], 0.56)
    first = torch.nonzero(selected).flatten()
    assert 1 < len(first) < BATCH
    order = draw.permutation("ndlp/pairs", BATCH)
    second = order[torch.isin(order, first)]
    share = mixing_share(draw.uniform("ndlp/share", 7))
    mixed_features = share * batch.features[first] + (1 - share) * batch.features[second]
    mixed_target = share * sharp[first] + (1 - share) * sharp[second]
    mixed = elements_of(method.logits(run, mixed_features), mixed_target).mean()
    assert_close(step.loss, elements.mean() + 0.36 * mixed)
    assert step.corrected is not None
    assert torch.equal(step.corrected, (batch.observed == 1) & ~labels)
    rows, seen = bank[batch.rows], logits + class_bias(counts, IMAGES, 0.05, 5.0)
    assert torch.equal(step.state["quota"], update_quota(run.state["quota"], rows))
    moved = update_bank(rows, seen, (batch.observed == 1).float(), 0.1)
    assert_close(step.memory["bank"], moved, 2e-6)
    first_epoch = method.step(run, batch, Clock(0, 1, 10, 0, 1), draw)
    assert first_epoch.loss.item() == pytest.approx(elements.mean().item(), rel=1e-6)


@pytest.mark.parametrize("scale", [0.0, 50.0])
@pytest.mark.parametrize("rows", [[0], [0, 0, 0], [3], list(range(12))])
def test_finite_loss_and_gradient(scale: float, rows: list[int]) -> None:
    method, problem, clock = make_method(), make_problem(), Clock(0, 3, 10, 0, 1)
    problem.observed[1] = -1  # nothing observed
    run = method.setup(problem, Draw(2))
    features = torch.sign(Draw(3).normal("features", len(rows), FEATURES))
    batch = Batch(torch.tensor(rows), features, problem.observed[rows])
    run.params["head.weight"] = torch.full_like(run.params["head.weight"], scale / FEATURES)

    def loss(params: Tensors) -> Tensor:
        return method.step(replace(run, params=params), batch, clock, Draw(1).at(0, 3, 0)).loss

    gradient, value = torch.func.grad_and_value(loss)(run.params)
    assert torch.isfinite(value)
    assert all(torch.isfinite(part).all() for part in gradient.values())


@pytest.mark.parametrize("rule", ["product", "inverse-ema"])
def test_stacked_runs_equal_single_runs(assert_trees_close: Callable[..., None], rule: str) -> None:
    seeds, clock = [1, 2, 3], Clock(0, 4, 10, 1, 5)
    hypers = {
        "sharpen": torch.tensor([2.0, 3.0, 1.5]),
        "bank_rate": torch.tensor([0.1, 0.3, 0.0]),
        "mixup_weight": torch.tensor([0.9, 0.1, 2.0]),
        "ratio_end": torch.tensor([0.8, 0.5, 0.9]),
        "mu": torch.tensor([0.3, 0.2, 0.1]),
        "neg_scale": torch.tensor([5.0, 2.0, 1.0]),
        "kappa": torch.tensor([0.05, 0.0, 0.2]),
    }

    def start(seed: int) -> dict[str, Any]:
        problem = make_problem(seed)
        run = make_method(quota_rule=rule).setup(problem, Draw(seed))
        return vars(run) | {"batch": vars(make_batch(problem, seed))}

    def one(parts: dict[str, Any], values: Tensors, seed: Tensor) -> Any:
        method = make_method(quota_rule=rule).with_hyper(**values)
        batch = Batch(**parts["batch"])

        def loss(params: Tensors) -> Any:
            run = Run(params, parts["state"], parts["memory"])
            step = method.step(run, batch, clock, Draw(seed).at(0, 4, 1))
            return step.loss, (step.loss, step.state, step.memory, step.corrected)

        return torch.func.grad(loss, has_aux=True)(parts["params"])

    parts = [start(seed) for seed in seeds]
    stacked = tree_map(lambda *leaves: torch.stack(leaves), *parts)
    together = torch.func.vmap(one)(stacked, hypers, torch.tensor(seeds))
    for index, seed in enumerate(seeds):
        values = {name: value[index] for name, value in hypers.items()}
        alone = one(parts[index], values, torch.tensor(seed))
        single = tree_map(lambda value, i=index: value[i], together)
        assert_trees_close(single, alone)


def test_unknown_labels_are_candidates_at_the_rate_at_which_pal_hides_them() -> None:
    observed = torch.tensor([[1, -1, 0], [-1, -1, 0], [0, 1, -1]], dtype=torch.int8)
    bank = initial_bank(observed)
    assert torch.equal(bank > 0, torch.tensor([[True, True, False]] * 2 + [[False, True, True]]))
    true = (Draw(5).uniform("true", 4000, 3) < torch.tensor([0.5, 0.2, 0.01])).to(torch.int8)
    hidden = Draw(6).uniform("hidden", 4000, 3) >= 0.6
    counts = invert_prior(torch.where(hidden, -1, true).to(torch.int8), 0.4)
    np.testing.assert_allclose(counts[:2], true.sum(0)[:2], rtol=0.15)
