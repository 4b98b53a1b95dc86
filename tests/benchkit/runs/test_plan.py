"""The plan of a grid: run ids, the command that repeats a run, and stacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest

from baselines.asl import ASL
from baselines.asl import Hyper as ASLHyper
from baselines.bce import BCE
from baselines.core.info import REGIMES
from benchkit.base.fields import Field
from benchkit.runs.plan import Grid, Job, Spec, command, jobs_of, run_arguments, stacks_of
from benchkit.split.model import Split
from benchkit.training import recipe as recipes
from benchkit.training.recipe import Recipe
from leaderboard.record import SHOTS
from splits.regimes import KINDS
from splits.shots import SHOT_NAMES

ToyMaker = Callable[..., Split]
SPEC = Spec(ASL, ASLHyper(clip=0.1))


@pytest.fixture(scope="module")
def grid(make_toy: ToyMaker) -> Grid:
    return Grid(
        split_path=Path("a.h5"),
        split=make_toy(),
        fingerprints={"labels": "aa" * 32, "both": "bb" * 32},
        specs=[SPEC],
        seeds=[0, 1],
        recipe=Recipe(epochs=2),
        selection="last",
        device="cpu",
        out=Path("runs"),
    )


def run_id(grid: Grid, spec: Spec = SPEC, seed: int = 0) -> str:
    return run_arguments(grid, spec, seed).run_id


def test_run_ids_never_change(grid: Grid) -> None:
    grid = replace(grid, recipe=recipes.parse(["features-v1", "epochs=2"]))
    assert run_id(grid) == "6b89e937e69a9c17"
    defaults = replace(grid, recipe=recipes.DEFAULTS["1"])
    assert run_id(defaults, Spec(ASL, ASLHyper()), seed=5) == "ec7a4d67d422112a"
    assert run_id(replace(grid, embeddings_digest="00")) == "4ab517b88a075e6b"


def test_the_arguments_hold_every_value_and_name_the_departures(grid: Grid) -> None:
    arguments = run_arguments(grid, SPEC, 0)
    assert arguments.hyperparameters == asdict(SPEC.hyper)
    assert arguments.recipe == grid.recipe.values()
    assert arguments.split == "bb" * 32
    assert arguments.departures is not None
    assert arguments.departures.recipe_defaults == "2"
    assert arguments.departures.recipe == ("epochs",)
    assert arguments.departures.hyperparameters == ("clip",)
    assert arguments.identity["hyperparameters"] == {"clip": 0.1}
    assert arguments.identity["recipe"] == {"epochs": 2}


def test_paths_and_devices_are_not_in_the_run_id(grid: Grid) -> None:
    moved = replace(
        grid,
        split_path=Path("/elsewhere/b.h5"),
        device="cuda",
        out=Path("/elsewhere/runs"),
        width=1,
        embeddings_path=Path("/elsewhere/c.npy"),
        plugins=(Path("/elsewhere/p.py"),),
        seeds=[0, 1, 2],
    )
    assert run_id(moved) == run_id(grid)
    assert run_id(grid, seed=1) != run_id(grid)


def test_the_current_defaults_are_those_of_the_recipe() -> None:
    assert recipes.DEFAULTS[Recipe().defaults] == Recipe()
    assert recipes.departures(Recipe()) == {}


@dataclass(frozen=True)
class LongerRecipe(Recipe):
    """A recipe to which a later version added a field."""

    accumulate: int = 1


@dataclass(frozen=True)
class LongerHyper(ASLHyper):
    """Hyperparameters to which a later version added one."""

    margin: float = 0.0


class LongerASL(ASL):
    """ASL with the added hyperparameter."""

    Hyper = LongerHyper


def test_a_field_that_is_added_later_changes_no_run_id(
    grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = run_id(grid)
    monkeypatch.setattr(recipes, "FIELDS", (*recipes.FIELDS, Field("accumulate", 1)))
    monkeypatch.setitem(recipes.DEFAULTS, "2", LongerRecipe())
    longer = replace(grid, recipe=LongerRecipe(epochs=2))
    spec = Spec(LongerASL, LongerHyper(clip=0.1))
    arguments = run_arguments(longer, spec, 0)
    assert arguments.recipe["accumulate"] == 1
    assert arguments.hyperparameters["margin"] == 0.0
    assert arguments.run_id == before
    assert run_id(replace(grid, recipe=LongerRecipe(epochs=2, accumulate=4))) != before
    assert run_id(longer, Spec(LongerASL, LongerHyper(clip=0.1, margin=1.0))) != before


def test_the_command_names_the_departures_and_the_seeds_of_the_stack(grid: Grid) -> None:
    assert command(grid, SPEC, jobs_of(grid)) == (
        *("benchkit", "run", "--split", "a.h5", "--method", "asl", "--seed", "0", "--seed", "1"),
        *("--set", "asl.clip=0.1", "--recipe", "epochs=2", "--select", "last", "--out", "runs"),
    )


def test_a_method_may_have_a_recipe_and_a_search_of_its_own(grid: Grid) -> None:
    searched = {"protocol": "random-1", "draws": 4, "seeds": 2, "select": "val", "draw": 3}
    fixed = ("--set", "asl.clip=0.1")
    spec = replace(SPEC, recipe=Recipe(epochs=3), search=searched, fixed=fixed)
    arguments = run_arguments(grid, spec, 0)
    assert arguments.recipe["epochs"] == 3
    assert arguments.search == searched
    assert arguments.run_id != run_arguments(grid, replace(spec, search={}), 0).run_id
    assert command(grid, spec, [Job(spec, arguments)]) == (
        *("benchkit", "tune", "--split", "a.h5", "--method", "asl", "--draws", "4"),
        *("--seeds", "2", "--select", "val", "--set", "asl.clip=0.1", "--out", "runs"),
    )
    jobs = jobs_of(replace(grid, specs=[SPEC, replace(SPEC, recipe=Recipe(epochs=3)), spec]))
    stacks = stacks_of(jobs, grid.recipe, 16, lambda folder: 1)
    assert [len(stack) for stack in stacks] == [2, 2, 2]


def test_a_grid_of_values_shares_a_stack_and_its_commands_do_not(grid: Grid) -> None:
    specs = [Spec(ASL, ASLHyper(clip=clip)) for clip in (0.0, 0.1)]
    jobs = jobs_of(replace(grid, specs=specs))
    (stack,) = stacks_of(jobs, grid.recipe, 16, lambda folder: 1)
    assert len(stack) == 4
    assert command(grid, specs[1], stack) == command(grid, specs[1], stack[2:])


def test_stacks_hold_the_missing_runs_of_one_method(grid: Grid) -> None:
    specs = [Spec(BCE, BCE.Hyper()), SPEC]
    jobs = jobs_of(replace(grid, specs=specs, seeds=[0, 1, 2]))
    assert [(job.spec.key, job.seed) for job in jobs] == [
        *(("bce", seed) for seed in (0, 1, 2)),
        *(("asl", seed) for seed in (0, 1, 2)),
    ]

    def stacks(jobs: list[Job], width: int, recorded_width: int = 1) -> list[list[int]]:
        stacks = stacks_of(jobs, grid.recipe, width, lambda folder: recorded_width)
        return [[job.seed for job in stack] for stack in stacks]

    assert stacks(jobs, width=16) == [[0, 1, 2], [0, 1, 2]]
    assert stacks(jobs, width=2) == [[0, 1], [2], [0, 1], [2]]
    bce = [replace(jobs[0], folder=Path("runs/0")), jobs[1], jobs[2]]
    assert stacks(bce, width=16) == [[1, 2]]
    # The record says that three runs were trained together: its stack was interrupted.
    assert stacks(bce, width=16, recorded_width=3) == [[0, 1, 2]]
    done = [replace(job, folder=Path("runs/0")) for job in jobs]
    assert stacks(done, width=16, recorded_width=3) == []


def test_records_and_splits_name_the_same_shot_groups() -> None:
    assert SHOTS == SHOT_NAMES
    assert REGIMES == KINDS
