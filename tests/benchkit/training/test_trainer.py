"""The trainer: against a plain loop, stage by stage, and what it counts, selects and refuses."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.bce import BCE
from baselines.core import (
    Batch,
    ClassAware,
    Clock,
    LabelTable,
    Method,
    MethodError,
    MethodInfo,
    Problem,
    Rate,
    Run,
    Sampling,
    Setup,
    Stage,
    Step,
)
from baselines.core.draw import Draw as AnyDraw
from baselines.core.heads import HiddenHead
from baselines.core.losses import bce_terms, positives
from baselines.core.sampling import class_aware
from baselines.crt import CRT
from benchkit.base.draw import Draw
from benchkit.split.model import Split
from benchkit.training.recipe import Recipe
from benchkit.training.trainer import Trained, TrainingSet, scores, train

ToyMaker = Callable[..., Split]


@pytest.fixture
def data(make_toy: ToyMaker) -> TrainingSet:
    """Forty images, five classes, four features, one view; class 4 is the only few-shot one."""
    return training_set(make_toy)


def training_set(make_toy: ToyMaker, **source: Any) -> TrainingSet:
    train_part = make_toy(**source).parts["train"]
    assert train_part.observed is not None
    assert train_part.features is not None
    return TrainingSet(
        features=torch.from_numpy(train_part.features),
        observed=LabelTable.of(torch.from_numpy(train_part.observed)),
        true=LabelTable.of(torch.from_numpy(train_part.true)),
        regime="full",
        shot=torch.tensor([0, 0, 1, 1, 2]),
    )


# Steps of the gradient times the rate, and nothing else.
PLAIN = Recipe(optimiser="sgd", momentum=0.0, weight_decay=0.0, schedule="constant")


def info(key: str) -> MethodInfo:
    return MethodInfo(key, key, "none", 2000, "none", "negative")


def parameters(result: Trained) -> Tensor:
    return torch.cat([value.flatten() for _, value in sorted(result.run.params.items())])


# ----------------------------------------------------------------------------- a plain loop


def hand_written(data: TrainingSet, recipe: Recipe, seed: int) -> tuple[Tensor, Tensor]:
    """BCE on a linear head, written as one would without any of this package's trainer."""
    start = Draw(seed).at(0, 0)
    weight = (start.normal("head.weight", 4, 5) * 0.01).requires_grad_()
    bias = torch.zeros(5, requires_grad=True)
    if recipe.optimiser == "sgd":
        optimiser: torch.optim.Optimizer = torch.optim.SGD(
            [weight, bias],
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )
    else:
        kind = torch.optim.Adam if recipe.optimiser == "adam" else torch.optim.AdamW
        optimiser = kind([weight, bias], lr=recipe.lr, weight_decay=recipe.weight_decay)
    steps = len(data.observed) // recipe.batch
    for epoch in range(1, recipe.epochs + 1):
        order = Draw(seed).at(0, epoch).permutation("shuffle/0", len(data.observed))
        for step, rows in enumerate(order[: steps * recipe.batch].reshape(steps, -1)):
            for group in optimiser.param_groups:
                group["lr"] = recipe.lr * recipe.rate_factor(epoch, step, steps)
            logits = data.features[rows, 0] @ weight + bias
            target = (data.observed.rows(rows) == 1).float()
            optimiser.zero_grad()
            F.binary_cross_entropy_with_logits(logits, target).backward()
            if recipe.clip:
                torch.nn.utils.clip_grad_norm_([weight, bias], recipe.clip)
            optimiser.step()
    return weight.detach(), bias.detach()


RECIPES = {
    "sgd": Recipe(
        optimiser="sgd",
        lr=0.3,
        weight_decay=1e-2,
        schedule="step",
        milestones="2",
        warmup_steps=6,
        epochs=3,
        batch=7,
        clip=0.05,
    ),
    "adam": Recipe(lr=0.05, weight_decay=1e-2, schedule="cosine", epochs=3, batch=8),
    "adamw": Recipe(
        optimiser="adamw", lr=0.05, weight_decay=0.1, schedule="constant", epochs=2, batch=16
    ),
}


