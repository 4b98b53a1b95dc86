"""Execution of a grid: train the missing runs stack by stack, and record each result.

A run that fails is recorded as a failure and does not affect the others. Processes that share a
folder of records claim the runs of a stack before they train it; see `benchkit.runs.claims`.
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
from baselines.core.errors import Interrupt, is_interrupt
from benchkit.base.errors import BenchkitError
from benchkit.base.files import require_space
from benchkit.base.messages import Bar, Log, no_bar
from benchkit.base.outputs import writable_folder
from benchkit.runs import claims, records
from benchkit.runs.feature_check import FeatureCheck
from benchkit.runs.plan import (
    Grid,
    Job,
    Outcome,
    command,
    jobs_of,
    seeds_of,
    skipped_methods,
    stacks_of,
)
from benchkit.runs.run_log import RunLog
from benchkit.split.model import Split
from benchkit.training import inputs, rehearsal
from benchkit.training.guard import own_settings, place_of
from benchkit.training.inputs import TrainingSet
from benchkit.training.trainer import Score, Trained, count_epochs, scores, train
from leaderboard import curves, metrics
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
            many labels to evaluate; its features were changed after it was written; or the folder
            of records cannot be written, or its disk is too full.
    """
    if grid.selection == "val" and "val" not in grid.split.parts:
        raise BenchkitError(
            "--select val needs a validation part, and the split has none; make it with "
            "--val-fraction or --val-from left-out, or select the last epoch"
        )
    writable_folder(grid.out, log)
    records.remove_interrupted(grid.out, log)
    claims.remove_void(grid.out, log)
    outcome = Outcome(skipped=skipped_methods(grid))
    for key, reason in outcome.skipped.items():
        log(f"skipping {key}: {reason}")
    run_log, jobs = RunLog(grid.out), jobs_of(grid)
    folders = records.find(grid.out, {job.run_id for job in jobs}, log, _test_ids(grid))
    jobs = [replace(job, folder=folders.get(job.run_id)) for job in jobs]
    outcome.cached = [job.folder.name for job in jobs if job.folder is not None]
    if outcome.cached:
        log(f"{len(outcome.cached)} runs are already in {grid.out} and are kept")
    stacks = stacks_of(jobs, grid.recipe, stack_width(grid), records.stacked_runs)
    if not stacks:
        return outcome
    missing = len(jobs) - len(outcome.cached)
    run_log.write(f"{missing} runs to train in {len(stacks)} stacks, {len(outcome.cached)} kept")
    check_size(grid.split)
    needed = missing * records.space(grid.split.parts["test"].true.shape, _test_ids(grid))
    require_space(grid.out, needed, f"record {missing} runs in {grid.out}")
    check = FeatureCheck(grid.split, grid.fingerprints, grid.split_path)
    recipe = grid.recipe
    features = inputs.standardised(grid.split, recipe.standardise == "on", recipe.row_norm)
    data = inputs.training_set(grid.split, features["train"], grid.device, grid.embeddings)
    execution = _Execution(grid, features, data, outcome, log, bar, fail_fast, run_log, check)
    if [run_id for stack in stacks for run_id in execution.run(stack)]:
        # Another process may have ended before it trained its runs.
        left = execution.refreshed([job for job in jobs if job.run_id not in outcome.failed])
        for stack in stacks_of(left, grid.recipe, stack_width(grid), records.stacked_runs):
            outcome.busy += execution.run(stack)
    if outcome.busy:
        log(f"{len(outcome.busy)} runs are being trained by another process and are left to it")
    run_log.write(
        f"finished: {len(outcome.done)} runs done, {len(outcome.cached)} kept, "
        f"{len(outcome.failed)} failed, {len(outcome.busy)} left to another process"
    )
    return outcome


def _test_ids(grid: Grid) -> np.ndarray:
    return grid.split.parts["test"].ids


