"""Runs with learning rates and weight decays of their own, trained as one program."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from toy_training import parameters

from baselines.bce import BCE
from baselines.core import Rate, registry
from benchkit.training.inputs import TrainingSet
from benchkit.training.optimiser import make_optimiser, share_gradients
from benchkit.training.recipe import Recipe
from benchkit.training.trainer import train

BASE = Recipe(epochs=3, batch=8)
RATES = ((1e-3, 4.0), (1e-2, 0.5), (1e-2, 0.5), (3e-3, 8.0))  # the second and third share a block
SEEDS = [5, 6, 7, 8]


@pytest.mark.parametrize("optimiser", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("key", ["bce", "asl", "comic", "role", "crt", "splc", "pal", "lws"])
def test_a_stack_of_rates_equals_its_runs_alone(
    data: TrainingSet, key: str, optimiser: str
) -> None:
    base = replace(BASE, optimiser=optimiser, clip=0.5 if key == "role" else 0.0)
    scale = 1.0 if optimiser == "adamw" else 1e-2  # L2 regularisation acts through the gradient
    recipes = [replace(base, lr=lr, weight_decay=decay * scale) for lr, decay in RATES]
    kind = registry.get(key)
    # Adam amplifies the rounding of gradients near zero, of which a width of 1024 has many.
    hyper = kind.Hyper(width=8) if key == "comic" else kind.Hyper()
    method = partial(kind, hyper)
    together = train([method() for _ in SEEDS], SEEDS, data, recipes)
    for seed, recipe, stacked in zip(SEEDS, recipes, together, strict=True):
        (alone,) = train([method()], [seed], data, recipe)
        torch.testing.assert_close(parameters(stacked), parameters(alone), rtol=1e-5, atol=1e-5)
        for mine, theirs in zip(stacked.curve, alone.curve, strict=True):
            assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-5, abs=1e-7)


def test_the_rates_matter(data: TrainingSet) -> None:
    recipes = [replace(BASE, lr=lr, weight_decay=decay) for lr, decay in RATES]
    first, second, third, fourth = train([BCE() for _ in RATES], [1] * 4, data, recipes)
    assert torch.equal(parameters(second), parameters(third))
    for other in (second, fourth):
        assert (parameters(first) - parameters(other)).abs().max() > 1e-3


def test_equal_rates_use_the_stacked_tensors_themselves() -> None:
    params = {"head.weight": torch.ones(3, 2)}
    (group,) = make_optimiser(params, (), {}, [BASE] * 3).param_groups
    assert group["params"][0] is params["head.weight"]
    assert group["runs"] is None


def test_every_block_of_rates_is_a_slice_of_the_stack() -> None:
    params = {"head.weight": torch.ones(4, 2), "head.bias": torch.ones(4)}
    recipes = [replace(BASE, lr=lr, weight_decay=decay) for lr, decay in RATES]
    optimiser = make_optimiser(params, (), {"head.bias": Rate(decay=0.0)}, recipes)
    groups = [
        (group["runs"], group["weight_decay"], len(group["params"]))
        for group in optimiser.param_groups
    ]
    blocks = (slice(0, 1), slice(1, 3), slice(3, 4))
    assert groups == [
        *((runs, decay, 1) for runs, decay in zip(blocks, (4.0, 0.5, 8.0), strict=True)),
        *((runs, 0.0, 1) for runs in blocks),
    ]
    params["head.weight"].grad = torch.arange(8.0).reshape(4, 2)
    share_gradients(optimiser)
    (view,) = optimiser.param_groups[1]["params"]
    assert view.grad is not None and view.grad.tolist() == [[2.0, 3.0], [4.0, 5.0]]
    assert view.data_ptr() == params["head.weight"][1].data_ptr()
    (bias,) = optimiser.param_groups[4]["params"]
    assert bias.grad is None


def test_recipes_of_a_stack_that_differ_elsewhere_are_refused(data: TrainingSet) -> None:
    with pytest.raises(ValueError, match="may differ only in lr and weight_decay"):
        train([BCE(), BCE()], [0, 1], data, [BASE, replace(BASE, epochs=4)])
    with pytest.raises(ValueError, match="2 stacked runs need 2 recipes, not 1"):
        train([BCE(), BCE()], [0, 1], data, [BASE])
