"""Training the draws of a search: stacks of settings, scored on the validation part."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from baselines.core import Method
from baselines.core.errors import Interrupt, is_interrupt
from benchkit.base.messages import no_log
from benchkit.runs import claims, draws
from benchkit.runs.draws import DrawResult
from benchkit.runs.execute import stack_width, threads
from benchkit.runs.feature_check import FeatureCheck
from benchkit.runs.plan import Grid, Job
from benchkit.runs.run_log import RunLog
from benchkit.runs.selection import CHOSEN, RULES, validation_score
from benchkit.runs.workers import Send
from benchkit.split.model import Part
from benchkit.training import inputs, rehearsal
from benchkit.training.guard import own_settings, place_of
from benchkit.training.inputs import TrainingSet
from benchkit.training.optimiser import shared_recipe
from benchkit.training.recipe import Recipe
from benchkit.training.stack import structure
from benchkit.training.trainer import Trained, count_epochs, scores, train
from splits import labels as matrices

EPOCH = "epoch"
"""The message of a finished epoch. A stack whose method raised an exception sends a dictionary:
run id -> reason."""


def draw_stacks(jobs: Iterable[Job], grid: Grid) -> list[list[Job]]:
    """The draws to train, stack by stack.

    Draws of a method share a stack if they differ only in float hyperparameters, the learning
    rate, the weight decay, and the seed. Equal rates are adjacent, because the optimiser updates
    blocks of them. The stacks of a group have nearly equal sizes.
    """
    groups: dict[Any, list[Job]] = {}
    for job in jobs:
        recipe = grid.recipe_of(job.spec)
        method = job.spec.method(job.spec.hyper, recipe.make_head())
        groups.setdefault((structure(method), shared_recipe(recipe)), []).append(job)
    stacks = []
    for group in groups.values():
        group.sort(key=lambda job: _rates(grid.recipe_of(job.spec)))
        count = math.ceil(len(group) / stack_width(grid))
        bounds = [len(group) * k // count for k in range(count + 1)]
        stacks += [group[a:b] for a, b in itertools.pairwise(bounds)]
    return stacks


def _rates(recipe: Recipe) -> tuple[float, float]:
    return recipe.lr, recipe.weight_decay


@dataclass(frozen=True)
class DrawTraining:
    """The data that all draws of a search share.

    Attributes:
        grid: the grid of the default runs.
        data: the training set on its device.
        features: float32 [Nv, D], the features of the validation part.
        part: the validation part.
        run_log: the log of the folder of records.
    """

    grid: Grid
    data: TrainingSet
    features: torch.Tensor
    part: Part
    run_log: RunLog

    @classmethod
    def of(cls, grid: Grid) -> DrawTraining:
        """Prepare the data of a grid.

        Raises:
            BenchkitError: the split has no features, or they were changed after it was written.
        """
        # Confirmed before any process is forked, so that no draw of other features is kept.
        FeatureCheck(grid.split, grid.fingerprints, grid.split_path).confirm()
        recipe = grid.recipe
        features = inputs.standardised(grid.split, recipe.standardise == "on", recipe.row_norm)
        data = inputs.training_set(grid.split, features["train"], grid.device, grid.embeddings)
        validation = torch.from_numpy(features["val"][:, 0].copy()).to(grid.device)
        return cls(grid, data, validation, grid.split.parts["val"], RunLog(grid.out))

    @property
    def estimator(self) -> str:
        """The name of the estimator of the rule `val-observed`."""
        return CHOSEN[self.grid.split.regime.kind]

    def epochs(self, stack: Sequence[Job]) -> int:
        """The number of epochs of a stack, which its draws share."""
        return count_epochs(self._method(stack[0]), self.data, self.grid.recipe_of(stack[0].spec))

    def run(self, stack: Sequence[Job], send: Send) -> None:
        """Train the draws of a stack that no process has trained or is training, and keep them.

        Args:
            stack: the draws.
            send: called with `EPOCH` after every epoch, and with the failed runs.
        """
        out, jobs = self.grid.out, {f"draw-{job.run_id}": job for job in stack}
        with claims.claim(out, list(jobs)) as claimed:
            free = [job for name, job in jobs.items() if name in claimed]
            known = draws.read(out, [job.run_id for job in free], self.estimator, no_log)
            free = [job for job in free if job.run_id not in known]
            if not free:
                return
            title = f"{stack[0].spec.key}, {len(free)} runs of draws"
            self.run_log.write(f"{title}: started")
            started = time.perf_counter()
            try:
                with own_settings(place_of(stack[0].spec.method), refuse=True):
                    results = [self._scored(result) for result in self._train(free, send)]
                Interrupt.raise_if_received()
            except BaseException as error:  # an error of a method fails its own draws only
                if is_interrupt(error):
                    raise
                reason = rehearsal.failure(error, stack[0].spec.method)
                self.run_log.write(f"{title}: failed: {reason}")
                send({job.run_id: reason for job in free})
                return
            seconds = (time.perf_counter() - started) / len(free)
            for job, (values, failure) in zip(free, results, strict=True):
                result = DrawResult(job.arguments, values, self.estimator, failure, seconds)
                draws.write(out, result, no_log)
            self.run_log.write(f"{title}: done")

    def _method(self, job: Job) -> Method:
        recipe = self.grid.recipe_of(job.spec)
        return job.spec.method(job.spec.hyper, recipe.make_head())

    def _train(self, stack: Sequence[Job], send: Send) -> list[Trained]:
        methods = [self._method(job) for job in stack]
        recipe_of = self.grid.recipe_of
        first, images = recipe_of(stack[0].spec), len(self.data.features)
        if stack[0].spec.kind == "plugin":
            rehearsal.check(methods[0], self.data, first.epochs_of(images))
        size = self.data.features.shape[-1] * self.data.num_classes
        with threads(len(stack) * first.batch * size):
            return train(
                methods,
                [job.seed for job in stack],
                self.data,
                [recipe_of(job.spec) for job in stack],
                tick=lambda: send(EPOCH),
            )

    def _scored(self, result: Trained) -> tuple[Mapping[str, float | None], str | None]:
        """The scores of a draw by selection rule, and the reason why it has none."""
        none: dict[str, float | None] = dict.fromkeys(RULES)
        if result.failure is not None:
            return none, result.failure
        logits = scores(result.method, result.run, self.features)
        if not np.isfinite(logits).all():
            return none, "the validation scores are not finite"
        observed = self.part.observed
        assert observed is not None  # checked by `split.file.read`
        labels = dict(zip(RULES, (self.part.true, observed), strict=True))
        regime = self.grid.split.regime
        return {
            rule: validation_score(logits, matrices.dense(labels[rule]), regime, rule)
            for rule in RULES
        }, None
