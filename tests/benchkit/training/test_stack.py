"""Stacks: R runs as one program give the numbers of R runs alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from toy_training import method_info

from baselines.asl import ASL
from baselines.asl import Hyper as ASLHyper
from baselines.bce import BCE
from baselines.core import Batch, Clock, LabelTable, Method, Problem, Run, Setup, Step
from baselines.core.contract import last_write
from baselines.core.draw import Draw as DrawInterface
from baselines.core.heads import HiddenHead, LinearHead
from benchkit.base.draw import Draw
from benchkit.training.inputs import TrainingSet
from benchkit.training.recipe import Recipe
from benchkit.training.stack import Stack, structure
from benchkit.training.trainer import train

SEEDS = [3, -1, 2**63 + 5]


RECIPES = {
    "sgd": Recipe(
        optimiser="sgd", lr=0.5, momentum=0.9, weight_decay=1e-2, clip=0.1, epochs=3, batch=8
    ),
    "adam": Recipe(optimiser="adam", lr=0.05, weight_decay=1e-2, epochs=3, batch=8),
    "adamw": Recipe(optimiser="adamw", lr=0.05, weight_decay=0.1, clip=0.5, epochs=3, batch=8),
}
HYPERS = [
    ASLHyper(),
    ASLHyper(gamma_negative=1.0, clip=0.2),
    ASLHyper(gamma_positive=2.0, clip=0.0),
]


@pytest.mark.parametrize("head", [LinearHead(), LinearHead(scaled=True), HiddenHead(7)])
@pytest.mark.parametrize("name", RECIPES)
def test_a_stack_equals_its_runs_alone(
    data: TrainingSet, name: str, head: LinearHead | HiddenHead
) -> None:
    methods: list[Method] = [ASL(hyper, head) for hyper in HYPERS]
    together = train(methods, SEEDS, data, RECIPES[name])
    for method, seed, stacked in zip(methods, SEEDS, together, strict=True):
        (alone,) = train([method], [seed], data, RECIPES[name])
        assert stacked.method is method
        assert stacked.run.params.keys() == alone.run.params.keys()
        for key, value in alone.run.params.items():
            torch.testing.assert_close(stacked.run.params[key], value, rtol=1e-5, atol=1e-5)
        for mine, theirs in zip(stacked.curve, alone.curve, strict=True):
            assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
    # The float hyperparameters matter: three runs with the same seed end differently.
    same_seed = train(methods, [3, 3, 3], data, RECIPES[name])
    ends = [result.run.params["head.weight"] for result in same_seed]
    assert (ends[0] - ends[1]).abs().max() > 1e-3
    assert (ends[0] - ends[2]).abs().max() > 1e-3


def test_a_run_does_not_depend_on_the_runs_beside_it(data: TrainingSet) -> None:
    one = train([BCE() for _ in range(3)], [1, 2, 3], data, RECIPES["adam"])
    two = train([BCE() for _ in range(3)], [9, 2, 8], data, RECIPES["adam"])
    for key, value in one[1].run.params.items():
        assert torch.equal(two[1].run.params[key], value)
        assert not torch.equal(two[0].run.params[key], one[0].run.params[key])


# ----------------------------------------------------------------------------- state and memory


class Ledger(Method):
    """State: the number of steps and the sum of draws. Memory: the last position of each row.

    The position is the place in the batch plus 10 per step.
    """

    info = method_info("ledger")

    def setup(self, problem: Problem, draw: DrawInterface) -> Setup:
        setup = super().setup(problem, draw)
        setup.state = {"steps": torch.zeros(()), "drawn": torch.zeros(2), "kept": torch.ones(1)}
        setup.memory = {"position": torch.full((problem.num_images,), -1, dtype=torch.int64)}
        setup.constants = {"half": torch.tensor(0.5)}
        return setup

    def step(self, run: Run, batch: Batch, clock: Clock, draw: DrawInterface) -> Step:
        position = torch.arange(len(batch.rows)) + 10 * run.state["steps"]
        return Step(
            self.logits(run, batch.features).square().mean() * run.constants["half"],
            {"steps": run.state["steps"] + 1, "drawn": run.state["drawn"] + draw.uniform("x", 2)},
            {"position": position},
        )


def ledger_stack(count: int) -> Stack:
    problem = Problem(LabelTable.of(torch.zeros(6, 3, dtype=torch.int8)), 2, "full", 1, None)  # type: ignore[arg-type]
    methods: list[Method] = [Ledger() for _ in range(count)]
    setups = [m.setup(problem, Draw(s).at(0, 0)) for s, m in enumerate(methods)]
    return Stack.of(methods, list(range(count)), setups)


@pytest.mark.parametrize("count", [1, 3])
def test_state_is_carried_and_memory_keeps_the_last_write(count: int) -> None:
    stack = ledger_stack(count)
    assert (len(stack), stack.stacked) == (count, count > 1)
    batches = [torch.tensor([4, 0, 4, 2, 0]), torch.tensor([2, 2, 2, 5, 1])]
    for step, rows in enumerate(batches):
        clock = Clock(0, 1, 1, step, 2)
        axes = (count,) if count > 1 else ()
        stacked_rows = rows.expand(*axes, 5)
        features, observed = torch.ones(*axes, 5, 2), torch.zeros(*axes, 5, 3, dtype=torch.int8)
        out = stack.step(clock, stacked_rows, features, observed)
        assert out.loss.shape == axes
        assert out.corrected is None
        # Repeated rows agree before they are written, because the order of writes is undefined.
        agreed = torch.tensor([[2, 4, 2, 3, 4], [12, 12, 12, 13, 14]][step])
        assert torch.equal(out.memory["position"].long(), agreed.expand(*axes, 5))
        stack.apply(out, stacked_rows)
    for index in range(count):
        run = stack.run(index)
        assert run.state["steps"].item() == 2.0
        assert run.state["kept"].tolist() == [1.0]  # not returned by any step
        expected = sum(Draw(index).at(0, 1, step).uniform("x", 2) for step in (0, 1))
        assert torch.equal(run.state["drawn"], expected)
        # First batch: row 4 at positions 0 and 2, row 0 at 1 and 4, row 2 at 3. Second batch, one
        # step later (plus 10): row 2 at 0, 1 and 2, row 5 at 3, row 1 at 4. Row 3 does not occur.
        assert run.memory["position"].tolist() == [4, 14, 12, -1, 2, 13]
        assert run.memory["position"].dtype == torch.int64


def test_each_run_writes_its_own_rows() -> None:
    stack = ledger_stack(2)
    rows = torch.tensor([[0, 1, 0], [5, 5, 2]])
    features, observed = torch.ones(2, 3, 2), torch.zeros(2, 3, 3, dtype=torch.int8)
    stack.apply(stack.step(Clock(0, 1, 1, 0, 1), rows, features, observed), rows)
    assert stack.memory["position"].tolist() == [[2, 1, -1, -1, -1, -1], [-1, -1, 2, -1, -1, 1]]


def test_repeated_rows_take_the_value_of_the_last_one() -> None:
    rows, values = torch.tensor([7, 3, 7, 7, 1]), torch.tensor([[0.0], [1], [2], [3], [4]])
    assert last_write(rows, values).flatten().tolist() == [3, 1, 3, 3, 4]
    values[0] = torch.nan  # an overwritten NaN does not spread
    assert last_write(rows, values).flatten().tolist() == [3, 1, 3, 3, 4]


@pytest.mark.parametrize("count", [1, 3])
def test_restart_overwrites_the_parameters_with_a_prefix(count: int) -> None:
    stack = ledger_stack(count)
    weights = [stack.run(index).params["head.weight"].clone() for index in range(count)]
    setups = [
        Setup({"head.weight": torch.full((2, 3), 9.0), "head.bias": torch.full((3,), index)})
        for index in range(count)
    ]
    stack.restart(("head.b", "neck"), setups)
    for index in range(count):
        params = stack.run(index).params
        assert params["head.bias"].tolist() == [float(index)] * 3
        assert torch.equal(params["head.weight"], weights[index])


@pytest.mark.parametrize("count", [1, 3])
def test_a_snapshot_is_a_copy_without_memory(count: int) -> None:
    stack = ledger_stack(count)
    snapshot = stack.snapshot(count - 1)
    before = snapshot.params["head.weight"].clone()
    stack.run(count - 1).params["head.weight"].fill_(4.0)
    assert torch.equal(snapshot.params["head.weight"], before)
    assert snapshot.state["kept"].tolist() == [1.0]
    assert snapshot.constants["half"].item() == 0.5
    assert snapshot.memory == {}


@pytest.mark.parametrize("count", [1, 3])
def test_run_is_a_view_and_write_copies_new_tensors(count: int) -> None:
    stack = ledger_stack(count)
    index = count - 1
    run = stack.run(index)
    run.state["drawn"].fill_(4.0)
    assert stack.run(index).state["drawn"].tolist() == [4.0, 4.0]
    replaced = Run(
        run.params,
        {**run.state, "steps": torch.tensor(7.0)},
        {"position": torch.arange(6)},
        run.constants,
    )
    stack.write(index, replaced)
    assert stack.run(index).state["steps"].item() == 7.0
    assert stack.run(index).memory["position"].tolist() == list(range(6))
    assert stack.run(index).state["drawn"].tolist() == [4.0, 4.0]
    for other in range(count - 1):
        assert stack.run(other).state["steps"].item() == 0.0
        assert stack.run(other).memory["position"].tolist() == [-1] * 6
    assert not stack.run(index).params["head.weight"].requires_grad


class EpochMarker(Ledger):
    """Adds 100 times the epoch to its state at the start of every epoch."""

    info = method_info("epoch-marker")

    def epoch_start(
        self, run: Run, problem: Problem, features: Tensor, clock: Clock, draw: DrawInterface
    ) -> Run:
        state = {**run.state, "drawn": run.state["drawn"] + 100 * clock.epoch}
        return Setup(run.params, state, run.memory, run.constants)


@pytest.mark.parametrize("seeds", [[5], [5, 6]])
def test_the_state_that_epoch_start_returns_is_kept(data: TrainingSet, seeds: list[int]) -> None:
    results = train([EpochMarker() for _ in seeds], seeds, data, Recipe(epochs=3, batch=20))
    for seed, result in zip(seeds, results, strict=True):
        draws = [Draw(seed).at(0, e, s).uniform("x", 2) for e in (1, 2, 3) for s in (0, 1)]
        expected = torch.stack(draws).sum(0) + 600
        torch.testing.assert_close(result.run.state["drawn"], expected, rtol=0, atol=1e-3)
        assert result.run.state["steps"].item() == 6.0
        assert result.run.memory == {}  # results have no memory


# ----------------------------------------------------------------------------- hyperparameters


@dataclass(frozen=True)
class Mixed:
    """One hyperparameter of each type."""

    rate: float = 0.1
    depth: int = 2
    on: bool = True
    kind: str = "a"


class Mix(BCE):
    info = method_info("mix")
    Hyper = Mixed


def test_only_float_hyperparameters_may_differ() -> None:
    base = structure(Mix())
    assert structure(Mix(Mixed(rate=5.0))) == base
    others: list[Any] = [
        Mix(Mixed(depth=3)),
        Mix(Mixed(on=False)),
        Mix(Mixed(kind="b")),
        Mix(head=HiddenHead(3)),
        BCE(),
    ]
    assert len({structure(method) for method in others} | {base}) == 6


def test_floats_that_differ_become_tensors() -> None:
    problem = Problem(LabelTable.of(torch.zeros(4, 3, dtype=torch.int8)), 2, "full", 1, None)  # type: ignore[arg-type]

    def floats(*hypers: Mixed) -> dict[str, list[float]]:
        methods: list[Method] = [Mix(hyper) for hyper in hypers]
        setups = [m.setup(problem, Draw(0)) for m in methods]
        stack = Stack.of(methods, [0] * len(methods), setups)
        return {name: value.tolist() for name, value in stack.floats.items()}

    assert floats(Mixed(), Mixed()) == {}
    assert floats(Mixed(0.5), Mixed(0.25)) == {"rate": [0.5, 0.25]}
    assert floats(Mixed(0.5)) == {}
