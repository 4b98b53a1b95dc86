"""The one trainer: a stack of runs through stages, epochs and steps, under one recipe.

It knows parameters, gradients, rows and rates, and nothing of losses; the method knows the rest.
The same step would train an image model: features are whatever the first axis of the training set
indexes. Selection is the last epoch, or the best one on the validation part; the best on the test
part exists under a name that says `oracle`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines.core import (
    ClassAware,
    Clock,
    LabelTable,
    Method,
    Oracle,
    Problem,
    Rate,
    Run,
    Setup,
    Stage,
)
from baselines.core.sampling import class_aware
from benchkit.base.draw import Draw
from benchkit.training.recipe import Recipe
from benchkit.training.stack import Stack


@dataclass(frozen=True)
class TrainingSet:
    """What all runs of one split share.

    Attributes:
        features: float32 [N, V, D], standardised already where the recipe says so.
        observed: [N, C]; a step makes the rows of its batch dense.
        true: [N, C]; the trainer counts corrections with it, methods reach it as an oracle.
        regime: the kind of labels.
        noise_rate: how often a negative is a candidate: rho, or 1 - r under PAL(r); else None.
        shot: [C], 0 many, 1 medium, 2 few.
        class_embeddings: [C, E] or None.
    """

    features: Tensor
    observed: LabelTable
    true: LabelTable
    regime: str
    shot: Tensor
    noise_rate: float | None = None
    class_embeddings: Tensor | None = None

    def oracle_values(self) -> dict[str, Any]:
        """The truths that a method may ask for by name."""
        counts = self.true.count(1).float()
        values: dict[str, Any] = {
            "true_labels": self.true,
            "true_counts": counts,
            "expected_positives": float(counts.sum() / len(self.true)),
        }
        if self.noise_rate is not None:
            values["noise_rate"] = self.noise_rate
        return values


@dataclass
class Trained:
    """One run after training.

    Attributes:
        method: with its hyperparameters.
        run: parameters, state and constants at the selected epoch.
        curve: one entry per epoch: loss, validation mAP, corrections.
        selected_epoch: counted over all stages from 1.
        failure: why the run has no result, or None.
    """

    method: Method
    run: Run
    curve: list[dict[str, Any]] = field(default_factory=list)
    selected_epoch: int = 0
    failure: str | None = None


Score = Callable[[Method, Run], float | None]


def train(
    methods: list[Method],
    seeds: list[int],
    data: TrainingSet,
    recipe: Recipe,
    *,
    score: Score | None = None,
    keep_best: bool = False,
    tick: Callable[[], None] = lambda: None,
) -> list[Trained]:
    """Train R runs as one program.

    Args:
        methods: one per run, alike but for float hyperparameters.
        seeds: one per run.
        data: the training set, on the device where training happens.
        recipe: the same for all runs.
        score: called after every epoch with (method, run); higher is better.
        keep_best: select the epoch of the last stage with the best score, not the last one.
        tick: called after every epoch.

    Returns:
        One result per run, in order. A run whose loss is not finite ends as a failure and leaves
        the runs beside it untouched.
    """
    return _Training(methods, seeds, data, recipe, score, keep_best, tick).train()


class _Training:
    def __init__(
        self,
        methods: list[Method],
        seeds: list[int],
        data: TrainingSet,
        recipe: Recipe,
        score: Score | None,
        keep_best: bool,
        tick: Callable[[], None],
    ) -> None:
        self.data, self.recipe, self.score, self.keep_best = data, recipe, score, keep_best
        self.tick, self.methods, self.seeds = tick, methods, seeds
        self.device = data.features.device
        values = data.oracle_values()
        self.problems = [
            Problem(
                labels=data.observed,
                feature_dim=data.features.shape[-1],
                regime=data.regime,
                epochs=recipe.epochs,
                oracle=Oracle(values, method.oracle()),
                class_embeddings=data.class_embeddings,
            )
            for method in methods
        ]
        setups = [self._setup(index, 0) for index in range(len(methods))]
        self.stack = Stack.of(methods, seeds, setups)
        self.results = [Trained(method, Setup({})) for method in methods]
        self.best = [-math.inf] * len(methods)
        self.epochs_done = 0
        # One long table [N * V, D], so that a step gathers whole rows.
        self.table = data.features.reshape(-1, data.features.shape[-1])
        self.views = data.features.shape[1]

    def _setup(self, index: int, stage: int) -> Setup:
        draw = Draw(self.seeds[index]).at(stage, 0)
        setup = self.methods[index].setup(self.problems[index], draw)
        parts = (setup.params, setup.state, setup.memory, setup.constants)
        return Setup(*({k: v.detach().to(self.device) for k, v in part.items()} for part in parts))

    def train(self) -> list[Trained]:
        for number, stage in enumerate(self.methods[0].stages()):
            self._restart(number, stage)
            self._forget_best()
            self._train_stage(number, stage)
        for index, result in enumerate(self.results):
            if not self.keep_best or not result.run.params:
                result.run = self._snapshot(index)
                result.selected_epoch = self.epochs_done
        return self.results

    # -------------------------------------------------------------------- stages and epochs

    def _restart(self, number: int, stage: Stage) -> None:
        if not stage.restart:
            return
        fresh = [self._setup(index, number).params for index in range(len(self.methods))]
        for name, tensor in self.stack.params.items():
            if name.startswith(stage.restart):
                new = [parts[name] for parts in fresh]
                with torch.no_grad():
                    tensor.copy_(torch.stack(new) if self.stack.stacked else new[0])

    def _forget_best(self) -> None:
        """Select among the epochs of the last stage: before it, a run is not what its method is."""
        self.best = [-math.inf] * len(self.methods)
        for result in self.results:
            result.run, result.selected_epoch = Setup({}), 0

    def _train_stage(self, number: int, stage: Stage) -> None:
        first = self.methods[0]
        epochs = stage.epochs or self.recipe.epochs
        lengths = {
            self._length(method, problem, number)
            for method, problem in zip(self.methods, self.problems, strict=True)
        }
        if len(lengths) > 1:
            raise ValueError(f"stacked runs visit {sorted(lengths)} rows an epoch; they must agree")
        length = lengths.pop()
        batch = min(self.recipe.batch, length)
        steps = length // batch
        optimiser, rates = self._optimiser(stage, first.rates())
        for epoch in range(1, epochs + 1):
            clock = Clock(number, epoch, epochs, 0, steps)
            rows = self._plan(clock, steps, batch)
            losses, corrections = self._epoch(clock, rows, optimiser, rates)
            self.epochs_done += 1
            self._close_epoch(stage, losses / steps, corrections)
            self.tick()

    def _length(self, method: Method, problem: Problem, number: int) -> int:
        if self.recipe.sampler != "method":
            return problem.num_images
        return method.epoch_length(problem, number)

    def _plan(self, clock: Clock, steps: int, batch: int) -> Tensor:
        """The table rows of an epoch, int64 [steps, R, B], or [steps, B] for a run alone."""
        plans = []
        for index, (method, problem) in enumerate(zip(self.methods, self.problems, strict=True)):
            draw = Draw(self.seeds[index], self.device).at(clock.stage, clock.epoch)
            with torch.no_grad():
                run = self.stack.run(index)
                features = self.data.features[:, 0]
                changed = method.epoch_start(run, problem, features, clock, draw)
                self.stack.write(index, changed)
                wanted = self._sampling(method, self.stack.run(index), problem, clock)
            plans.append(self._rows(index, wanted, clock, steps * batch).reshape(steps, batch))
        joined = torch.stack(plans, 1) if self.stack.stacked else plans[0]
        return joined.to(self.device)

    def _sampling(self, method: Method, run: Run, problem: Problem, clock: Clock) -> Any:
        if self.recipe.sampler == "shuffle":
            return None
        if self.recipe.sampler == "class-aware":
            return ClassAware(self.data.observed)
        return method.sampling(run, problem, clock)

    def _rows(self, index: int, wanted: Any, clock: Clock, count: int) -> Tensor:
        if isinstance(wanted, ClassAware) and bool(wanted.sizes().any()):
            visits = -(-count // wanted.per_class)
            start = (clock.epoch - 1) * visits * wanted.per_class
            # Keyed by run and stage, not by epoch: the class-aware sequence goes on.
            draw = Draw(self.seeds[index]).at(clock.stage, 0)
            return class_aware(wanted.lists, wanted.per_class, start, count, draw, wanted.codes)
        draw = Draw(self.seeds[index]).at(clock.stage, clock.epoch)
        n = len(self.data.observed)
        passes = -(-count // n)
        return torch.cat([draw.permutation(f"shuffle/{k}", n) for k in range(passes)])[:count]

    def _epoch(
        self, clock: Clock, rows: Tensor, optimiser: torch.optim.Optimizer, rates: list[Rate]
    ) -> tuple[Tensor, Tensor | None]:
        total = torch.zeros(len(self.stack), device=self.device)
        corrections: Tensor | None = None
        for step in range(clock.steps):
            moment = Clock(clock.stage, clock.epoch, clock.epochs, step, clock.steps)
            self._set_rates(optimiser, rates, moment)
            picked = rows[step]
            features, observed = self._gather(picked, moment)
            out = self.stack.step(moment, picked, features, observed)
            optimiser.zero_grad(set_to_none=True)
            out.loss.sum().backward()
            if self.recipe.clip:
                self._clip()
            optimiser.step()
            self.stack.apply(out, picked)
            total += out.loss.detach().reshape(-1)
            if out.corrected is not None:
                counted = self._count_corrections(out.corrected, picked, observed)
                corrections = counted if corrections is None else corrections + counted
        return total, corrections

    def _gather(self, rows: Tensor, clock: Clock) -> tuple[Tensor, Tensor]:
        flat = rows.reshape(-1)
        place = flat
        if self.views > 1:
            view = self._view(rows, clock)
            place = flat * self.views + view.reshape(-1)
        features = self.table.index_select(0, place)
        observed = self.data.observed.rows(flat)
        return features.reshape(*rows.shape, -1), observed.reshape(*rows.shape, -1)

    def _view(self, rows: Tensor, clock: Clock) -> Tensor:
        """One of the V views for each image, keyed by run, epoch and row."""
        draws = [Draw(seed, self.device).at(clock.stage, clock.epoch) for seed in self.seeds]
        each = rows if self.stack.stacked else rows[None]
        picked = [
            (draw.row_uniform("view", r, 1)[:, 0] * self.views).long()
            for draw, r in zip(draws, each, strict=True)
        ]
        return torch.stack(picked)

    # -------------------------------------------------------------------- optimiser

    def _optimiser(
        self, stage: Stage, rates: dict[str, Rate]
    ) -> tuple[torch.optim.Optimizer, list[Rate]]:
        groups: dict[Rate, list[Tensor]] = {}
        for name, tensor in self.stack.params.items():
            learns = not stage.train or name.startswith(stage.train)
            tensor.requires_grad_(learns)
            tensor.grad = None  # of the stage before: a frozen parameter has no part in clipping
            if learns:
                rate = next((r for p, r in rates.items() if name.startswith(p)), Rate())
                groups.setdefault(rate, []).append(tensor)
        decay = self.recipe.weight_decay
        listed = [
            {"params": tensors, "weight_decay": decay if rate.decay else 0.0}
            for rate, tensors in groups.items()
        ]
        lr, kind = self.recipe.lr, self.recipe.optimiser
        if kind == "sgd":
            momentum = self.recipe.momentum
            return torch.optim.SGD(listed, lr=lr, momentum=momentum, fused=True), list(groups)
        adam = torch.optim.Adam if kind == "adam" else torch.optim.AdamW
        return adam(listed, lr=lr, fused=True), list(groups)

    def _set_rates(self, optimiser: torch.optim.Optimizer, rates: list[Rate], clock: Clock) -> None:
        shared = self.recipe.rate_factor(clock.epoch, clock.step, clock.steps, clock.epochs)
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            factor = shared
            if rate.step_every is not None:
                factor = rate.step_factor ** (clock.epoch // rate.step_every)
            group["lr"] = self.recipe.lr * rate.multiplier * factor

    def _clip(self) -> None:
        """Scale each run's gradient to a global L2 norm of at most `clip`."""
        gradients = [p.grad for p in self.stack.params.values() if p.grad is not None]
        runs = len(self.stack)
        norm = torch.stack([g.reshape(runs, -1).pow(2).sum(1) for g in gradients]).sum(0).sqrt()
        scale = (self.recipe.clip / (norm + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            # In place on the gradient itself: of one that is not contiguous, reshape is a copy.
            axes = [1] * (gradient.dim() - 1)
            gradient.mul_(scale.reshape(runs, *axes) if self.stack.stacked else scale[0])

    # -------------------------------------------------------------------- results

    def _count_corrections(self, corrected: Tensor, rows: Tensor, observed: Tensor) -> Tensor:
        """Right and wrong corrections per shot group, int64 [R, 3, 2].

        A correction of an unknown label says "positive" and is right where the truth is; one of a
        candidate says "negative".
        """
        truth = self.data.true.rows(rows.reshape(-1)).reshape(corrected.shape)
        right = torch.where(observed == 1, truth == 0, truth == 1)
        known = corrected & (truth >= 0)
        per_class = torch.stack([known & right, known & ~right], -1).flatten(-2)
        sums = per_class.reshape(len(self.stack), -1, *truth.shape[-1:], 2).sum(1)  # [R, C, 2]
        groups = [sums[:, self.data.shot == group].sum(1) for group in (0, 1, 2)]
        return torch.stack(groups, 1)

    def _close_epoch(self, stage: Stage, losses: Tensor, corrections: Tensor | None) -> None:
        values = losses.tolist()
        counted = None if corrections is None else corrections.tolist()
        for index, result in enumerate(self.results):
            if result.failure is not None:
                continue
            entry: dict[str, Any] = {"epoch": self.epochs_done, "stage": stage.name}
            entry["loss"] = values[index]
            if not math.isfinite(values[index]):
                result.failure = f"the loss is not finite in epoch {self.epochs_done}"
                continue
            if counted is not None:
                names = ("many", "medium", "few")
                entry["corrections"] = {
                    name: {"right": pair[0], "wrong": pair[1]}
                    for name, pair in zip(names, counted[index], strict=True)
                }
            if self.score is not None:
                entry["val_map"] = value = self.score(result.method, self.stack.run(index))
                if self.keep_best and value is not None and value > self.best[index]:
                    self.best[index] = value
                    result.run, result.selected_epoch = self._snapshot(index), self.epochs_done
            result.curve.append(entry)

    def _snapshot(self, index: int) -> Run:
        """A run's tensors apart from its memory, copied."""
        run = self.stack.run(index)
        empty: dict[str, Tensor] = {}
        parts = (run.params, run.state, empty, run.constants)
        return Run(*({k: v.clone() for k, v in part.items()} for part in parts))


@torch.no_grad()
def scores(method: Method, run: Run, features: Tensor, rows: int = 8192) -> np.ndarray:
    """Evaluation logits, float32 [N, C], in blocks of rows so that large sets fit."""
    blocks = [method.logits(run, block) for block in features.split(rows)]
    return torch.cat(blocks).float().cpu().numpy()
