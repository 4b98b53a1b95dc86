"""A grid of runs: what was asked for, which runs are missing, how they are stacked, their ids."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from baselines.core import Method
from benchkit.base.files import Log
from benchkit.runs import records
from benchkit.split.model import Split
from benchkit.training.recipe import Recipe
from benchkit.training.stack import structure
from leaderboard import metrics

DEFAULT_WIDTH = 16  # runs per stack
SELECTIONS = ("last", "val", "test-oracle")


@dataclass(frozen=True)
class Spec:
    """One method with its hyperparameters, as the user asked for it.

    Attributes:
        method: the class.
        hyper: an instance of its `Hyper`.
        kind: builtin or plugin.
        version: the method's version; of a plugin, with a digest of its file.
    """

    method: type[Method]
    hyper: Any
    kind: str = "builtin"
    version: str = "1"


@dataclass(frozen=True)
class Grid:
    """Everything that `benchkit run` was asked for.

    Attributes:
        split_path: the split file; part of the command that repeats a run, not of its identity.
        split: the split in memory, features included.
        fingerprints: its fingerprints.
        specs: the methods.
        seeds: one run per method and seed.
        recipe: the same for all.
        selection: last, val or test-oracle.
        device: a torch device name.
        out: the folder of records.
        width: the most runs in one stack.
        embeddings: float [C, E] or None, and the digest of their file.
        plugins: plugin files, for the command that repeats a run.
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


@dataclass(frozen=True)
class Job:
    """One run of the grid; `done` where its record exists."""

    spec: Spec
    seed: int
    science: dict[str, Any]
    identity: str
    done: bool = False


@dataclass
class Outcome:
    """What became of a grid: run ids by fate, and why methods were skipped."""

    done: list[str] = dataclasses.field(default_factory=list)
    cached: list[str] = dataclasses.field(default_factory=list)
    failed: dict[str, str] = dataclasses.field(default_factory=dict)
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)


def science_of(grid: Grid, spec: Spec, seed: int, recipe: Recipe) -> dict[str, Any]:
    """The scientific arguments of one run: what its id hashes."""
    science: dict[str, Any] = {
        "split": grid.fingerprints["both"],
        "method": spec.method.info.key,
        "method_version": spec.version,
        "hyperparameters": dataclasses.asdict(spec.hyper),
        "recipe": dataclasses.asdict(recipe),
        "seed": seed,
        "selection": grid.selection,
        "metric_version": metrics.METRIC_VERSION,
    }
    if grid.embeddings_digest is not None:
        science["inputs"] = {"class_embeddings": grid.embeddings_digest}
    return science


def plugin_version(version: str, path: Path) -> str:
    """A plugin's version: its own word and what its file says, so that an edit is a new run."""
    return f"{version}+{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"


def jobs_of(grid: Grid, recipe: Recipe, outcome: Outcome, log: Log) -> list[Job]:
    """Every run of the grid with its id; methods that do not fit the split are skipped aloud."""
    jobs = []
    regime = grid.split.regime.partition(":")[0]
    for spec in grid.specs:
        info, meant_for = spec.method.info, spec.method(spec.hyper).regimes()
        if meant_for and regime not in meant_for:
            meant = ", ".join(meant_for)
            outcome.skipped[info.key] = f"meant for {meant} labels; this split is {regime}"
            log(f"skipping {info.key}: {outcome.skipped[info.key]}")
            continue
        for seed in grid.seeds:
            science = science_of(grid, spec, seed, recipe)
            identity = records.run_id(science)
            done = records.is_done(grid.out, identity)
            jobs.append(Job(spec, seed, science, identity, done))
            if done:
                outcome.cached.append(identity)
    if outcome.cached:
        log(f"{len(outcome.cached)} runs are already in {grid.out} and are kept")
    return jobs


def stacks_of(jobs: Iterable[Job], recipe: Recipe, width: int, out: Path) -> list[list[Job]]:
    """The jobs to train, stack by stack.

    The width of a stack may show in the last bits of its runs. One that was stopped between its
    records is therefore trained as a whole again, for the records that are missing.
    """
    groups: dict[Any, list[Job]] = {}
    for job in jobs:
        method = job.spec.method(job.spec.hyper, recipe.make_head())
        groups.setdefault(structure(method), []).append(job)
    stacks = []
    for group in groups.values():
        for k in range(0, len(group), width):
            whole = group[k : k + width]
            missing = [job for job in whole if not job.done]
            stopped = any(_stack_width(out, job) == len(whole) for job in whole if job.done)
            stacks.append(whole if missing and stopped else missing)
    return [stack for stack in stacks if stack]


def _stack_width(out: Path, job: Job) -> int:
    """How many runs were trained with a recorded one; 0 where its record does not say."""
    try:
        record = json.loads((out / job.identity / "run.json").read_text(encoding="utf-8"))
        return int(record["environment"]["stacked_runs"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def command(grid: Grid, recipe: Recipe, job: Job, stack: list[Job]) -> list[str]:
    """The exact command that repeats one run, with the seeds that were trained beside it."""
    key = job.spec.method.info.key
    words = ["benchkit", "run", "--split", str(grid.split_path), "--method", key]
    for other in stack:
        words += ["--seed", str(other.seed)]
    if len(stack) > DEFAULT_WIDTH:
        words += ["--stack", str(len(stack))]
    default = job.spec.method.Hyper()
    for name, value in dataclasses.asdict(job.spec.hyper).items():
        if value != getattr(default, name):
            words += ["--set", f"{key}.{name}={value}"]
    for name, value in dataclasses.asdict(recipe).items():
        if value != getattr(Recipe(), name):
            words += ["--recipe", f"{name}={value}"]
    words += ["--select", grid.selection]
    for path in grid.plugins:
        words += ["--plugin", str(path)]
    if grid.embeddings_path is not None:
        words += ["--class-embeddings", str(grid.embeddings_path)]
    return [*words, "--out", str(grid.out)]
