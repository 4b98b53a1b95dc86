"""The trainer: a stack of runs through stages, epochs and steps, under one recipe.

`train` is the loop. It knows parameters, gradients, rows and learning rates; losses belong to the
method. The epoch that a result keeps is the last one, or the one with the best score of a function
that the caller provides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines.core import Clock, Method, Problem, Run, Setup
from baselines.core.errors import Interrupt
from benchkit.base.draw import Draw
from benchkit.base.errors import BenchkitError
from benchkit.training import plan
from benchkit.training.inputs import TrainingSet
from benchkit.training.optimiser import (
    clip_gradients,
    make_optimiser,
    one_recipe_per_run,
    set_rates,
    share_gradients,
)
from benchkit.training.recipe import Recipe
from benchkit.training.stack import Stack
from splits.shots import SHOT_NAMES

Score = Callable[[Method, Run], float | None]

MOST_STEPS = 1 << 31  # of a stage


@dataclass
class Trained:
    """One run after training.

    Attributes:
        method: the method with its hyperparameters.
        run: parameters, state and constants after the selected epoch.
        curve: one entry per epoch: loss, validation mAP, corrections.
        selected_epoch: the selected epoch, counted over all stages from 1.
        failure: the reason why the run has no result, or None.
    """

    method: Method
    run: Run
    curve: list[dict[str, Any]] = field(default_factory=list)
    selected_epoch: int = 0
    failure: str | None = None


def train(
    methods: list[Method],
    seeds: list[int],
    data: TrainingSet,
    recipe: Recipe | Sequence[Recipe],
    *,
    score: Score | None = None,
    keep_best: bool = False,
    tick: Callable[[], None] = lambda: None,
) -> list[Trained]:
    """Train R runs as one program.

    Args:
        methods: one per run, equal except for float hyperparameters.
        seeds: one per run.
        data: the training set, on the device of training.
        recipe: the recipe of all runs, or one per run; they may differ in the fields of
            `benchkit.training.optimiser.PER_RUN`.
        score: called after every epoch with (method, run); higher is better, None is no score.
        keep_best: select the epoch with the best score in the last stage, not the last epoch.
        tick: called after every epoch.

    Returns:
        One result per run, in order. A run whose loss is not finite ends as a failure; the other
        runs are not affected.

    Raises:
        ValueError: the runs cannot be stacked because their epochs differ in length, or their
            recipes in other fields.
        BenchkitError: a stage has more than `MOST_STEPS` steps.
    """
    recipes = [r.for_classes(data.num_classes) for r in one_recipe_per_run(recipe, len(methods))]
    recipe = recipes[0]
    problems = data.problems(methods, recipe.epochs_of(len(data.features)))
    stack = Stack.of(methods, seeds, setups(methods, problems, seeds, 0, data))
    results = [Trained(method, Setup({})) for method in methods]
    best = [-math.inf] * len(methods)
    stages, epochs_done = methods[0].stages(), 0
    for stage_number, stage in enumerate(stages):
        if stage.restart:
            stack.restart(stage.restart, setups(methods, problems, seeds, stage_number, data))
        length = plan.epoch_length(methods, problems, stage_number, recipe.sampler)
        batch = min(recipe.batch, length)
        epochs, steps = stage.epochs or recipe.epochs_of(length), length // batch
        _check_steps(epochs, steps, stage.name)
        optimiser = make_optimiser(stack.params, stage.train, methods[0].rates(), recipes)
        for epoch in range(1, epochs + 1):
            clock = Clock(stage_number, epoch, epochs, 0, steps)
            start_epoch(stack, problems, seeds, data, clock)
            epoch_rows = _epoch_rows(stack, problems, seeds, data, recipe, clock, batch)
            losses = torch.zeros(len(stack), device=data.features.device)
            corrections: Tensor | None = None
            for step, rows in enumerate(epoch_rows):
                Interrupt.raise_if_received()
                now = replace(clock, step=step)
                views = plan.views(rows, data.num_views, now, seeds)
                features, observed = data.gather(rows, views)
                out = stack.step(now, rows, features, observed)
                stack.clear_gradients()
                out.loss.sum().backward()
                if recipe.clip:
                    clip_gradients(stack.params.values(), recipe.clip, len(stack))
                share_gradients(optimiser)
                set_rates(optimiser, now)
                optimiser.step()
                stack.apply(out, rows)
                losses += out.loss.detach().reshape(-1)
                if out.corrected is not None:
                    counts = count_corrections(out.corrected, rows, observed, data)
                    corrections = counts if corrections is None else corrections + counts
            epochs_done += 1
            entry = {"epoch": epochs_done, "stage": stage.name}
            _extend_curves(results, entry, losses / steps, corrections, stack, score)
            if keep_best and stage_number == len(stages) - 1:
                _keep_best(results, best, stack)
            tick()
    for index, result in enumerate(results):
        if best[index] == -math.inf:  # nothing was selected
            result.run, result.selected_epoch = stack.snapshot(index), epochs_done
    return results


def count_epochs(method: Method, data: TrainingSet, recipe: Recipe) -> int:
    """The number of epochs of all stages of a run."""
    problems = data.problems([method], recipe.epochs_of(len(data.features)))
    return sum(
        stage.epochs or recipe.epochs_of(plan.epoch_length([method], problems, k, recipe.sampler))
        for k, stage in enumerate(method.stages())
    )


@torch.no_grad()
def scores(method: Method, run: Run, features: Tensor, rows: int = 8192) -> np.ndarray:
    """The evaluation logits of a run.

    Args:
        method: the method.
        run: its run.
        features: float32 [N, D].
        rows: rows per block, to limit the memory of intermediate results.

    Returns:
        float32 [N, C].
    """
    blocks = [method.logits(run, block) for block in features.split(rows)]
    return torch.cat(blocks).float().cpu().numpy()


# ----------------------------------------------------------------------------- before the steps


def _check_steps(epochs: int, steps: int, stage: str) -> None:
    if epochs * steps > MOST_STEPS:
        raise BenchkitError(
            f"the stage '{stage}' has {epochs} epochs of {steps} steps, and at most 2^31 steps are "
            "possible; use fewer epochs or a larger batch"
        )


def setups(
    methods: Sequence[Method],
    problems: Sequence[Problem],
    seeds: Sequence[int],
    stage: int,
    data: TrainingSet,
) -> list[Setup]:
    """Freshly drawn setups, one per run, on the device of the data."""
    device = data.features.device
    created = []
    for method, problem, seed in zip(methods, problems, seeds, strict=True):
        setup = method.setup(problem, Draw(seed).at(stage, 0))
        parts = (setup.params, setup.state, setup.memory, setup.constants)
        on_device = ({k: v.detach().to(device) for k, v in part.items()} for part in parts)
        created.append(Setup(*on_device))
    return created


@torch.no_grad()
def start_epoch(
    stack: Stack,
    problems: Sequence[Problem],
    seeds: Sequence[int],
    data: TrainingSet,
    clock: Clock,
) -> None:
    """Call every method's `epoch_start` and keep the state and memory it returns."""
    for index, (method, problem, seed) in enumerate(
        zip(stack.methods, problems, seeds, strict=True)
    ):
        draw = Draw(seed, data.features.device).at(clock.stage, clock.epoch)
        features = data.features[:, 0]
        run = method.epoch_start(stack.run(index), problem, features, clock, draw)
        stack.write(index, run)