@pytest.mark.parametrize("seeds", [[4], [4, -9, 2**64 - 1]])
@pytest.mark.parametrize("name", RECIPES)
def test_bce_equals_a_hand_written_loop(data: TrainingSet, name: str, seeds: list[int]) -> None:
    recipe = RECIPES[name]
    results = train([BCE() for _ in seeds], seeds, data, recipe)
    for seed, result in zip(seeds, results, strict=True):
        weight, bias = hand_written(data, recipe, seed)
        assert (weight.abs() > 0.05).any()  # it has moved
        torch.testing.assert_close(result.run.params["head.weight"], weight, rtol=0, atol=1e-6)
        torch.testing.assert_close(result.run.params["head.bias"], bias, rtol=0, atol=1e-6)
        logits = scores(result.method, result.run, data.features[:, 0], rows=7)
        assert logits.dtype == np.float32
        expected = (data.features[:, 0] @ weight + bias).numpy()
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)


def test_the_curve_holds_the_mean_loss_of_each_epoch(data: TrainingSet) -> None:
    recipe = Recipe(epochs=3, batch=40, lr=0.1)  # one step an epoch: the loss before it
    ticks: list[int] = []
    (result,) = train([BCE()], [0], data, recipe, tick=lambda: ticks.append(1))
    weight = Draw(0).at(0, 0).normal("head.weight", 4, 5) * 0.01
    target = (data.observed.whole() == 1).float()
    first = F.binary_cross_entropy_with_logits(data.features[:, 0] @ weight, target)
    assert result.curve[0] == {"epoch": 1, "stage": "train", "loss": pytest.approx(first.item())}
    losses = [entry["loss"] for entry in result.curve]
    assert losses == sorted(losses, reverse=True)
    assert [entry["epoch"] for entry in result.curve] == [1, 2, 3]
    assert (result.selected_epoch, result.failure, len(ticks)) == (3, None, 3)


# ----------------------------------------------------------------------------- scripted methods


class Recorder(Method):
    """Keeps what every row was seen with: epoch, and the first feature."""

    info = info("recorder")

    def setup(self, problem: Problem, draw: AnyDraw) -> Setup:
        setup = super().setup(problem, draw)
        n = problem.num_images
        setup.memory = {"seen": torch.zeros(n, 4)}
        setup.state = {"rows": torch.zeros(0, dtype=torch.int64)}
        return setup

    def epoch_start(
        self, run: Run, problem: Problem, features: Tensor, clock: Clock, draw: AnyDraw
    ) -> Run:
        assert features.shape == (problem.num_images, problem.feature_dim)
        return run

    def step(self, run: Run, batch: Batch, clock: Clock, draw: AnyDraw) -> Step:
        loss = self.logits(run, batch.features).square().mean()
        seen = run.memory["seen"][batch.rows].clone()
        seen[:, clock.epoch - 1] = batch.features[:, 0]
        rows = torch.cat([run.state["rows"], batch.rows])
        return Step(loss, {"rows": rows}, {"seen": seen})


class Recording(Recorder):
    """Leaves its notes in the state, which results keep."""

    info = info("recording")

    def setup(self, problem: Problem, draw: AnyDraw) -> Setup:
        setup = super().setup(problem, draw)
        setup.state["notes"] = torch.zeros(problem.num_images, 4)
        return setup

    def step(self, run: Run, batch: Batch, clock: Clock, draw: AnyDraw) -> Step:
        out = super().step(run, batch, clock, draw)
        notes = run.state["notes"].clone()
        notes[:, clock.epoch - 1] = notes[:, clock.epoch - 1].scatter(
            0, batch.rows, batch.features[:, 0]
        )
        out.state["notes"] = notes
        return out


def visited(result: Trained, epochs: int) -> list[list[int]]:
    return result.run.state["rows"].reshape(epochs, -1).tolist()


def test_shuffles_are_bound_to_the_run_and_the_epoch(data: TrainingSet) -> None:
    recipe = Recipe(epochs=3, batch=8)
    (alone,) = train([Recorder()], [7], data, recipe)
    together = train([Recorder() for _ in range(3)], [1, 7, 2], data, recipe)
    assert visited(alone, 3) == visited(together[1], 3)
    orders = [order for result in together for order in visited(result, 3)]
    assert len({tuple(order) for order in orders}) == 9
    assert all(sorted(order) == list(range(40)) for order in orders)


