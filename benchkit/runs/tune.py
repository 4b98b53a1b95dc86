"""Tuning: compare settings of each method on the validation part, and train the best one anew.

Every method gets the same number of draws (see `benchkit.runs.search`), each with the same seeds. A
draw is scored on the validation part after its last epoch, and never on the test part. The setting
with the best mean over seeds is then trained again as a run of its own, beside the default setting.

Trained draws are kept (see `benchkit.runs.draws`), so an interrupted search continues, and a search
with more draws trains only the new ones. Processes that share a folder of records share the draws.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchkit.base.errors import BenchkitError
from benchkit.base.messages import Bar, Log, no_bar
from benchkit.base.outputs import writable_folder
from benchkit.runs import claims, draws, records, search, workers
from benchkit.runs.draw_training import EPOCH, DrawTraining, draw_stacks
from benchkit.runs.draws import DrawResult
from benchkit.runs.execute import check_size, execute
from benchkit.runs.plan import Grid, Job, Outcome, Spec, reason_to_skip, run_arguments
from benchkit.runs.search import Setting
from benchkit.runs.selection import CHOSEN
from benchkit.training import recipe as recipes
from leaderboard.arguments import SEARCHED

_PAUSE = 1.0  # seconds between two looks at the draws of another process


@dataclass(frozen=True)
class Search:
    """A search that a call asks for.

    Attributes:
        grid: the methods with their default hyperparameters and recipe, the seeds, and the
            selection rule `last`. The explicit hyperparameters of a method are not drawn.
        draws: the number of settings per method, including the default.
        select: the score that chooses, one of `options.SEARCH_SELECTIONS`.
        fixed_recipe: the recipe fields that are not drawn.
    """

    grid: Grid
    draws: int
    select: str
    fixed_recipe: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Choice:
    """The chosen setting of one method.

    Attributes:
        method: the key of the method.
        draw: the number of the chosen draw; 0 is the default.
        draws: the number of draws.
        changes: the values that differ from the default, by name.
        default_score: the validation score of the default, mean over seeds; None if it has none.
        score: that of the chosen setting.
    """

    method: str
    draw: int
    draws: int
    changes: Mapping[str, Any]
    default_score: float | None
    score: float


@dataclass
class Tuning:
    """The results of a search.

    Attributes:
        outcome: the run ids of the default and the tuned rows by outcome. Among the failures is one
            entry for each method without a choice, with the id of its first draw.
        choices: one per method, except for methods whose draws raised an exception or have no
            score.
    """

    outcome: Outcome
    choices: list[Choice] = field(default_factory=list)


@dataclass(frozen=True)
class _Candidate:
    """One method of a search with its settings and their runs, one list of runs per draw."""

    spec: Spec
    settings: list[Setting]
    jobs: list[list[Job]]


def tune(request: Search, log: Log, bar: Bar = no_bar) -> Tuning:
    """Search the settings of every method, and train the default and the best setting.

    Args:
        request: the search.
        log: called with messages about kept, failed and running draws.
        bar: makes the progress bars.

    Returns:
        The choices and the run ids.

    Raises:
        BenchkitError: the split has no validation part, no features, or too many labels to
            evaluate; its features were changed after it was written; or the folder of records
            cannot be written.
    """
    grid = request.grid
    if "val" not in grid.split.parts:
        raise BenchkitError(
            f"tune chooses by the validation part, and split '{grid.split.name}' has none; make it "
            "with --val-fraction 0.2, or with --val-from left-out if it has a long tail"
        )
    check_size(grid.split)
    writable_folder(grid.out, log)
    records.remove_interrupted(grid.out, log)
    draws.remove_interrupted(grid.out, log)
    claims.remove_void(grid.out, log)
    candidates = [
        _candidate(request, spec)
        for spec in grid.specs
        if reason_to_skip(spec, grid.split.regime.kind) is None
    ]
    results, failed = _train(request, candidates, log, bar)
    tuning, specs = Tuning(Outcome()), list(grid.specs)
    untuned: dict[str, str] = {}
    for candidate in candidates:
        errors = [
            failed[job.run_id] for runs in candidate.jobs for job in runs if job.run_id in failed
        ]
        chosen = None if errors else _choose(request, candidate, results)
        if chosen is None:
            reason = errors[0] if errors else "no draw has a validation score"
            log(f"{candidate.spec.key} is not tuned: {reason}")
            untuned[candidate.jobs[0][0].run_id] = reason
            continue
        choice, spec = chosen
        tuning.choices.append(choice)
        specs.insert(specs.index(candidate.spec) + 1, spec)
    tuning.outcome = execute(replace(grid, specs=specs), log, bar)
    tuning.outcome.failed |= untuned
    return tuning


def fixed_fields(arguments: Sequence[str | Mapping[str, Any]]) -> frozenset[str]:
    """The recipe fields that some arguments of `--recipe` set.

    A named recipe sets all fields, except for the default recipe.
    """
    names: set[str] = set()
    for argument in arguments:
        if isinstance(argument, Mapping):
            names |= argument.keys()
        elif "=" in argument:
            names.add(argument.partition("=")[0].strip())
        elif argument.endswith(".toml"):
            names |= recipes.read_toml(Path(argument)).keys()
        elif recipes.RECIPES[argument][1] != recipes.Recipe():
            names |= {entry.name for entry in recipes.FIELDS}
    return frozenset(names)


# ----------------------------------------------------------------------------- before training


def _candidate(request: Search, spec: Spec) -> _Candidate:
    grid, regime = request.grid, request.grid.split.regime.kind
    oracles = set(spec.method(spec.hyper).oracle())

    def allowed(hyper: Any) -> bool:
        """Whether a draw suits the labels, and needs no hidden truth beyond that of the default."""
        try:
            is_meant = reason_to_skip(replace(spec, hyper=hyper), regime) is None
            return is_meant and set(spec.method(hyper).oracle()) <= oracles
        except Exception:  # a plugin may refuse a combination
            return False

    settings = search.settings(
        spec.method,
        spec.hyper,
        grid.recipe,
        request.draws,
        fixed=spec.explicit,
        fixed_recipe=request.fixed_recipe,
        allowed=allowed,
    )
    jobs = []
    for setting in settings:
        drawn = replace(spec, hyper=setting.hyper, recipe=setting.recipe)
        jobs.append([Job(drawn, run_arguments(grid, drawn, seed)) for seed in grid.seeds])
    return _Candidate(spec, settings, jobs)


# ----------------------------------------------------------------------------- training


def _train(
    request: Search, candidates: Sequence[_Candidate], log: Log, bar: Bar
) -> tuple[dict[str, DrawResult], dict[str, str]]:
    """Train the draws that have no file yet.

    Returns:
        Run id -> trained draw, and run id -> reason of those that raised an exception.
    """
    grid = request.grid
    # Equal settings have one id, and are trained once.
    jobs = {job.run_id: job for c in candidates for runs in c.jobs for job in runs}
    estimator = CHOSEN[grid.split.regime.kind]
    results = draws.read(grid.out, jobs, estimator, log)
    missing = [job for run_id, job in jobs.items() if run_id not in results]
    log(f"{len(jobs)} runs of draws: {len(missing)} to train, {len(results)} kept")
    failed: dict[str, str] = {}
    if not missing:
        return results, failed
    training = DrawTraining.of(grid)
    is_waiting = False
    while missing:
        stacks = draw_stacks(missing, grid)
        before = len(missing)
        failed |= _pass(training, stacks, bar)
        results |= draws.read(grid.out, [job.run_id for job in missing], estimator, log)
        missing = [job for job in missing if job.run_id not in {*results, *failed}]
        if len(missing) == before:
            if not is_waiting:
                log(f"waiting for {len(missing)} draws that another process is training")
            is_waiting = True
            time.sleep(_PAUSE)
    return results, failed


def _pass(training: DrawTraining, stacks: Sequence[Sequence[Job]], bar: Bar) -> dict[str, str]:
    """Train all stacks that no other process is training; returns run id -> reason of failures."""
    failed: dict[str, str] = {}
    epochs = [training.epochs(stack) for stack in stacks]
    order = sorted(range(len(stacks)), key=lambda k: -len(stacks[k]) * epochs[k])
    total = sum(epochs)

    def work(send: workers.Send) -> None:
        for index in order:
            training.run(stacks[index], send)

    with bar(f"{sum(map(len, stacks))} runs of draws", total) as advance:

        def receive(message: Any) -> None:
            if message == EPOCH:
                advance(1)
            else:
                failed.update(message)

        workers.run(workers.worker_count(len(stacks)), work, receive)
    return failed


# ----------------------------------------------------------------------------- after training


def _choose(
    request: Search, candidate: _Candidate, results: Mapping[str, DrawResult]
) -> tuple[Choice, Spec] | None:
    """The best draw of a method, of equal ones the first; None if no draw has a score."""
    means = [
        statistics.fmean(results[job.run_id].score(request.select) for job in runs)
        for runs in candidate.jobs
    ]
    best = max(range(len(means)), key=lambda draw: means[draw])
    if means[best] == -math.inf:
        return None
    spec, setting = candidate.spec, candidate.settings[best]
    choice = Choice(
        method=spec.key,
        draw=best,
        draws=request.draws,
        changes=_changes(candidate.settings[0], setting),
        default_score=None if means[0] == -math.inf else means[0],
        score=means[best],
    )
    tuned = replace(
        spec,
        hyper=setting.hyper,
        recipe=setting.recipe,
        search={
            "protocol": search.PROTOCOL,
            "draws": request.draws,
            "seeds": len(request.grid.seeds),
            "select": request.select,
            "draw": best,
        },
        fixed=_fixed_options(request, spec),
    )
    return choice, tuned


def _changes(default: Setting, setting: Setting) -> dict[str, Any]:
    """The values of a setting that differ from the default, by name."""
    pairs = (
        (dataclasses.asdict(default.hyper), dataclasses.asdict(setting.hyper)),
        (default.recipe.values(), setting.recipe.values()),
    )
    return {name: value for old, new in pairs for name, value in new.items() if value != old[name]}


def _fixed_options(request: Search, spec: Spec) -> tuple[str, ...]:
    """The options of `benchkit tune` that fix the same values."""
    recipe = request.grid.recipe
    values, departures = recipe.values(), recipes.departures(recipe)
    names = [n for n in values if n in departures or (n in request.fixed_recipe and n in SEARCHED)]
    options: list[str] = []
    for name in sorted(spec.explicit):
        options += ["--set", f"{spec.key}.{name}={getattr(spec.hyper, name)}"]
    for name in names:
        options += ["--recipe", f"{name}={values[name]}"]
    return tuple(options)
