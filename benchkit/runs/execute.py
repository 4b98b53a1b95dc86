"""Train what is missing of a grid, and record it; failures are recorded and spare the rest."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from baselines.core import LabelTable, Method
from baselines.core.labels import MOST_WHOLE, CompressedTable
from benchkit.base.errors import BenchkitError
from benchkit.base.files import Log
from benchkit.base.terminal import make_folder
from benchkit.runs import records
from benchkit.runs.plan import Grid, Job, Outcome, command, jobs_of, stacks_of
from benchkit.split.model import Split
from benchkit.training.recipe import Recipe
from benchkit.training.trainer import Trained, TrainingSet, scores, train
from leaderboard import metrics
from splits import labels as matrices

_MOST_SCORES = 1 << 31  # labels of a part that is evaluated: its scores stand in memory
_BLOCK = 1 << 13  # rows that are standardised at a time


def standardised(split: Split, on: bool) -> dict[str, np.ndarray]:
    """Features of every part, float32, by the training part's mean and deviation if asked.

    A feature that is constant in training is only centred.
    """
    raw = {}
    for name, part in split.parts.items():
        if part.features is None:
            raise BenchkitError(
                f"split '{split.name}' has no features ({name}); make it with a --backbone or "
                "from arrays with X"
            )
        raw[name] = part.features.astype(np.float32)  # a copy, also of float32
    if not on:
        return raw
    mean, deviation = _moments(raw["train"].reshape(-1, raw["train"].shape[-1]))
    deviation[deviation < 1e-12] = 1.0
    for x in raw.values():
        for begin in range(0, len(x), _BLOCK):
            block = x[begin : begin + _BLOCK]
            block[...] = (block - mean) / deviation
    return raw


def _moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of every column, float64 [D] each, a block of rows at a time.

    NumPy sums down the rows one by one, so the blocks give its own `mean` and `std`, bit for bit,
    without their temporary array.
    """

    def summed(change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        total = np.zeros((1, rows.shape[1]))
        for begin in range(0, len(rows), _BLOCK):
            block = change(rows[begin : begin + _BLOCK].astype(np.float64))
            total = np.concatenate([total, block]).sum(0, keepdims=True)
        return np.asarray(total[0] / len(rows))

    mean = summed(lambda block: block)
    return mean, np.sqrt(summed(lambda block: (block - mean) ** 2))


def execute(
    grid: Grid, log: Log, bar: Callable[[str, int], Any] | None = None, fail_fast: bool = False
) -> Outcome:
    """Run what of a grid is missing.

    Args:
        grid: what was asked for.
        log: called with a message about skipped, kept and failed runs.
        bar: `bar(title, epochs)` is a context manager that yields a function to advance it.
        fail_fast: re-raise the first failure (for tests and debugging).

    Returns:
        What became of every run.
    """
    outcome = Outcome()
    recipe = grid.recipe
    if grid.selection == "val" and "val" not in grid.split.parts:
        raise BenchkitError(
            "--select val: the split holds no validation part; make it with --val-fraction, "
            "or select the last epoch"
        )
    make_folder(grid.out)
    records.tidy(grid.out, log)
    jobs = jobs_of(grid, recipe, outcome, log)
    stacks = stacks_of(jobs, recipe, _width(grid), grid.out)
    if not stacks:
        return outcome
    _check_size(grid.split)
    features = standardised(grid.split, recipe.standardise == "on")
    data = _training_set(grid, features["train"])
    for stack in stacks:
        work = len(stack) * recipe.batch * data.features.shape[-1] * data.observed.shape[1]
        with _threads(work):
            _execute_stack(grid, recipe, stack, data, features, outcome, log, bar, fail_fast)
    return outcome


@contextlib.contextmanager
def _threads(work: int) -> Iterator[None]:
    """One thread for steps of fewer than 2^24 multiplications.

    Threads that wait for one another at every small operation gain nothing alone on a machine, and
    lost a factor of ten beside another busy process.
    """
    usual = torch.get_num_threads()
    torch.set_num_threads(1 if work < 1 << 24 else usual)
    try:
        yield
    finally:
        torch.set_num_threads(usual)


def _width(grid: Grid) -> int:
    """Runs of a stack; fewer where a value for each label of each run would not fit."""
    images, classes = grid.split.parts["train"].true.shape
    return max(1, min(grid.width, MOST_WHOLE // max(1, images * classes)))


def _check_size(split: Split) -> None:
    """Refuse a part whose scores, which are evaluated as a whole, would not fit."""
    for name, part in split.parts.items():
        rows, classes = part.true.shape
        if name != "train" and rows * classes > _MOST_SCORES:
            raise BenchkitError(
                f"split '{split.name}' has {rows} x {classes} labels in its {name} part, and at "
                f"most {_MOST_SCORES} scores are evaluated at once; make it with fewer {name} "
                "images or classes"
            )


def _table(labels: matrices.Labels, device: torch.device) -> LabelTable:
    """Labels as training reads them; compressed rows stay so where an array would not fit."""
    images, classes = labels.shape
    if not isinstance(labels, matrices.SparseLabels) or images * classes <= MOST_WHOLE:
        return LabelTable.of(torch.from_numpy(matrices.dense(labels)).to(device))
    indptr, indices, values = (
        torch.from_numpy(part).to(device) for part in (labels.indptr, labels.indices, labels.values)
    )
    return CompressedTable((images, classes), indptr, indices, values, labels.fill)


def _training_set(grid: Grid, features: np.ndarray) -> TrainingSet:
    part, kind, level = grid.split.parts["train"], *grid.split.regime.partition(":")[::2]
    device = torch.device(grid.device)
    embeddings = None if grid.embeddings is None else torch.from_numpy(grid.embeddings).float()
    assert part.observed is not None  # `split_file.read` has checked the shapes
    return TrainingSet(
        features=torch.from_numpy(features).to(device),
        observed=_table(part.observed, device),
        true=_table(part.true, device),
        regime=kind,
        shot=torch.from_numpy(grid.split.shot.astype(np.int64)).to(device),
        noise_rate=_noise_rate(kind, level),
        class_embeddings=None if embeddings is None else embeddings.to(device),
    )


def _noise_rate(kind: str, level: str) -> float | None:
    if kind not in ("candidates", "pal"):
        return None
    return float(level) if kind == "candidates" else 1.0 - float(level)


def _execute_stack(
    grid: Grid,
    recipe: Recipe,
    stack: list[Job],
    data: TrainingSet,
    features: Mapping[str, np.ndarray],
    outcome: Outcome,
    log: Log,
    bar: Callable[[str, int], Any] | None,
    fail_fast: bool,
) -> None:
    key, began = stack[0].spec.method.info.key, time.perf_counter()
    methods = [job.spec.method(job.spec.hyper, recipe.make_head()) for job in stack]
    epochs = sum(stage.epochs or recipe.epochs for stage in methods[0].stages())
    seeds = [job.seed for job in stack]
    score, keep_best = _selector(grid, features), grid.selection != "last"
    try:
        if bar is None:
            trained = train(methods, seeds, data, recipe, score=score, keep_best=keep_best)
        else:
            with bar(f"{key} x {len(stack)}", epochs) as advance:
                trained = train(
                    methods,
                    seeds,
                    data,
                    recipe,
                    score=score,
                    keep_best=keep_best,
                    tick=lambda: advance(1),
                )
    except Exception as error:
        # Anything a method raises fails its own runs, is recorded and shown, and spares the rest.
        if fail_fast:
            raise
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        for job in (job for job in stack if not job.done):
            _fail(grid, job, reason, outcome, log)
        return
    test = torch.from_numpy(features["test"][:, 0]).to(grid.device)
    seconds = (time.perf_counter() - began) / len(stack)
    for job, result in zip(stack, trained, strict=True):
        if job.done:
            continue
        logits = None if result.failure else scores(result.method, result.run, test)
        if logits is not None and not np.isfinite(logits).all():
            result.failure = "the test scores are not finite"
        if result.failure or logits is None:
            _fail(grid, job, str(result.failure), outcome, log)
            continue
        record = _record(grid, recipe, job, result, logits, seconds, stack)
        records.write(grid.out, record, logits, grid.split.parts["test"].ids, log)
        outcome.done.append(job.identity)


def _fail(grid: Grid, job: Job, reason: str, outcome: Outcome, log: Log) -> None:
    records.write_failure(grid.out, job.science, reason, log)
    outcome.failed[job.identity] = reason
    log(f"{job.spec.method.info.key} seed {job.seed} failed: {reason}")


def _selector(
    grid: Grid, features: Mapping[str, np.ndarray]
) -> Callable[[Method, Any], float | None] | None:
    part = "test" if grid.selection == "test-oracle" else "val"
    if part not in grid.split.parts:
        return None
    rows = torch.from_numpy(features[part][:, 0]).to(grid.device)
    true, shot = matrices.dense(grid.split.parts[part].true), grid.split.shot

    def score(method: Method, run: Any) -> float | None:
        logits = scores(method, run, rows)
        if not np.isfinite(logits).all():
            return None
        value = metrics.evaluate(logits, true, shot)["map"]
        return None if value is None else float(value)

    return score


def _record(
    grid: Grid,
    recipe: Recipe,
    job: Job,
    result: Trained,
    logits: np.ndarray,
    seconds: float,
    stack: list[Job],
) -> dict[str, Any]:
    info = job.spec.method.info
    oracle = list(result.method.oracle())
    true = matrices.dense(grid.split.parts["test"].true)
    if grid.selection == "test-oracle":
        oracle.append("best_test_epoch")
    return {
        "format": records.FORMAT,
        "run_id": job.identity,
        "science": job.science,
        "split": records.describe_split(grid.split, grid.fingerprints),
        "method": {
            "key": info.key,
            "title": info.title,
            "paper": info.paper,
            "year": info.year,
            "oracle": oracle,
            "kind": job.spec.kind,
        },
        "metrics": metrics.evaluate(logits, true, grid.split.shot),
        "curve": result.curve,
        "selected_epoch": result.selected_epoch,
        "environment": {**records.environment(grid.device), "stacked_runs": len(stack)},
        "wall_seconds": seconds,
        "command": command(grid, recipe, job, stack),
    }