def test_the_last_partial_batch_is_dropped(data: TrainingSet) -> None:
    (result,) = train([Recorder()], [0], data, Recipe(epochs=1, batch=12))
    assert len(set(result.run.state["rows"].tolist())) == 36
    (whole,) = train([Recorder()], [0], data, Recipe(epochs=2, batch=1000))  # one batch of all
    assert [sorted(order) for order in visited(whole, 2)] == [list(range(40))] * 2


@pytest.mark.parametrize("sampler", ["class-aware", "method"])
def test_class_aware_rows_are_bound_to_the_run(data: TrainingSet, sampler: str) -> None:
    class Aware(Recorder):
        info = info("aware")

        def sampling(self, run: Run, problem: Problem, clock: Clock) -> Sampling:
            return ClassAware(problem.labels)

    recipe = Recipe(epochs=3, batch=10, sampler=sampler)
    method = Recorder if sampler == "class-aware" else Aware
    (alone,) = train([method()], [7], data, recipe)
    together = train([method() for _ in range(3)], [1, 7, 2], data, recipe)
    assert visited(alone, 3) == visited(together[1], 3)
    assert len({tuple(order) for r in together for order in visited(r, 3)}) == 9
    # Three images of one class after another; five visits are a cycle through all classes.
    first, second, third = visited(alone, 3)
    positive = data.observed.whole() == 1
    for epoch in (first, second, third):
        for start in range(0, 39, 3):
            assert positive[epoch[start : start + 3]].all(0).any()
    # An epoch is 14 visits, the last of one row only; the next goes on where it would have ended.
    for number, epoch in enumerate((first, second, third)):
        assert epoch == class_aware(positive, 3, 42 * number, 40, Draw(7).at(0, 0)).tolist()


def test_shuffle_overrides_what_a_method_asks_for(data: TrainingSet) -> None:
    class Aware(Recorder):
        info = info("aware")

        def sampling(self, run: Run, problem: Problem, clock: Clock) -> Sampling:
            return ClassAware(problem.labels)

        def epoch_length(self, problem: Problem, stage: int) -> int:
            return 16

    (free,) = train([Aware()], [0], data, Recipe(epochs=1, batch=8))
    (forced,) = train([Aware()], [0], data, Recipe(epochs=1, batch=8, sampler="shuffle"))
    assert len(visited(free, 1)[0]) == 16
    assert sorted(visited(forced, 1)[0]) == list(range(40))


def test_class_aware_without_a_positive_falls_back_to_shuffling(data: TrainingSet) -> None:
    empty = replace(data, observed=LabelTable.of(torch.zeros_like(data.observed.whole())))
    (result,) = train([Recorder()], [0], empty, Recipe(epochs=1, batch=8, sampler="class-aware"))
    assert sorted(visited(result, 1)[0]) == list(range(40))


def test_an_epoch_longer_than_the_set_passes_over_it_again(data: TrainingSet) -> None:
    class Long(Recorder):
        info = info("long")

        def epoch_length(self, problem: Problem, stage: int) -> int:
            return 100

    (result,) = train([Long()], [0], data, Recipe(epochs=1, batch=10))
    (rows,) = visited(result, 1)
    assert len(rows) == 100
    assert sorted(rows[:40]) == sorted(rows[40:80]) == list(range(40))
    assert rows[:40] != rows[40:80]
    assert len(set(rows[80:])) == 20


def test_runs_of_different_lengths_do_not_stack(data: TrainingSet) -> None:
    class Short(BCE):
        info = info("short")

        def epoch_length(self, problem: Problem, stage: int) -> int:
            return 20

    with pytest.raises(ValueError, match=r"stacked runs visit \[20, 40\] rows an epoch"):
        train([BCE(), Short()], [0, 1], data, Recipe(epochs=1, batch=10))


@pytest.mark.parametrize("seeds", [[3], [3, 4]])
def test_views_are_picked_by_run_epoch_and_row(make_toy: ToyMaker, seeds: list[int]) -> None:
    data = training_set(make_toy, views=2)
    results = train([Recording() for _ in seeds], seeds, data, Recipe(epochs=4, batch=10))
    picks = []
    for seed, result in zip(seeds, results, strict=True):
        notes = result.run.state["notes"]
        for epoch in range(1, 5):
            u = Draw(seed).at(0, epoch).row_uniform("view", torch.arange(40), 1)[:, 0]
            view = (u >= 0.5).long()
            assert 8 < int(view.sum()) < 32
            expected = data.features[torch.arange(40), view, 0]
            assert torch.equal(notes[:, epoch - 1], expected)
            picks.append(tuple(view.tolist()))
    assert len(set(picks)) == len(picks)


