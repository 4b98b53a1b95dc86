"""The plan of a grid: its runs, their arguments and run ids, and how they are stacked.

Nothing is read, trained or written here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from baselines.core import Method
from benchkit.runs.options import DEFAULT_WIDTH
from benchkit.split.model import Split
from benchkit.training import recipe as recipes
from benchkit.training.recipe import Recipe
from benchkit.training.stack import structure
from leaderboard.metrics import METRIC_VERSION
from leaderboard.record import Departures, RunArguments


@dataclass(frozen=True)
class Spec:
    """One method with its hyperparameters.

    Attributes:
        method: the class.
        hyper: an instance of its `Hyper`.
        kind: `builtin` or `plugin`.
        version: the method's version; for a plugin, with a digest of its source.
        explicit: the hyperparameters whose defaults do not follow the label regime, because they
            were set.
        recipe: the recipe of its runs; None for that of the grid.
        search: how hyperparameters and recipe were chosen, see `RunArguments.search`; empty if they
            were not searched.
        fixed: the options of `benchkit tune` that set values, for the command of a tuned run.
    """

    method: type[Method]
    hyper: Any
    kind: str = "builtin"
    version: str = "1"
    explicit: frozenset[str] = frozenset()
    recipe: Recipe | None = None
    search: Mapping[str, Any] = field(default_factory=dict)
    fixed: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The key of the method."""
        return self.method.info.key

    def departures(self) -> dict[str, Any]:
        """The hyperparameters that differ from their defaults, by name."""
        defaults = dataclasses.asdict(self.method.Hyper())
        values = dataclasses.asdict(self.hyper)
        return {name: value for name, value in values.items() if value != defaults[name]}


@dataclass(frozen=True)
class Grid:
    """The runs that a call asks for: methods x seeds on one split, with one recipe.

    Attributes:
        split_path: the split file; part of a run's command, not of its identity.
        split: the split in memory, with its features.
        fingerprints: its fingerprints.
        specs: the methods.
        seeds: the seeds; one run per method and seed.
        recipe: the recipe of all runs whose method has none of its own. Fields that change the
            features are the same in all recipes.
        selection: the selection rule: last, val or test-oracle.
        device: the name of a torch device.
        out: the folder of records.
        width: the maximum number of runs in one stack.
        embeddings: class embeddings, float [C, E], or None.
        embeddings_digest: the digest of `embeddings`, or None.
        embeddings_path: the file of `embeddings`, for the command.
        plugins: the plugin files, for the command.
    """

    split_path: Path
    split: Split
    fingerprints: Mapping[str, str]
    specs: list[Spec]
    seeds: list[int]
    recipe: Recipe
    selection: str
    device: str
    out: Path
    width: int = DEFAULT_WIDTH
    embeddings: np.ndarray | None = None
    embeddings_digest: str | None = None
    embeddings_path: Path | None = None
    plugins: tuple[Path, ...] = ()

    def recipe_of(self, spec: Spec) -> Recipe:
        """The recipe of the runs of a method."""
        return spec.recipe or self.recipe


@dataclass(frozen=True)
class Job:
    """One run of a grid.

    Attributes:
        spec: its method.
        arguments: its arguments.
        folder: the folder of its record, or None if there is none yet.
    """

    spec: Spec
    arguments: RunArguments
    folder: Path | None = None

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self.arguments.run_id

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.arguments.seed


@dataclass
class Outcome:
    """The results of a grid.

    Attributes:
        done: ids of the runs that were trained.
        cached: ids of the records that existed already.
        failed: run id -> reason.
        skipped: method key -> reason.
        busy: ids of the runs that another process is training.
    """

    done: list[str] = field(default_factory=list)
    cached: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    busy: list[str] = field(default_factory=list)


def run_arguments(grid: Grid, spec: Spec, seed: int) -> RunArguments:
    """The arguments that decide the numbers of one run.

    Paths, devices and the width of a stack are not among them.
    """
    digest, recipe = grid.embeddings_digest, grid.recipe_of(spec)
    return RunArguments(
        split=grid.fingerprints["both"],
        method=spec.key,
        method_version=spec.version,
        hyperparameters=dataclasses.asdict(spec.hyper),
        recipe=recipe.values(),
        seed=seed,
        selection=grid.selection,
        metric_version=METRIC_VERSION,
        inputs={} if digest is None else {"class_embeddings": digest},
        departures=Departures(
            recipe_defaults=recipe.defaults,
            recipe=tuple(recipes.departures(recipe)),
            hyperparameters=tuple(spec.departures()),
        ),
        search=spec.search,
    )