@torch.no_grad()
def _epoch_rows(
    stack: Stack,
    problems: Sequence[Problem],
    seeds: Sequence[int],
    data: TrainingSet,
    recipe: Recipe,
    clock: Clock,
    batch: int,
) -> Tensor:
    """The rows of every step of an epoch, int64 [steps, R, B], or [steps, B] for a run alone."""
    plans = []
    for index, (method, problem, seed) in enumerate(
        zip(stack.methods, problems, seeds, strict=True)
    ):
        request = plan.sampling(
            method, stack.run(index), problem, clock, recipe.sampler, data.observed
        )
        rows = plan.epoch_rows(request, problem.num_images, clock.steps * batch, clock, seed)
        plans.append(rows.reshape(clock.steps, batch))
    joined = torch.stack(plans, 1) if stack.stacked else plans[0]
    return joined.to(data.features.device)


# ----------------------------------------------------------------------------- after the steps


def count_corrections(
    corrected: Tensor, rows: Tensor, observed: Tensor, data: TrainingSet
) -> Tensor:
    """Count the right and wrong corrections of one step per shot group.

    Correcting an unknown label calls it positive, and is right if the true label is positive.
    Correcting a candidate calls it negative, and is right if the true label is negative.
    Corrections of labels whose truth is unknown are not counted.

    Args:
        corrected: bool [R, B, C]; without the axis R for a run alone, as all arguments.
        rows: int64 [R, B].
        observed: int8 [R, B, C].
        data: the training set.

    Returns:
        int64 [R, 3, 2]: run, shot group, (right, wrong).
    """
    runs = 1 if rows.dim() == 1 else len(rows)
    true = data.true.rows(rows.reshape(-1)).reshape(corrected.shape)
    right = torch.where(observed == 1, true == 0, true == 1)
    known = corrected & (true >= 0)
    per_class = torch.stack([known & right, known & ~right], -1).flatten(-2)
    sums = per_class.reshape(runs, -1, *true.shape[-1:], 2).sum(1)  # [R, C, 2]
    groups = [sums[:, data.shot == group].sum(1) for group in range(len(SHOT_NAMES))]
    return torch.stack(groups, 1)


def _extend_curves(
    results: Sequence[Trained],
    entry: dict[str, Any],
    losses: Tensor,
    corrections: Tensor | None,
    stack: Stack,
    score: Score | None,
) -> None:
    """Append an epoch to the curve of every run that has not failed.

    Args:
        results: one per run; a run whose loss is not finite fails here.
        entry: the epoch and the name of the stage.
        losses: [R], mean loss of the epoch.
        corrections: [R, 3, 2] of the epoch, or None.
        stack: the runs.
        score: as in `train`.
    """
    counts = None if corrections is None else corrections.tolist()
    for index, (result, loss) in enumerate(zip(results, losses.tolist(), strict=True)):
        if result.failure is not None:
            continue
        if not math.isfinite(loss):
            result.failure = f"the loss is not finite in epoch {entry['epoch']}"
            continue
        point = {**entry, "loss": loss}
        if counts is not None:
            point["corrections"] = {
                name: {"right": right, "wrong": wrong}
                for name, (right, wrong) in zip(SHOT_NAMES, counts[index], strict=True)
            }
        if score is not None:
            point["val_map"] = score(result.method, stack.run(index))
        result.curve.append(point)


def _keep_best(results: Sequence[Trained], best: list[float], stack: Stack) -> None:
    """Keep the current epoch of every run whose last score beats its best; update `best`."""
    for index, result in enumerate(results):
        if result.failure is not None:
            continue
        point = result.curve[-1]
        value = point.get("val_map")
        if value is not None and value > best[index]:
            best[index] = value
            result.run, result.selected_epoch = stack.snapshot(index), point["epoch"]