# ----------------------------------------------------------------------------- stages and rates


class TwoStages(Method):
    """The second stage trains `head` from a fresh start; `neck` is frozen."""

    info = info("two-stages")

    def __init__(self, hyper: Any = None, head: Any = None) -> None:
        super().__init__(hyper, HiddenHead(6))

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("one"), Stage("two", epochs=2, train=("head",), restart=("head",)))

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: AnyDraw) -> Tensor:
        return bce_terms(logits, positives(batch.observed)).mean()


class FirstStage(TwoStages):
    info = info("first-stage")

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("one"),)


@pytest.mark.parametrize("seeds", [[5], [5, 6]])
@pytest.mark.parametrize("name", RECIPES)
def test_two_stages_restart_and_freeze(data: TrainingSet, name: str, seeds: list[int]) -> None:
    recipe = RECIPES[name]
    both = train([TwoStages() for _ in seeds], seeds, data, recipe)
    first = train([FirstStage() for _ in seeds], seeds, data, recipe)
    for seed, result, before in zip(seeds, both, first, strict=True):
        assert [e["stage"] for e in result.curve] == ["one"] * recipe.epochs + ["two"] * 2
        assert [e["epoch"] for e in result.curve] == list(range(1, recipe.epochs + 3))
        for part in ("neck.weight", "neck.bias"):
            assert torch.equal(result.run.params[part], before.run.params[part])
        # The second stage by hand: a fresh head on frozen hidden units.
        fresh = Draw(seed).at(1, 0).normal("head.weight", 6, 5) * 0.01
        weight, bias = second_stage_by_hand(data, recipe, seed, before.run, fresh)
        torch.testing.assert_close(result.run.params["head.weight"], weight, rtol=0, atol=1e-6)
        torch.testing.assert_close(result.run.params["head.bias"], bias, rtol=0, atol=1e-6)


def second_stage_by_hand(
    data: TrainingSet, recipe: Recipe, seed: int, run: Run, fresh: Tensor
) -> tuple[Tensor, Tensor]:
    features = data.features[:, 0] @ run.params["neck.weight"] + run.params["neck.bias"]
    hidden = torch.relu(features)
    weight, bias = fresh.clone().requires_grad_(), torch.zeros(5, requires_grad=True)
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    more = {"momentum": recipe.momentum} if recipe.optimiser == "sgd" else {}
    optimiser = kinds[recipe.optimiser](
        [weight, bias], lr=recipe.lr, weight_decay=recipe.weight_decay, **more
    )
    steps = len(hidden) // recipe.batch
    for epoch in (1, 2):
        order = Draw(seed).at(1, epoch).permutation("shuffle/0", len(hidden))
        for step, rows in enumerate(order[: steps * recipe.batch].reshape(steps, -1)):
            for group in optimiser.param_groups:
                group["lr"] = recipe.lr * recipe.rate_factor(epoch, step, steps, epochs=2)
            target = (data.observed.rows(rows) == 1).float()
            optimiser.zero_grad()
            F.binary_cross_entropy_with_logits(hidden[rows] @ weight + bias, target).backward()
            if recipe.clip:
                # Frozen parameters have no gradient, and so no part in the norm.
                torch.nn.utils.clip_grad_norm_([weight, bias], recipe.clip)
            optimiser.step()
    return weight.detach(), bias.detach()


def test_crt_with_a_linear_head_forgets_its_first_stage(data: TrainingSet) -> None:
    recipe = Recipe(epochs=2, batch=8, lr=0.05)
    (short,) = train([CRT()], [3], data, recipe)
    (long,) = train([CRT()], [3], data, replace(recipe, epochs=4))
    assert len(short.curve) == 12
    assert torch.equal(parameters(short), parameters(long))


