"""The optimiser of a stage: groups, rates, weight decay, frozen parameters, clipping."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor
from toy_training import method_info, parameters

from baselines.core import Batch, Clock, Method, Problem, Rate, Run, Setup, Step, positives
from baselines.core.draw import Draw as DrawInterface
from baselines.core.losses import bce_terms
from benchkit.base.draw import Draw
from benchkit.training.inputs import TrainingSet
from benchkit.training.optimiser import clip_gradients, make_optimiser, set_rates
from benchkit.training.recipe import Recipe
from benchkit.training.trainer import train

# A step subtracts the gradient times the learning rate and does nothing else.
PLAIN_SGD = Recipe(optimiser="sgd", momentum=0.0, weight_decay=0.0, schedule="constant")

# ----------------------------------------------------------------------------- groups


def test_parameters_are_grouped_by_rate_and_frozen_ones_left_out() -> None:
    names = ("head.weight", "head.bias", "neck.weight", "labels")
    params = {name: torch.ones(2, requires_grad=True) for name in names}
    params["neck.weight"].grad = torch.ones(2)  # of an earlier stage
    fast, undecayed = Rate(multiplier=10.0, decay=0.25), Rate(decay=0.0)
    rates = {"labels": fast, "head.bias": undecayed, "head": fast}  # the first match counts
    recipe = Recipe(optimiser="sgd", lr=0.5, momentum=0.8, weight_decay=0.1)
    optimiser = make_optimiser(params, ("head", "labels"), rates, [recipe])
    groups = {group["rate"]: group for group in optimiser.param_groups}
    assert groups.keys() == {fast, undecayed}
    assert [id(p) for p in groups[fast]["params"]] == [
        id(params["head.weight"]),
        id(params["labels"]),
    ]
    assert [id(p) for p in groups[undecayed]["params"]] == [id(params["head.bias"])]
    assert (groups[fast]["weight_decay"], groups[undecayed]["weight_decay"]) == (0.025, 0.0)
    assert [name for name, p in params.items() if not p.requires_grad] == ["neck.weight"]
    assert params["neck.weight"].grad is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)],
)
def test_the_kind_of_optimiser(name: str, kind: type[torch.optim.Optimizer]) -> None:
    params = {"head.weight": torch.ones(2)}
    recipe = Recipe(optimiser=name, lr=0.5, momentum=0.8)
    optimiser = make_optimiser(params, (), {}, [recipe])
    assert type(optimiser) is kind
    (group,) = optimiser.param_groups
    assert (group["rate"], group["lr"], group["fused"]) == (Rate(), 0.5, True)
    assert group.get("momentum") == (0.8 if name == "sgd" else None)


# ----------------------------------------------------------------------------- rates


def test_rates_of_one_step_by_hand() -> None:
    params = {name: torch.ones(2) for name in ("plain", "fast", "stepped")}
    rates = {"fast": Rate(multiplier=10.0), "stepped": Rate(2.0, step_every=2, step_factor=0.5)}
    recipe = Recipe(lr=0.1, schedule="step", milestones="3", factor=0.1)
    optimiser = make_optimiser(params, (), rates, [recipe])
    set_rates(optimiser, Clock(stage=0, epoch=4, epochs=4, step=1, steps=2))
    # After milestone 3 the schedule is 0.1; the stepped group has 0.5^(4 / 2) of its own instead.
    assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([0.01, 0.1, 0.05])


@pytest.mark.parametrize(
    ("rate", "epochs", "expected"),
    [
        # epochs in which the exponent rises: of the run, or at the same shares of 40 epochs
        (Rate(step_every=12), 40, [12, 24, 36]),
        (Rate(step_every=12, schedule_epochs=40), 40, [12, 24, 36]),
        (Rate(step_every=12, schedule_epochs=40), 20, [6, 12, 18]),
        (Rate(step_every=12, schedule_epochs=40), 200, [60, 120, 180]),
        (Rate(step_every=18, schedule_epochs=40), 10, [5, 9]),
        (Rate(step_every=40, schedule_epochs=40), 10, [10]),
        (Rate(step_every=12), 10, []),
        (Rate(schedule_epochs=40), 40, []),
    ],
)
def test_a_step_schedule_can_follow_the_length_of_the_stage(
    rate: Rate, epochs: int, expected: list[int]
) -> None:
    steps = [rate.steps_down(epoch, epochs) for epoch in range(epochs + 1)]
    assert [e for e in range(1, epochs + 1) if steps[e] > steps[e - 1]] == expected
    assert steps[-1] == len(expected)


def test_the_rates_of_a_schedule_that_follows_the_stage() -> None:
    rates = {"w": Rate(step_every=12, schedule_epochs=40)}
    optimiser = make_optimiser({"w": torch.ones(2)}, (), rates, [Recipe(lr=0.1)])
    seen = []
    for epoch in (5, 6, 18):
        set_rates(optimiser, Clock(stage=0, epoch=epoch, epochs=20, step=0, steps=2))
        seen.append(optimiser.param_groups[0]["lr"])
    assert seen == pytest.approx([0.1, 0.01, 0.0001])


class Slopes(Method):
    """A loss of slope 1 in every parameter: plain SGD moves it by the sum of the rates."""

    info = method_info("slopes")

    def setup(self, problem: Problem, draw: DrawInterface) -> Setup:
        return Setup({name: torch.zeros(2) for name in ("plain", "fast", "stepped", "head.weight")})

    def rates(self) -> dict[str, Rate]:
        return {
            "fast": Rate(multiplier=10.0),
            "stepped": Rate(multiplier=2.0, step_every=2, step_factor=0.5),
        }

    def logits(self, run: Run, features: Tensor) -> Tensor:
        return features.new_zeros(len(features), 5)

    def step(self, run: Run, batch: Batch, clock: Clock, draw: DrawInterface) -> Step:
        return Step(torch.stack([value.sum() for value in run.params.values()]).sum())


@pytest.mark.parametrize("runs", [1, 2])
def test_every_parameter_moves_by_its_own_rates(data: TrainingSet, runs: int) -> None:
    recipe = replace(PLAIN_SGD, lr=0.1, schedule="step", milestones="3", epochs=4, batch=20)
    for result in train([Slopes() for _ in range(runs)], list(range(runs)), data, recipe):
        moved = {name: -value for name, value in result.run.params.items()}
        # Two steps per epoch; the schedule is 1, 1, 1, 0.1 in epochs 1 to 4.
        by_schedule = 2 * 0.1 * (1 + 1 + 1 + 0.1)
        # The stepped group: 0.5^floor(epoch / 2) in epochs 1 to 4, independent of the schedule.
        stepped = 2 * 0.1 * 2.0 * (1 + 0.5 + 0.5 + 0.25)
        for name, expected in {
            "plain": by_schedule,
            "head.weight": by_schedule,
            "fast": 10 * by_schedule,
            "stepped": stepped,
        }.items():
            assert moved[name].tolist() == pytest.approx([expected] * 2, rel=1e-5), name


def test_weight_decay_can_be_turned_off_for_a_group(data: TrainingSet) -> None:
    class Flat(Slopes):
        """A loss without a gradient: only weight decay moves parameters."""

        def setup(self, problem: Problem, draw: DrawInterface) -> Setup:
            return Setup({"decayed": torch.ones(2), "kept": torch.ones(2)})

        def rates(self) -> dict[str, Rate]:
            return {"kept": Rate(decay=0.0)}

        def step(self, run: Run, batch: Batch, clock: Clock, draw: DrawInterface) -> Step:
            return Step(torch.stack([value.sum() * 0 for value in run.params.values()]).sum())

    recipe = replace(PLAIN_SGD, lr=0.5, weight_decay=0.1, epochs=2, batch=40)
    (result,) = train([Flat()], [0], data, recipe)
    assert result.run.params["kept"].tolist() == [1.0, 1.0]
    assert result.run.params["decayed"].tolist() == pytest.approx([0.95**2] * 2)


# ----------------------------------------------------------------------------- clipping


def with_gradient(gradient: Tensor) -> Tensor:
    parameter = torch.zeros_like(gradient, requires_grad=True)
    parameter.grad = gradient.clone()
    return parameter


def test_gradients_are_clipped_to_the_global_norm() -> None:
    params = [with_gradient(torch.tensor([3.0, 0.0])), with_gradient(torch.tensor(4.0))]
    frozen = torch.ones(2)
    clip_gradients([*params, frozen], 1.0, runs=1)  # norm 5
    assert params[0].grad is not None and params[1].grad is not None
    assert params[0].grad.tolist() == pytest.approx([0.6, 0.0])
    assert params[1].grad.item() == pytest.approx(0.8)
    clip_gradients(params, 10.0, runs=1)  # below the limit: unchanged
    assert params[0].grad.tolist() == pytest.approx([0.6, 0.0])


def test_every_stacked_run_has_its_own_norm() -> None:
    weight = with_gradient(torch.tensor([[3.0, 0.0], [0.3, 0.0]]))
    bias = with_gradient(torch.tensor([4.0, 0.4]))
    clip_gradients([weight, bias], 1.0, runs=2)  # norms 5 and 0.5
    assert weight.grad is not None and bias.grad is not None
    assert weight.grad.flatten().tolist() == pytest.approx([0.6, 0.0, 0.3, 0.0])
    assert bias.grad.tolist() == pytest.approx([0.8, 0.4])


@dataclass(frozen=True)
class Steepness:
    """The factor of a loss."""

    scale: float = 1.0


class Scaled(Method):
    """BCE times a factor."""

    info = method_info("scaled")
    Hyper = Steepness

    def loss(
        self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: DrawInterface
    ) -> Tensor:
        return self.hyper.scale * bce_terms(logits, positives(batch.observed)).mean()


def test_a_steep_run_does_not_change_the_run_beside_it(data: TrainingSet) -> None:
    recipe = replace(PLAIN_SGD, lr=0.1, epochs=2, batch=8, clip=0.5)
    calm = train([Scaled(), Scaled()], [1, 2], data, recipe)
    steep = train([Scaled(), Scaled(Steepness(1e6))], [1, 2], data, recipe)
    assert torch.equal(parameters(calm[0]), parameters(steep[0]))
    # Each of the ten steps moves the steep run by at most the rate times the limit.
    start = Draw(2).at(0, 0).normal("head.weight", 4, 5) * 0.01
    distance = (steep[1].run.params["head.weight"] - start).norm()
    assert 0.1 < distance <= 10 * 0.1 * 0.5 + 1e-6


class Transposed(Slopes):
    """Parameters that are not contiguous in memory."""

    info = method_info("transposed")

    def setup(self, problem: Problem, draw: DrawInterface) -> Setup:
        return Setup({"a": torch.zeros(3, 4).T, "b": torch.zeros(())})

    def rates(self) -> dict[str, Rate]:
        return {}

    def step(self, run: Run, batch: Batch, clock: Clock, draw: DrawInterface) -> Step:
        return Step(3.0 * run.params["a"].sum() + 6.0 * run.params["b"])


@pytest.mark.parametrize("runs", [1, 2])
def test_gradients_that_are_not_contiguous_are_clipped(data: TrainingSet, runs: int) -> None:
    # The norm of the gradient is sqrt(12 * 9 + 36) = 12; clipped to 1 it is 3/12 and 6/12.
    recipe = replace(PLAIN_SGD, lr=1.0, epochs=1, batch=40, clip=1.0)
    for result in train([Transposed() for _ in range(runs)], list(range(runs)), data, recipe):
        assert (-result.run.params["a"]).flatten().tolist() == pytest.approx([0.25] * 12)
        assert result.run.params["b"].item() == pytest.approx(-0.5)
