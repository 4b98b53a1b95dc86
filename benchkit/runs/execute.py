"""Execution of a grid: train the missing runs stack by stack, and record each result.

A run that fails is recorded as a failure and does not affect the others.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from baselines.core import Method, Run
from baselines.core import labels as label_tables
from benchkit.base.errors import BenchkitError
from benchkit.base.files import make_folder
from benchkit.base.messages import Bar, Log, no_bar
from benchkit.runs import records
from benchkit.runs.plan import Grid, Job, Outcome, command, jobs_of, skipped_methods, stacks_of
from benchkit.split.model import Split
from benchkit.training import inputs
from benchkit.training.inputs import TrainingSet
from benchkit.training.trainer import Score, Trained, scores, train
from leaderboard import metrics
from leaderboard.record import Metrics, Record, RecordedMethod
from splits import labels as matrices

MOST_SCORES = 1 << 31  # labels of an evaluated part, whose scores are held in memory
_FEW_MULTIPLICATIONS = 1 << 24  # of a step that one thread computes fastest


def execute(grid: Grid, log: Log, bar: Bar = no_bar, fail_fast: bool = False) -> Outcome:
    """Train the missing runs of a grid.

    Args:
        grid: the grid.
        log: called with messages about skipped, kept and failed runs.
        bar: makes a progress bar for each stack.
        fail_fast: raise the first failure instead of recording it, for tests and debugging.

    Returns:
        The run ids by outcome.

    Raises:
        BenchkitError: the split has no validation part for the selection rule, no features, or too
            many labels to evaluate.
    """
    if grid.selection == "val" and "val" not in grid.split.parts:
        raise BenchkitError(
            "--select val needs a validation part, and the split has none; make it with "
            "--val-fraction, or select the last epoch"
        )
    make_folder(grid.out)
    records.remove_interrupted(grid.out, log)
    outcome = Outcome(skipped=skipped_methods(grid))
    for key, reason in outcome.skipped.items():
        log(f"skipping {key}: {reason}")
    jobs = _with_folders(grid, jobs_of(grid))
    outcome.cached = [job.folder.name for job in jobs if job.folder is not None]
    if outcome.cached:
        log(f"{len(outcome.cached)} runs are already in {grid.out} and are kept")
    stacks = stacks_of(jobs, grid.recipe, _stack_width(grid), records.stacked_runs)
    if not stacks:
        return outcome
    _check_size(grid.split)
    features = inputs.standardised(grid.split, grid.recipe.standardise == "on")
    data = inputs.training_set(grid.split, features["train"], grid.device, grid.embeddings)
    execution = _Execution(grid, features, data, outcome, log, bar, fail_fast)
    for stack in stacks:
        with _threads(len(stack) * grid.recipe.batch * data.features.shape[-1] * len(data.shot)):
            execution.run(stack)
    return outcome


def _with_folders(grid: Grid, jobs: list[Job]) -> list[Job]:
    """The jobs with the folders of the records that exist."""
    folders = records.find(grid.out, {job.run_id for job in jobs})
    return [replace(job, folder=folders.get(job.run_id)) for job in jobs]


def _stack_width(grid: Grid) -> int:
    """The number of runs in a stack, limited so that one value per label of each run fits."""
    images, classes = grid.split.parts["train"].true.shape
    return max(1, min(grid.width, label_tables.MOST_WHOLE // max(1, images * classes)))


def _check_size(split: Split) -> None:
    """Refuse a part that is evaluated at once and whose scores would not fit in memory."""
    for name, part in split.parts.items():
        rows, classes = part.true.shape
        if name != "train" and rows * classes > MOST_SCORES:
            raise BenchkitError(
                f"split '{split.name}' has {rows} x {classes} labels in its {name} part, and at "
                f"most {MOST_SCORES} scores are evaluated at once; make it with fewer {name} "
                "images or classes"
            )


@contextlib.contextmanager
def _threads(multiplications: int) -> Iterator[None]:
    """Use one thread for small steps.

    At such steps, threads that wait for one another gain nothing on an idle machine, and cost a
    factor of ten beside another busy process.
    """
    previous = torch.get_num_threads()
    torch.set_num_threads(1 if multiplications < _FEW_MULTIPLICATIONS else previous)
    try:
        yield
    finally:
        torch.set_num_threads(previous)


@dataclass(frozen=True)
class _Execution:
    """The shared parts of all stacks of a grid.

    Attributes:
        grid: the grid.
        features: part -> float32 [N, V, D].
        data: the training set on its device.
        outcome: receives the run ids.
        log: receives messages.
        bar: see `execute`.
        fail_fast: see `execute`.
    """

    grid: Grid
    features: Mapping[str, np.ndarray]
    data: TrainingSet
    outcome: Outcome
    log: Log
    bar: Bar
    fail_fast: bool

    def run(self, stack: list[Job]) -> None:
        """Train one stack, and record every run of it that has no record yet."""
        started = time.perf_counter()
        try:
            results = self._train(stack)
        except Exception as error:  # an error of a method fails its own runs only
            if self.fail_fast:
                raise
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            for job in stack:
                if job.folder is None:
                    self._fail(job, reason)
            return
        test = torch.from_numpy(self.features["test"][:, 0]).to(self.grid.device)
        seconds = (time.perf_counter() - started) / len(stack)
        for job, result in zip(stack, results, strict=True):
            if job.folder is not None:
                continue
            logits = None if result.failure else scores(result.method, result.run, test)
            if logits is not None and not np.isfinite(logits).all():
                result.failure = "the test scores are not finite"
            if logits is None or result.failure:
                self._fail(job, str(result.failure))
                continue
            record = self._record(job, result, logits, seconds, stack)
            ids = self.grid.split.parts["test"].ids
            records.write(self.grid.out, record, logits, ids, self.log)
            self.outcome.done.append(job.run_id)

    def _train(self, stack: list[Job]) -> list[Trained]:
        spec, recipe = stack[0].spec, self.grid.recipe
        methods = [job.spec.method(job.spec.hyper, recipe.make_head()) for job in stack]
        epochs = sum(stage.epochs or recipe.epochs for stage in methods[0].stages())
        title = f"{spec.key} x {len(stack)}"
        with self.bar(title, epochs) as advance:
            return train(
                methods,
                [job.seed for job in stack],
                self.data,
                recipe,
                score=self._score(),
                keep_best=self.grid.selection != "last",
                tick=lambda: advance(1),
            )

    def _score(self) -> Score | None:
        """The mAP on the part that selects an epoch; None if there is no such part."""
        part = "test" if self.grid.selection == "test-oracle" else "val"
        split = self.grid.split
        if part not in split.parts:
            return None
        rows = torch.from_numpy(self.features[part][:, 0]).to(self.grid.device)
        labels = matrices.dense(split.parts[part].true)

        def score(method: Method, run: Run) -> float | None:
            logits = scores(method, run, rows)
            if not np.isfinite(logits).all():
                return None
            value: float | None = metrics.summary(logits, labels, split.shot)["map"]
            return value

        return score

    def _record(
        self, job: Job, result: Trained, logits: np.ndarray, seconds: float, stack: list[Job]
    ) -> Record:
        grid, info = self.grid, job.spec.method.info
        oracle = result.method.oracle()
        if grid.selection == "test-oracle":
            oracle = (*oracle, "best_test_epoch")
        labels = matrices.dense(grid.split.parts["test"].true)
        return Record(
            run_id=job.run_id,
            arguments=job.arguments,
            split=records.recorded_split(grid.split, grid.fingerprints),
            method=RecordedMethod(
                key=info.key,
                title=info.title,
                paper=info.paper,
                year=info.year,
                oracle=tuple(oracle),
                kind=job.spec.kind,
            ),
            metrics=Metrics.from_summary(metrics.summary(logits, labels, grid.split.shot)),
            environment=records.environment(grid.device, len(stack)),
            wall_seconds=seconds,
            command=command(grid, job.spec, stack),
            curve=tuple(result.curve),
            selected_epoch=result.selected_epoch,
        )

    def _fail(self, job: Job, reason: str) -> None:
        records.write_failure(self.grid.out, job.arguments, reason, self.log)
        self.outcome.failed[job.run_id] = reason
        self.log(f"{job.spec.key} seed {job.seed} failed: {reason}")