class Slopes(Method):
    """A loss of slope 1 in every parameter: plain SGD then walks by the sum of the rates."""

    info = info("slopes")

    def setup(self, problem: Problem, draw: AnyDraw) -> Setup:
        return Setup({name: torch.zeros(2) for name in ("plain", "fast", "stepped", "head.weight")})

    def rates(self) -> dict[str, Rate]:
        return {
            "fast": Rate(multiplier=10.0),
            "stepped": Rate(multiplier=2.0, step_every=2, step_factor=0.5),
        }

    def logits(self, run: Run, features: Tensor) -> Tensor:
        return features.new_zeros(len(features), 5)

    def step(self, run: Run, batch: Batch, clock: Clock, draw: AnyDraw) -> Step:
        return Step(torch.stack([value.sum() for value in run.params.values()]).sum())


@pytest.mark.parametrize("runs", [1, 2])
def test_rates_by_parameter(data: TrainingSet, runs: int) -> None:
    recipe = Recipe(
        optimiser="sgd",
        lr=0.1,
        momentum=0.0,
        weight_decay=0.0,
        schedule="step",
        milestones="3",
        epochs=4,
        batch=20,
    )
    for result in train([Slopes() for _ in range(runs)], list(range(runs)), data, recipe):
        # Two steps an epoch. The schedule: 1, 1, 1, 0.1 in epochs 1..4.
        walked = {name: -value for name, value in result.run.params.items()}
        shared = 2 * 0.1 * (1 + 1 + 1 + 0.1)
        # Stepped: 0.5^floor(epoch / 2) in epochs 1..4, whatever the schedule.
        stepped = 2 * 0.1 * 2.0 * (1 + 0.5 + 0.5 + 0.25)
        for name, expected in {
            "plain": shared,
            "head.weight": shared,
            "fast": 10 * shared,
            "stepped": stepped,
        }.items():
            assert walked[name].tolist() == pytest.approx([expected] * 2, rel=1e-5), name


def test_a_group_may_refuse_weight_decay(data: TrainingSet) -> None:
    class Still(Slopes):
        info = info("still")

        def setup(self, problem: Problem, draw: AnyDraw) -> Setup:
            return Setup({"decays": torch.ones(2), "keeps": torch.ones(2)})

        def rates(self) -> dict[str, Rate]:
            return {"keeps": Rate(decay=False)}

        def step(self, run: Run, batch: Batch, clock: Clock, draw: AnyDraw) -> Step:
            return Step(torch.stack([value.sum() * 0 for value in run.params.values()]).sum())

    recipe = replace(PLAIN, lr=0.5, weight_decay=0.1, epochs=2, batch=40)
    (result,) = train([Still()], [0], data, recipe)
    assert result.run.params["keeps"].tolist() == [1.0, 1.0]
    assert result.run.params["decays"].tolist() == pytest.approx([0.95**2] * 2)


# ----------------------------------------------------------------------------- clipping


@dataclass(frozen=True)
class Steep:
    """How steep a scaled loss is."""

    scale: float = 1.0


class Scaled(Method):
    info = info("scaled")
    Hyper = Steep

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: AnyDraw) -> Tensor:
        return self.hyper.scale * bce_terms(logits, positives(batch.observed)).mean()


def test_clipping_is_per_run(data: TrainingSet) -> None:
    recipe = replace(PLAIN, lr=0.1, epochs=2, batch=8, clip=0.5)
    calm = train([Scaled(), Scaled()], [1, 2], data, recipe)
    wild = train([Scaled(), Scaled(Steep(1e6))], [1, 2], data, recipe)
    assert torch.equal(parameters(calm[0]), parameters(wild[0]))
    # The wild run moved by at most rate times clip in each of its ten steps.
    start = Draw(2).at(0, 0).normal("head.weight", 4, 5) * 0.01
    moved = (wild[1].run.params["head.weight"] - start).norm()
    assert 0.1 < moved <= 10 * 0.1 * 0.5 + 1e-6


class Transposed(Slopes):
    """Parameters that do not lie contiguously in memory."""

    info = info("transposed")

    def setup(self, problem: Problem, draw: AnyDraw) -> Setup:
        return Setup({"a": torch.zeros(3, 4).T, "b": torch.zeros(())})

    def rates(self) -> dict[str, Rate]:
        return {}

    def step(self, run: Run, batch: Batch, clock: Clock, draw: AnyDraw) -> Step:
        return Step(3.0 * run.params["a"].sum() + 6.0 * run.params["b"])


