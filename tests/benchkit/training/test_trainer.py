"""The trainer against plain loops; stages, failures, selection, and counted corrections."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from toy_training import method_info, parameters

from baselines.bce import BCE
from baselines.core import (
    Batch,
    Clock,
    LabelTable,
    Method,
    MethodError,
    Problem,
    Run,
    Setup,
    Stage,
    Step,
    positives,
)
from baselines.core.draw import Draw as DrawInterface
from baselines.core.heads import HiddenHead
from baselines.core.losses import bce_terms
from baselines.crt import CRT
from benchkit.base.draw import Draw
from benchkit.training.inputs import TrainingSet
from benchkit.training.recipe import Recipe
from benchkit.training.trainer import Trained, scores, train

# ----------------------------------------------------------------------------- a plain loop


def plain_loop(
    data: TrainingSet,
    inputs: Tensor,
    weight: Tensor,
    recipe: Recipe,
    seed: int,
    *,
    stage: int,
    epochs: int,
) -> tuple[Tensor, Tensor]:
    """Train BCE on a linear layer, written without this package's trainer.

    Args:
        data: for the labels.
        inputs: float32 [N, inputs].
        weight: the initial weight [inputs, C]; the initial bias is 0.
        recipe: optimiser, schedule, batch and clipping.
        seed: of the shuffles.
        stage: position of the stage, which keys the shuffles.
        epochs: of the stage.

    Returns:
        Weight and bias.
    """
    weight, bias = weight.clone().requires_grad_(), torch.zeros(5, requires_grad=True)
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    momentum = {"momentum": recipe.momentum} if recipe.optimiser == "sgd" else {}
    optimiser = kinds[recipe.optimiser](
        [weight, bias], lr=recipe.lr, weight_decay=recipe.weight_decay, **momentum
    )
    steps = len(inputs) // recipe.batch
    for epoch in range(1, epochs + 1):
        order = Draw(seed).at(stage, epoch).permutation("shuffle/0", len(inputs))
        for step, rows in enumerate(order[: steps * recipe.batch].reshape(steps, -1)):
            for group in optimiser.param_groups:
                group["lr"] = recipe.lr * recipe.rate_factor(epoch, step, steps, epochs)
            target = (data.observed.rows(rows) == 1).float()
            optimiser.zero_grad()
            F.binary_cross_entropy_with_logits(inputs[rows] @ weight + bias, target).backward()
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
        warmup=0.4,
        epochs=3,
        batch=7,
        clip=0.05,
    ),
    "adam": Recipe(
        optimiser="adam", lr=0.05, weight_decay=1e-2, schedule="cosine", epochs=3, batch=8
    ),
    "adamw": Recipe(
        optimiser="adamw", lr=0.05, weight_decay=0.1, schedule="constant", epochs=2, batch=16
    ),
}


@pytest.mark.parametrize("seeds", [[4], [4, -9, 2**64 - 1]])
@pytest.mark.parametrize("name", RECIPES)
def test_bce_equals_a_plain_loop(data: TrainingSet, name: str, seeds: list[int]) -> None:
    recipe, features = RECIPES[name], data.features[:, 0]
    results = train([BCE() for _ in seeds], seeds, data, recipe)
    for seed, result in zip(seeds, results, strict=True):
        start = Draw(seed).at(0, 0).normal("head.weight", 4, 5) * 0.01
        weight, bias = plain_loop(
            data, features, start, recipe, seed, stage=0, epochs=recipe.epochs
        )
        assert (weight.abs() > 0.05).any()  # it has moved
        torch.testing.assert_close(result.run.params["head.weight"], weight, rtol=0, atol=1e-6)
        torch.testing.assert_close(result.run.params["head.bias"], bias, rtol=0, atol=1e-6)
        logits = scores(result.method, result.run, features, rows=7)
        assert logits.dtype == np.float32
        expected = (features @ weight + bias).numpy()
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)


def test_the_curve_holds_the_mean_loss_of_each_epoch(data: TrainingSet) -> None:
    recipe = Recipe(epochs=3, batch=40, lr=0.1, weight_decay=0.0)  # one step per epoch
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


# ----------------------------------------------------------------------------- stages


class TwoStages(Method):
    """BCE; the second stage restarts `head` and freezes `neck`."""

    info = method_info("two-stages")

    def __init__(self, hyper: Any = None, head: Any = None) -> None:
        super().__init__(hyper, HiddenHead(6))

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("one"), Stage("two", epochs=2, train=("head",), restart=("head",)))

    def loss(
        self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: DrawInterface
    ) -> Tensor:
        return bce_terms(logits, positives(batch.observed)).mean()


class FirstStage(TwoStages):
    """The first of the two stages only."""

    info = method_info("first-stage")

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("one"),)


@pytest.mark.parametrize("seeds", [[5], [5, 6]])
@pytest.mark.parametrize("name", RECIPES)
def test_a_stage_restarts_its_head_and_freezes_the_rest(
    data: TrainingSet, name: str, seeds: list[int]
) -> None:
    recipe = RECIPES[name]
    both_stages = train([TwoStages() for _ in seeds], seeds, data, recipe)
    first_stage = train([FirstStage() for _ in seeds], seeds, data, recipe)
    for seed, result, first in zip(seeds, both_stages, first_stage, strict=True):
        assert [e["stage"] for e in result.curve] == ["one"] * recipe.epochs + ["two"] * 2
        assert [e["epoch"] for e in result.curve] == list(range(1, recipe.epochs + 3))
        neck = first.run.params["neck.weight"], first.run.params["neck.bias"]
        assert torch.equal(result.run.params["neck.weight"], neck[0])
        assert torch.equal(result.run.params["neck.bias"], neck[1])
        # The second stage is a new linear layer on frozen hidden units. Frozen parameters have no
        # gradient, so they do not enter the norm of clipping.
        hidden = torch.relu(data.features[:, 0] @ neck[0] + neck[1])
        start = Draw(seed).at(1, 0).normal("head.weight", 6, 5) * 0.01
        weight, bias = plain_loop(data, hidden, start, recipe, seed, stage=1, epochs=2)
        torch.testing.assert_close(result.run.params["head.weight"], weight, rtol=0, atol=1e-6)
        torch.testing.assert_close(result.run.params["head.bias"], bias, rtol=0, atol=1e-6)


def test_crt_with_a_linear_head_does_not_depend_on_its_first_stage(data: TrainingSet) -> None:
    recipe, crt = Recipe(epochs=2, batch=8, lr=0.05), CRT(CRT.Hyper(classifier_epochs=10))
    (short,) = train([crt], [3], data, recipe)
    (long,) = train([crt], [3], data, replace(recipe, epochs=4))
    assert len(short.curve) == 12
    assert torch.equal(parameters(short), parameters(long))
    (same,) = train([CRT()], [3], data, replace(recipe, epochs=4))
    assert [entry["stage"] for entry in same.curve] == ["representation"] * 4 + ["classifier"] * 4


# ----------------------------------------------------------------------------- failures


@dataclass(frozen=True)
class Poison:
    """The epoch in which the loss becomes NaN."""

    epoch: float = 99.0


class Poisoned(Method):
    """BCE whose loss is NaN from an epoch on."""

    info = method_info("poisoned")
    Hyper = Poison

    def loss(
        self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: DrawInterface
    ) -> Tensor:
        loss = bce_terms(logits, positives(batch.observed)).mean()
        poison = torch.as_tensor(self.hyper.epoch) <= clock.epoch
        return loss * torch.where(poison, math.nan, 1.0)


@pytest.mark.parametrize("name", RECIPES)
def test_a_loss_that_is_not_finite_fails_its_own_run_only(data: TrainingSet, name: str) -> None:
    recipe = RECIPES[name]
    # Epochs 97 and 98 never come; they make runs that are alike but differ in a hyperparameter.
    healthy = [Poisoned(), Poisoned(Poison(97.0)), Poisoned(Poison(98.0))]
    poisoned = [healthy[0], Poisoned(Poison(2.0)), healthy[2]]
    with_failure = train(poisoned, [1, 2, 3], data, recipe)
    without_failure = train(healthy, [1, 2, 3], data, recipe)
    assert with_failure[1].failure == "the loss is not finite in epoch 2"
    assert [entry["epoch"] for entry in with_failure[1].curve] == [1]
    for index in (0, 2):
        assert with_failure[index].failure is None
        assert with_failure[index].curve == without_failure[index].curve
        assert torch.equal(parameters(with_failure[index]), parameters(without_failure[index]))
    pair = train([healthy[0], healthy[2]], [1, 3], data, recipe)
    torch.testing.assert_close(parameters(with_failure[2]), parameters(pair[1]), rtol=0, atol=1e-6)


def test_an_undeclared_oracle_is_an_error(data: TrainingSet) -> None:
    class Peeping(BCE):
        info = method_info("peeping")

        def setup(self, problem: Problem, draw: DrawInterface) -> Setup:
            assert problem.oracle["true_labels"] is not None
            return super().setup(problem, draw)

    class Declared(Peeping):
        info = method_info("declared")

        def oracle(self) -> tuple[str, ...]:
            return ("true_labels", "noise_rate")

    class Asking(Declared):
        info = method_info("asking")

        def setup(self, problem: Problem, draw: DrawInterface) -> Setup:
            assert problem.oracle["noise_rate"] == 0.25
            return super().setup(problem, draw)

    recipe = Recipe(epochs=1)
    message = r"reads the oracle 'true_labels' without declaring it; .* returns \[\]"
    with pytest.raises(MethodError, match=message):
        train([Peeping()], [0], data, recipe)
    (result,) = train([Declared()], [0], data, recipe)
    assert result.failure is None
    with pytest.raises(MethodError, match="'noise_rate' does not exist for this split"):
        train([Asking()], [0], data, recipe)
    (result,) = train([Asking()], [0], replace(data, noise_rate=0.25), recipe)
    assert result.failure is None


# ----------------------------------------------------------------------------- selection


@pytest.mark.parametrize("seeds", [[1], [1, 2]])
@pytest.mark.parametrize(
    ("epoch_scores", "best_epoch"),
    [
        ([0.1, 0.5, 0.3, 0.2], 2),
        ([0.1, 0.5, 0.5, 0.5], 2),  # the first of equal scores
        ([None, None, 0.0, None], 3),
        ([None, None, None, None], 4),  # the last epoch if no epoch has a score
        ([math.nan, 0.1, math.nan, 0.0], 2),
        ([-1.0, -2.0, -3.0, -0.5], 4),
    ],
)
def test_keep_best_selects_by_score(
    data: TrainingSet, epoch_scores: list[float | None], best_epoch: int, seeds: list[int]
) -> None:
    recipe = Recipe(lr=0.1, epochs=4, batch=8)

    def train_scored(keep_best: bool) -> tuple[list[Trained], list[Tensor]]:
        """The results, and the parameters of the first run after every epoch."""
        calls, snapshots = itertools.count(), []

        def score(method: Method, run: Run) -> float | None:
            epoch, index = divmod(next(calls), len(seeds))
            if index > 0:
                return -float(epoch)  # the other run is best after its first epoch
            snapshots.append(parameters(Trained(method, run)).clone())
            return epoch_scores[epoch]

        methods: list[Method] = [BCE() for _ in seeds]
        return train(methods, seeds, data, recipe, score=score, keep_best=keep_best), snapshots

    results, snapshots = train_scored(keep_best=True)
    assert results[0].selected_epoch == best_epoch
    assert torch.equal(parameters(results[0]), snapshots[best_epoch - 1])
    assert [str(entry["val_map"]) for entry in results[0].curve] == [str(v) for v in epoch_scores]
    assert [result.selected_epoch for result in results[1:]] == [1] * (len(seeds) - 1)
    results, snapshots = train_scored(keep_best=False)
    assert results[0].selected_epoch == 4
    assert torch.equal(parameters(results[0]), snapshots[3])


def test_keep_best_selects_among_the_epochs_of_the_last_stage(data: TrainingSet) -> None:
    epoch_scores = iter([0.9, 0.8, 0.1, 0.3, 0.2])
    method = CRT(CRT.Hyper(classifier_epochs=3))
    recipe = Recipe(epochs=2, batch=8)
    (result,) = train(
        [method], [0], data, recipe, score=lambda *_: next(epoch_scores), keep_best=True
    )
    assert [entry["stage"] for entry in result.curve] == ["representation"] * 2 + ["classifier"] * 3
    assert result.selected_epoch == 4


# ----------------------------------------------------------------------------- corrections


class Corrector(Method):
    """Corrects every unknown label and every candidate of the classes 0, 2 and 4."""

    info = method_info("corrector")

    def step(self, run: Run, batch: Batch, clock: Clock, draw: DrawInterface) -> Step:
        loss = self.logits(run, batch.features).square().mean()
        is_even = torch.arange(batch.observed.shape[1]) % 2 == 0
        return Step(loss, corrected=(batch.observed != 0) & is_even)


@pytest.mark.parametrize("runs", [1, 3])
def test_corrections_are_counted_by_hand(runs: int) -> None:
    # One row per image. Only classes 0, 2 and 4 are corrected:
    #   class 0 (many)    unknown -> positive: right, wrong; candidate -> negative: wrong
    #   class 2 (medium)  unknown -> positive: right, right, not counted (the truth is unknown)
    #   class 4 (few)     candidate -> negative: right, wrong, not counted
    observed = [[-1, -1, -1, 0, 1], [-1, 1, -1, 0, 1], [1, 1, -1, 1, 1]]
    true = [[1, 1, 1, 0, 0], [0, 1, 1, 1, 1], [1, 0, -1, 1, -1]]
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


def test_a_curve_without_corrections_and_scores(data: TrainingSet) -> None:
    (result,) = train([BCE()], [0], data, Recipe(epochs=1))
    assert "corrections" not in result.curve[0]
    assert "val_map" not in result.curve[0]