def skipped_methods(grid: Grid) -> dict[str, str]:
    """Method key -> reason, for the methods that are not meant for the split's label regime."""
    regime = grid.split.regime.kind
    reasons = ((spec.key, reason_to_skip(spec, regime)) for spec in grid.specs)
    return {key: reason for key, reason in reasons if reason is not None}


def reason_to_skip(spec: Spec, regime: str) -> str | None:
    """Why a method with its hyperparameters is not meant for a label regime; None if it is."""
    supported = spec.method(spec.hyper).regimes()
    if not supported or regime in supported:
        return None
    return f"meant for {', '.join(supported)} labels; this split is {regime}"


def jobs_of(grid: Grid) -> list[Job]:
    """The runs of a grid, without those of skipped methods."""
    return [
        Job(spec, run_arguments(grid, spec, seed))
        for spec in grid.specs
        if reason_to_skip(spec, grid.split.regime.kind) is None
        for seed in grid.seeds
    ]


def stacks_of(
    jobs: Iterable[Job], recipe: Recipe, width: int, stacked_runs: Callable[[Path], int]
) -> list[list[Job]]:
    """The runs to train, stack by stack.

    Only runs without a record are trained, with one exception. The number of runs in a stack can
    change their last bits, so a stack that was interrupted between two of its records is trained
    again with all of its runs.

    Args:
        jobs: the runs, with the folders of their records.
        recipe: the recipe of all runs whose method has none of its own.
        width: the maximum number of runs in a stack.
        stacked_runs: the number of runs in the stack of a recorded run, by its folder.
    """
    groups: dict[Any, list[Job]] = {}
    for job in jobs:
        own = job.spec.recipe or recipe
        method = job.spec.method(job.spec.hyper, own.make_head())
        # The rows of a search train apart, so that default rows equal those of `benchkit run`.
        key = (structure(method), own, bool(job.spec.search))
        groups.setdefault(key, []).append(job)
    stacks = []
    for group in groups.values():
        for start in range(0, len(group), width):
            stack = group[start : start + width]
            missing = [job for job in stack if job.folder is None]
            folders = [job.folder for job in stack if job.folder is not None]
            interrupted = any(stacked_runs(folder) == len(stack) for folder in folders)
            stacks.append(stack if missing and interrupted else missing)
    return [stack for stack in stacks if stack]


def seeds_of(jobs: Iterable[Job]) -> list[int]:
    """The seeds of some runs, each once."""
    return list(dict.fromkeys(job.seed for job in jobs))


def command(grid: Grid, spec: Spec, stack: Sequence[Job]) -> tuple[str, ...]:
    """The command that repeats a run, with all seeds of its stack."""
    name = "tune" if spec.search else "run"
    arguments = ["benchkit", name, "--split", str(grid.split_path), "--method", spec.key]
    arguments += _search_options(spec) if spec.search else _run_options(grid, spec, stack)
    for path in grid.plugins:
        arguments += ["--plugin", str(path)]
    if grid.embeddings_path is not None:
        arguments += ["--class-embeddings", str(grid.embeddings_path)]
    return (*arguments, "--out", str(grid.out))


def _run_options(grid: Grid, spec: Spec, stack: Sequence[Job]) -> list[str]:
    """The options of `benchkit run` that repeat a stack."""
    options = []
    for seed in seeds_of(job for job in stack if job.spec == spec):
        options += ["--seed", str(seed)]
    if len(stack) > DEFAULT_WIDTH:
        options += ["--stack", str(len(stack))]
    for name, value in spec.departures().items():
        options += ["--set", f"{spec.key}.{name}={value}"]
    recipe = grid.recipe_of(spec)
    if recipe.defaults != Recipe().defaults:
        options += ["--recipe", recipes.DEFAULT_NAMES[recipe.defaults]]
    for name, value in recipes.departures(recipe).items():
        options += ["--recipe", f"{name}={value}"]
    return [*options, "--select", grid.selection]


def _search_options(spec: Spec) -> list[str]:
    """The options of `benchkit tune` that repeat a search."""
    names = ("draws", "seeds", "select")
    options = [text for name in names for text in (f"--{name}", str(spec.search[name]))]
    return [*options, *spec.fixed]
