"""From a split file and a list of methods to run records: the grid, its stacks, its failures."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from baselines.core import Method
from benchkit import metrics, records
from benchkit.errors import BenchkitError
from benchkit.files import Say
from benchkit.recipe import Recipe
from benchkit.split_file import Split
from benchkit.stack import structure
from benchkit.terminal import make_folder
from benchkit.trainer import Trained, TrainingSet, scores, train
from splits import labels as matrices

SELECTIONS = ("last", "val", "test-oracle")
DEFAULT_WIDTH = 16
_MOST_LABELS = 1 << 31  # bytes: what training, which needs every label in memory, may take


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
        prints: its fingerprints.
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
    prints: Mapping[str, str]
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


def pick_device(name: str) -> str:
    """`auto` is cuda where there is one; asking for a cuda that is not there is an error."""
    if name == "cuda" and not torch.cuda.is_available():
        raise BenchkitError("--device cuda: torch finds no CUDA device here; use auto or cpu")
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


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
        raw[name] = part.features.astype(np.float32)
    if not on:
        return raw
    train_rows = raw["train"].reshape(-1, raw["train"].shape[-1])
    mean = train_rows.mean(0, dtype=np.float64)
    deviation = train_rows.std(0, dtype=np.float64)
    deviation[deviation < 1e-12] = 1.0
    return {name: ((x - mean) / deviation).astype(np.float32) for name, x in raw.items()}


def science_of(grid: Grid, spec: Spec, seed: int, recipe: Recipe) -> dict[str, Any]:
    """The scientific arguments of one run: what its id hashes."""
    science: dict[str, Any] = {
        "split": grid.prints["both"],
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


def _jobs(grid: Grid, recipe: Recipe, outcome: Outcome, say: Say) -> list[Job]:
    jobs = []
    regime = grid.split.regime.partition(":")[0]
    for spec in grid.specs:
        info = spec.method.info
        if info.regimes and regime not in info.regimes:
            meant = ", ".join(info.regimes)
            outcome.skipped[info.key] = f"meant for {meant} labels; this split is {regime}"
            say(f"skipping {info.key}: {outcome.skipped[info.key]}")
            continue
        for seed in grid.seeds:
            science = science_of(grid, spec, seed, recipe)
            identity = records.run_id(science)
            done = records.is_done(grid.out, identity)
            jobs.append(Job(spec, seed, science, identity, done))
            if done:
                outcome.cached.append(identity)
    if outcome.cached:
        say(f"{len(outcome.cached)} runs are already in {grid.out} and are kept")
    return jobs


def _stacks(jobs: Iterable[Job], recipe: Recipe, width: int, out: Path) -> list[list[Job]]:
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


def execute(
    grid: Grid, say: Say, bar: Callable[[str, int], Any] | None = None, fail_fast: bool = False
) -> Outcome:
    """Run what of a grid is missing.

    Args:
        grid: what was asked for.
        say: told of skipped, kept and failed runs.
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
    records.tidy(grid.out, say)
    stacks = _stacks(_jobs(grid, recipe, outcome, say), recipe, grid.width, grid.out)
    if not stacks:
        return outcome
    _check_size(grid.split)
    features = standardised(grid.split, recipe.standardise == "on")
    data = _training_set(grid, features["train"])
    for stack in stacks:
        work = len(stack) * recipe.batch * data.features.shape[-1] * data.observed.shape[1]
        with _threads(work):
            _execute_stack(grid, recipe, stack, data, features, outcome, say, bar, fail_fast)
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


def _check_size(split: Split) -> None:
    """Refuse label matrices that are stored sparsely and would not fit as arrays."""
    for name, part in split.parts.items():
        rows, classes = part.true.shape
        if isinstance(part.true, matrices.SparseLabels) and rows * classes > _MOST_LABELS:
            raise BenchkitError(
                f"split '{split.name}' has {rows} x {classes} labels in its {name} part, and at "
                f"most {_MOST_LABELS >> 30} GiB of them fit into training; make it with fewer "
                "images (--long-tail) or classes"
            )


def _training_set(grid: Grid, features: np.ndarray) -> TrainingSet:
    part, kind, level = grid.split.parts["train"], *grid.split.regime.partition(":")[::2]
    device = torch.device(grid.device)
    embeddings = None if grid.embeddings is None else torch.from_numpy(grid.embeddings).float()
    assert part.observed is not None  # `split_file.read` has checked the shapes
    return TrainingSet(
        features=torch.from_numpy(features).to(device),
        observed=torch.from_numpy(matrices.dense(part.observed)).to(device),
        true=torch.from_numpy(matrices.dense(part.true)).to(device),
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
    say: Say,
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
            _fail(grid, job, reason, outcome, say)
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
            _fail(grid, job, str(result.failure), outcome, say)
            continue
        record = _record(grid, recipe, job, result, logits, seconds, stack)
        records.write(grid.out, record, logits, grid.split.parts["test"].ids, say)
        outcome.done.append(job.identity)


def _fail(grid: Grid, job: Job, reason: str, outcome: Outcome, say: Say) -> None:
    records.write_failure(grid.out, job.science, reason, say)
    outcome.failed[job.identity] = reason
    say(f"{job.spec.method.info.key} seed {job.seed} failed: {reason}")


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
        "split": records.describe_split(grid.split, grid.prints),
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
        "command": _command(grid, recipe, job, stack),
    }


def _command(grid: Grid, recipe: Recipe, job: Job, stack: list[Job]) -> list[str]:
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
