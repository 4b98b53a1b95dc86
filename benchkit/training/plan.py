"""Which rows and views an epoch visits.

Every function here is a pure function of the run's seed, the moment and the labels. A plan depends
neither on other runs of the stack nor on the plans of earlier epochs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from baselines.core import (
    ClassAware,
    Clock,
    LabelTable,
    Method,
    MethodError,
    Problem,
    Run,
    Sampling,
    Shuffle,
)
from baselines.core.sampling import class_aware
from benchkit.base.draw import Draw


def epoch_length(
    methods: Sequence[Method], problems: Sequence[Problem], stage: int, sampler: str
) -> int:
    """The number of rows that an epoch of a stage visits, the same for all stacked runs.

    Args:
        methods: one per run.
        problems: one per run.
        stage: position of the stage, from 0.
        sampler: the recipe's sampler; `method` lets the method decide, any other visits N rows.

    Raises:
        ValueError: the methods want epochs of different lengths.
        MethodError: an epoch without rows.
    """
    if sampler != "method":
        return problems[0].num_images
    lengths = {
        method.epoch_length(problem, stage)
        for method, problem in zip(methods, problems, strict=True)
    }
    if len(lengths) > 1:
        raise ValueError(
            f"stacked runs must visit the same number of rows per epoch, not {sorted(lengths)}"
        )
    length = lengths.pop()
    if not isinstance(length, int) or length < 1:
        raise MethodError(f"epoch_length returns {length!r}; it must be a positive whole number")
    return length


def sampling(
    method: Method, run: Run, problem: Problem, clock: Clock, sampler: str, observed: LabelTable
) -> Sampling:
    """How one run samples the coming epoch: by the recipe, or by the method if it decides."""
    if sampler == "shuffle":
        return Shuffle()
    if sampler == "class-aware":
        return ClassAware(observed)
    return method.sampling(run, problem, clock)


def epoch_rows(request: Sampling, images: int, count: int, clock: Clock, seed: int) -> Tensor:
    """The rows that one run visits in an epoch, in order.

    Args:
        request: shuffling or class-aware sampling; class-aware sampling shuffles if all its class
            lists are empty.
        images: N.
        count: the number of rows; more than N passes over the images again, in a new order.
        clock: the epoch.
        seed: the seed of the run.

    Returns:
        int64 [count].
    """
    if isinstance(request, ClassAware) and bool(request.sizes().any()):
        visits = -(-count // request.per_class)
        start = (clock.epoch - 1) * visits * request.per_class
        # Keyed by run and stage but not by epoch: each epoch continues the class-aware sequence.
        draw = Draw(seed).at(clock.stage, 0)
        return class_aware(request.lists, request.per_class, start, count, draw, request.codes)
    draw = Draw(seed).at(clock.stage, clock.epoch)
    passes = -(-count // images)
    return torch.cat([draw.permutation(f"shuffle/{k}", images) for k in range(passes)])[:count]


def views(rows: Tensor, num_views: int, clock: Clock, seeds: Sequence[int]) -> Tensor | None:
    """A random view for every image of a step, keyed by run, epoch and row.

    Args:
        rows: int64 [R, B], or [B] for a run alone.
        num_views: V.
        clock: the epoch.
        seeds: R seeds.

    Returns:
        int64 of the shape of `rows`, or None if there is only one view.
    """
    if num_views == 1:
        return None
    rows_by_run = rows.reshape(len(seeds), -1)
    draws = [Draw(seed, rows.device).at(clock.stage, clock.epoch) for seed in seeds]
    picks = [
        (draw.row_uniform("view", run_rows, 1)[:, 0] * num_views).long()
        for draw, run_rows in zip(draws, rows_by_run, strict=True)
    ]
    return torch.stack(picks).reshape(rows.shape)