@pytest.mark.parametrize("runs", [1, 2])
def test_clipping_does_not_care_how_a_parameter_lies(data: TrainingSet, runs: int) -> None:
    # The gradient's norm: sqrt(12 * 9 + 36) = 12, clipped to 1: 3/12 and 6/12.
    recipe = replace(PLAIN, lr=1.0, epochs=1, batch=40, clip=1.0)
    for result in train([Transposed() for _ in range(runs)], list(range(runs)), data, recipe):
        assert (-result.run.params["a"]).flatten().tolist() == pytest.approx([0.25] * 12)
        assert result.run.params["b"].item() == pytest.approx(-0.5)


# ----------------------------------------------------------------------------- failures


@dataclass(frozen=True)
class Poison:
    """When the loss of a run becomes NaN; an epoch beyond the last one for never."""

    epoch: float = 99.0


class Poisoned(Method):
    info = info("poisoned")
    Hyper = Poison

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: AnyDraw) -> Tensor:
        loss = bce_terms(logits, positives(batch.observed)).mean()
        poison = torch.as_tensor(self.hyper.epoch) <= clock.epoch
        return loss * torch.where(poison, math.nan, 1.0)


@pytest.mark.parametrize("name", RECIPES)
def test_a_loss_that_is_not_finite_fails_one_run_only(data: TrainingSet, name: str) -> None:
    recipe = RECIPES[name]
    good, bad = Poisoned(), Poisoned(Poison(2.0))
    spoilt = train([good, bad, Poisoned(Poison(98.0))], [1, 2, 3], data, recipe)
    whole = train([good, Poisoned(Poison(97.0)), Poisoned(Poison(98.0))], [1, 2, 3], data, recipe)
    assert spoilt[1].failure == "the loss is not finite in epoch 2"
    assert [entry["epoch"] for entry in spoilt[1].curve] == [1]
    for index in (0, 2):
        assert spoilt[index].failure is None
        assert spoilt[index].curve == whole[index].curve
        assert torch.equal(parameters(spoilt[index]), parameters(whole[index]))
    pair = train([good, Poisoned(Poison(98.0))], [1, 3], data, recipe)
    torch.testing.assert_close(parameters(spoilt[2]), parameters(pair[1]), rtol=0, atol=1e-6)


def test_an_undeclared_oracle_is_an_error(data: TrainingSet) -> None:
    class Peeping(BCE):
        info = info("peeping")

        def setup(self, problem: Problem, draw: AnyDraw) -> Setup:
            assert problem.oracle["true_labels"] is not None
            return super().setup(problem, draw)

    class Declared(Peeping):
        info = info("declared")

        def oracle(self) -> tuple[str, ...]:
            return ("true_labels", "noise_rate")

    class Asking(Declared):
        info = info("asking")

        def setup(self, problem: Problem, draw: AnyDraw) -> Setup:
            assert problem.oracle["noise_rate"] == 0.25
            return super().setup(problem, draw)

    recipe = Recipe(epochs=1)
    message = r"reads the oracle 'true_labels' without declaring it; .* now says \[\]"
    with pytest.raises(MethodError, match=message):
        train([Peeping()], [0], data, recipe)
    (result,) = train([Declared()], [0], data, recipe)
    assert result.failure is None
    with pytest.raises(MethodError, match="'noise_rate' does not exist for this split"):
        train([Asking()], [0], data, recipe)
    (result,) = train([Asking()], [0], replace(data, noise_rate=0.25), recipe)
    assert result.failure is None


def test_oracle_values() -> None:
    true = LabelTable.of(torch.tensor([[1, 1, -1], [1, 0, 0]], dtype=torch.int8))
    data = TrainingSet(torch.zeros(2, 1, 1), true, true, "full", torch.zeros(3), noise_rate=0.5)
    values = data.oracle_values()
    assert values["true_labels"] is true
    assert values["true_counts"].tolist() == [2.0, 1.0, 0.0]
    assert values["expected_positives"] == 1.5
    assert values["noise_rate"] == 0.5
    assert "noise_rate" not in replace(data, noise_rate=None).oracle_values()


# ----------------------------------------------------------------------------- selection