def stack_width(grid: Grid) -> int:
    """The number of runs in a stack, limited so that one value per label of each run fits."""
    images, classes = grid.split.parts["train"].true.shape
    return max(1, min(grid.width, label_tables.MOST_WHOLE // max(1, images * classes)))


def check_size(split: Split) -> None:
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
def threads(multiplications: int) -> Iterator[None]:
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
        run_log: the log of the folder of records.
        check: the check of the features, which must succeed before a record is written.
    """

    grid: Grid
    features: Mapping[str, np.ndarray]
    data: TrainingSet
    outcome: Outcome
    log: Log
    bar: Bar
    fail_fast: bool
    run_log: RunLog
    check: FeatureCheck

    def run(self, stack: list[Job]) -> list[str]:
        """Train the runs of a stack that no other process is training, and record each of them.

        Returns:
            The ids of the runs that another process is training.
        """
        missing = [job.run_id for job in stack if job.folder is None]
        with claims.claim(self.grid.out, missing) as claimed:
            busy = [run_id for run_id in missing if run_id not in claimed]
            free = self.refreshed([job for job in stack if job.run_id not in busy])
            # A single stack, or none if another process has recorded all of its runs meanwhile.
            for part in stacks_of(free, self.grid.recipe, len(stack), records.stacked_runs):
                width, classes = self.data.features.shape[-1], len(self.data.shot)
                batch = self.grid.recipe_of(part[0].spec).batch
                with threads(len(part) * batch * width * classes):
                    self._train_and_record(part)
        return busy

    def refreshed(self, jobs: list[Job]) -> list[Job]:
        """The jobs with the folders of records that another process has written meanwhile."""
        missing = [job.run_id for job in jobs if job.folder is None]
        folders = records.find_named(self.grid.out, missing, ids=_test_ids(self.grid))
        known = {*self.outcome.done, *self.outcome.cached}
        self.outcome.cached += [run_id for run_id in folders if run_id not in known]
        return [replace(job, folder=job.folder or folders.get(job.run_id)) for job in jobs]

    def _train_and_record(self, stack: list[Job]) -> None:
        """Train one stack, and record every run of it that has no record yet."""
        started = time.perf_counter()
        try:
            with own_settings(place_of(stack[0].spec.method), refuse=True):
                results = self._train(stack)
            Interrupt.raise_if_received()
        except BaseException as error:  # an error of a method fails its own runs only
            reason = self._reason(error, stack[0])
            for job in stack:
                if job.folder is None:
                    self._fail(job, reason)
            return
        self.check.confirm()
        test = torch.from_numpy(self.features["test"][:, 0]).to(self.grid.device)
        seconds = (time.perf_counter() - started) / len(stack)
        for job, result in zip(stack, results, strict=True):
            if job.folder is not None:
                continue
            logits = self._test_scores(job, result, test)
            if logits is None:
                self._fail(job, str(result.failure))
                continue
            record = self._record(job, result, logits, seconds, stack)
            try:
                records.write(self.grid.out, record, logits, _test_ids(self.grid), self.log)
            except records.NotRecordableError as error:
                self._fail(job, str(error))
                continue
            self.outcome.done.append(job.run_id)
            self.run_log.write(f"{_title([job])} (run {job.run_id}): done")

    def _reason(self, error: BaseException, job: Job) -> str:
        """The reason of a failure; raises what is no failure of the method.

        A method may raise anything, `SystemExit` included; only Ctrl-C ends the grid.
        """
        if self.fail_fast or is_interrupt(error):
            raise error
        return rehearsal.failure(error, job.spec.method)

    def _test_scores(self, job: Job, result: Trained, test: torch.Tensor) -> np.ndarray | None:
        """The test scores of a run; None if it has failed, with the reason in `result`."""
        if result.failure is not None:
            return None
        try:
            with own_settings(place_of(job.spec.method), refuse=True):
                logits = scores(result.method, result.run, test)
        except BaseException as error:
            result.failure = self._reason(error, job)
            return None
        shape = (len(test), len(self.data.shot))
        if logits.shape != shape:
            result.failure = (
                f"the test scores have the shape {list(logits.shape)}, not {list(shape)}"
            )
        elif not np.isfinite(logits).all():
            result.failure = "the test scores are not finite"
        return None if result.failure else logits

    def _train(self, stack: list[Job]) -> list[Trained]:
        spec = stack[0].spec
        recipe = self.grid.recipe_of(spec)
        methods = [job.spec.method(job.spec.hyper, recipe.make_head()) for job in stack]
        if spec.kind == "plugin":
            rehearsal.check(methods[0], self.data, recipe.epochs_of(len(self.data.features)))
        epochs = count_epochs(methods[0], self.data, recipe)
        title = _title(stack)
        self.run_log.write(f"{title}: started, {epochs} epochs")
        log_epoch = self.run_log.epochs(title, epochs)
        with self.bar(f"{spec.key} x {len(stack)}", epochs) as advance:

            def tick() -> None:
                advance(1)
                log_epoch()

            return train(
                methods,
                [job.seed for job in stack],
                self.data,
                recipe,
                score=self._score(),
                keep_best=self.grid.selection != "last",
                tick=tick,
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
        recorded_split = records.recorded_split(grid.split, grid.fingerprints)
        summary = Metrics.from_summary(metrics.summary(logits, labels, grid.split.shot))
        return Record(
            run_id=job.run_id,
            arguments=job.arguments,
            split=recorded_split,
            method=RecordedMethod(
                key=info.key,
                title=info.title,
                paper=info.paper,
                year=info.year,
                oracle=tuple(oracle),
                kind=job.spec.kind,
                # Parameters named `head.` are those of the recipe's head.
                own_head=not any(name.startswith("head.") for name in result.run.params),
            ),
            metrics=summary,
            environment=records.environment(grid.device, len(stack)),
            wall_seconds=seconds,
            command=command(grid, job.spec, stack),
            curve=tuple(result.curve),
            selected_epoch=result.selected_epoch,
            marks=curves.marks(result.curve, summary.map, recorded_split.chance),
        )

    def _fail(self, job: Job, reason: str) -> None:
        records.write_failure(self.grid.out, job.arguments, reason, self.log)
        self.outcome.failed[job.run_id] = reason
        self.log(f"{job.spec.key} seed {job.seed} failed: {reason}")
        self.run_log.write(f"{_title([job])} (run {job.run_id}): failed: {reason}")


def _title(stack: list[Job]) -> str:
    """The method and the seeds of a stack, for the log."""
    seeds = seeds_of(stack)
    listed = " ".join(map(str, seeds))
    title = f"{stack[0].spec.key} seed{'s' * (len(seeds) > 1)} {listed}"
    return title if len(seeds) == len(stack) else f"{title}, {len(stack)} runs"