@pytest.mark.parametrize("seeds", [[1], [1, 2]])
@pytest.mark.parametrize(
    ("script", "best"),
    [
        ([0.1, 0.5, 0.3, 0.2], 2),
        ([0.1, 0.5, 0.5, 0.5], 2),  # of equals the first
        ([None, None, 0.0, None], 3),
        ([None, None, None, None], 4),  # nothing to compare: the last
        ([-1.0, -2.0, -3.0, -0.5], 4),
    ],
)
def test_keep_best_selects_by_score(
    data: TrainingSet, script: list[float | None], best: int, seeds: list[int]
) -> None:
    recipe = Recipe(lr=0.1, epochs=4, batch=8)
    calls: list[int] = []
    kept: list[Tensor] = []

    def score(method: Method, run: Run) -> float | None:
        epoch, index = divmod(len(calls), len(seeds))
        calls.append(index)
        if index == 0:
            kept.append(torch.cat([v.flatten() for _, v in sorted(run.params.items())]).clone())
            return script[epoch]
        return -float(epoch)  # the second run is best at once

    def go(keep_best: bool) -> list[Trained]:
        calls.clear()
        kept.clear()
        methods: list[Method] = [BCE() for _ in seeds]
        return train(methods, seeds, data, recipe, score=score, keep_best=keep_best)

    results = go(keep_best=True)
    assert results[0].selected_epoch == best
    assert torch.equal(parameters(results[0]), kept[best - 1])
    assert [entry["val_map"] for entry in results[0].curve] == script
    assert [result.selected_epoch for result in results[1:]] == [1] * (len(seeds) - 1)
    last = go(keep_best=False)
    assert last[0].selected_epoch == 4
    assert torch.equal(parameters(last[0]), kept[3])


def test_keep_best_selects_among_the_epochs_of_the_last_stage(data: TrainingSet) -> None:
    script = iter([0.9, 0.8, 0.1, 0.3, 0.2])
    method = CRT(CRT.Hyper(classifier_epochs=3))
    recipe = Recipe(epochs=2, batch=8)
    (result,) = train([method], [0], data, recipe, score=lambda *_: next(script), keep_best=True)
    assert [entry["stage"] for entry in result.curve] == ["representation"] * 2 + ["classifier"] * 3
    assert result.selected_epoch == 4


# ----------------------------------------------------------------------------- corrections


class Corrector(Method):
    """Treats every label of the even classes against its observation."""

    info = info("corrector")

    def step(self, run: Run, batch: Batch, clock: Clock, draw: AnyDraw) -> Step:
        loss = self.logits(run, batch.features).square().mean()
        even = torch.arange(batch.observed.shape[1]) % 2 == 0
        return Step(loss, corrected=(batch.observed != 0) & even)


@pytest.mark.parametrize("runs", [1, 3])
def test_corrections_are_counted_by_hand(runs: int) -> None:
    # class          0 many   1 many   2 medium  3 medium  4 few
    # observed       -1 -1 1   -1 1 1   -1 -1 -1   0 0 1    1 1 1
    # true            1  0 1    1 1 0    1  1 -1   0 1 1    0 1 -1
    observed = [[-1, -1, -1, 0, 1], [-1, 1, -1, 0, 1], [1, 1, -1, 1, 1]]
    true = [[1, 1, 1, 0, 0], [0, 1, 1, 1, 1], [1, 0, -1, 1, -1]]
    # class 0: unknown called positive: right, wrong; candidate called negative: wrong  -> 1, 2
    # class 2: right, right, the truth is unknown and not counted                        -> 2, 0
    # class 4: candidates called negative: right, wrong, not counted                     -> 1, 1
    data = TrainingSet(
        features=torch.ones(3, 1, 2),
        observed=LabelTable.of(torch.tensor(observed, dtype=torch.int8)),
        true=LabelTable.of(torch.tensor(true, dtype=torch.int8)),
        regime="candidates",
        shot=torch.tensor([0, 0, 1, 1, 2]),
    )
    recipe = Recipe(epochs=2, batch=1)
    for result in train([Corrector() for _ in range(runs)], list(range(runs)), data, recipe):
        assert [entry["corrections"] for entry in result.curve] == [
            {
                "many": {"right": 1, "wrong": 2},
                "medium": {"right": 2, "wrong": 0},
                "few": {"right": 1, "wrong": 1},
            }
        ] * 2


def test_methods_that_correct_nothing_say_nothing(data: TrainingSet) -> None:
    (result,) = train([BCE()], [0], data, Recipe(epochs=1))
    assert "corrections" not in result.curve[0]
    assert "val_map" not in result.curve[0]
