"""What the tests of the methods share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from baselines.core import Batch, Clock, LabelTable, Method, Oracle, Problem, Run
from benchkit.base import random
from benchkit.base.draw import Draw

VECTORS = Path(__file__).parent / "vectors"


@pytest.fixture(scope="session")
def vectors() -> Callable[[str], Any]:
    """A vector file by name, without its suffix: inputs, loss and gradient as parsed JSON."""
    return lambda name: json.loads((VECTORS / f"{name}.json").read_text())


@pytest.fixture(scope="session")
def uniform() -> Callable[..., np.ndarray]:
    """Seeded float64 numbers: uniform(stream, shape, low, high)."""

    def numbers(stream: str, shape: tuple[int, ...], low: float = 0, high: float = 1) -> np.ndarray:
        positions = np.arange(int(np.prod(shape))).reshape(shape)
        return low + (high - low) * random.uniform(0, stream, positions)

    return numbers


def _assert_matches(
    loss: Callable[[Tensor], Tensor], logits: Any, value: float, gradient: Any = None
) -> None:
    leaf = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    got = loss(leaf)
    assert got.item() == pytest.approx(value, rel=1e-9, abs=1e-9)
    if gradient is not None:
        (slope,) = torch.autograd.grad(got, leaf)
        expected = torch.tensor(gradient, dtype=torch.float64)
        torch.testing.assert_close(slope, expected, rtol=1e-9, atol=1e-9)


@pytest.fixture(scope="session")
def assert_matches() -> Callable[..., None]:
    """Hold a loss of float64 logits to a value and, where given, a gradient, at 1e-9."""
    return _assert_matches


def _assert_reference(
    loss: Callable[[Tensor], Tensor], reference: Callable[[np.ndarray], float], logits: np.ndarray
) -> None:
    _assert_matches(loss, logits, reference(logits))
    leaf = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(loss(leaf), leaf)
    for place in np.ndindex(logits.shape):
        shift = np.zeros_like(logits)
        shift[place] = 1e-5
        difference = (reference(logits + shift) - reference(logits - shift)) / 2e-5
        assert slope[place].item() == pytest.approx(difference, rel=1e-6, abs=1e-8)


@pytest.fixture(scope="session")
def assert_reference() -> Callable[..., None]:
    """Hold a loss to a NumPy implementation: its value, and its gradient by differences."""
    return _assert_reference


def _hard_cases() -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name, float32 logits [B, C], observed [B, C]: what a loss has to survive."""
    mixed = torch.tensor([[1, 0, -1, 0], [0, 1, -1, -1], [0, 0, -1, 1]], dtype=torch.int8)
    signs = torch.tensor([[1.0, -1.0, 1.0, -1.0], [-1.0, 1.0, -1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    empty = torch.tensor([[0, 0, -1, 0], [0, 1, -1, -1], [-1, -1, -1, -1]], dtype=torch.int8)
    unknown = torch.full((3, 4), -1, dtype=torch.int8)
    for scale in (0.0, 1.0, 50.0, -50.0):
        yield f"class without positives, logits {scale}", scale * signs, mixed
        yield f"rows without positives, logits {scale}", scale * signs, empty
        yield f"nothing observed, logits {scale}", scale * signs, unknown
        yield f"one image, logits {scale}", scale * signs[:1], mixed[:1]
        yield f"one empty image, logits {scale}", scale * signs[:1], empty[:1]


@pytest.fixture(scope="session")
def assert_finite() -> Callable[..., None]:
    """Hold loss(logits, observed) to finite values and gradients in float32 on hard cases."""

    def check(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        for name, logits, observed in _hard_cases():
            leaf = logits.clone().requires_grad_()
            value = loss(leaf, observed)
            assert value.dtype == torch.float32, name
            assert torch.isfinite(value).all(), name
            (slope,) = torch.autograd.grad(value.sum(), leaf)
            assert torch.isfinite(slope).all(), name

    return check


def _problem(seed: int, oracle: tuple[str, ...] = (), images: int = 20) -> Problem:
    """A toy training set of five classes; the last has no observed positive."""
    numbers = random.uniform(seed, "toy", np.arange(images * 5)).reshape(images, 5)
    observed = np.where(numbers < 0.3, 1, np.where(numbers < 0.6, 0, -1)).astype(np.int8)
    observed[:, -1] = np.minimum(observed[:, -1], 0)
    observed[0] = -1
    truth = np.where(observed == -1, numbers > 0.9, observed).astype(np.int8)
    values = {
        "true_labels": torch.from_numpy(truth),
        "true_counts": torch.from_numpy(truth.sum(0)),
        "expected_positives": float(truth.sum(1).mean()),
    }
    return Problem(LabelTable.of(torch.from_numpy(observed)), 6, "pal", 10, Oracle(values, oracle))


@pytest.fixture(scope="session")
def toy_problem() -> Callable[..., Problem]:
    """toy_problem(seed, oracle): 20 images, 5 classes, 6 features."""
    return _problem


def toy_batch(problem: Problem, seed: int, batch_size: int = 8) -> Batch:
    """Rows of a toy problem, one of them twice, with random features."""
    draw = Draw(seed).at(0, 1, 0)
    rows = draw.permutation("rows", problem.num_images)[:batch_size]
    rows[-1] = rows[0]
    features = draw.normal("features", problem.num_images, problem.feature_dim)[rows]
    return Batch(rows, features, problem.observed[rows])


@pytest.fixture(scope="session")
def first_step() -> Callable[..., tuple[Run, Batch, Any]]:
    """first_step(method, problem, seed): a run, a batch and what its first step returns."""

    def take(method: Method, problem: Problem, seed: int = 0) -> tuple[Run, Batch, Any]:
        run = method.setup(problem, Draw(seed).at(0, 0))
        batch = toy_batch(problem, seed)
        return run, batch, method.step(run, batch, Clock(0, 1, 10, 0, 3), Draw(seed).at(0, 1, 0))

    return take


def _slice(tree: Any, index: int) -> Any:
    return torch.utils._pytree.tree_map(lambda leaf: leaf[index], tree)


def _assert_stacks(method: Method, **floats: list[float]) -> None:
    seeds = (3, 4, 5)
    single = [
        method.with_hyper(**{name: values[i] for name, values in floats.items()})
        for i in range(len(seeds))
    ]
    problems = [_problem(seed, method.oracle()) for seed in seeds]
    setups = [
        one.setup(problem, Draw(seed).at(0, 0))
        for one, problem, seed in zip(single, problems, seeds, strict=True)
    ]
    batches = [toy_batch(problem, seed) for problem, seed in zip(problems, seeds, strict=True)]
    inputs = [
        (vars(setup), {"seed": torch.tensor(seed), **vars(batch)})
        for setup, seed, batch in zip(setups, seeds, batches, strict=True)
    ]

    def step(one: Method, parts: Any, batch: Any) -> tuple[Any, Any]:
        def loss(params: Any) -> tuple[Tensor, Any]:
            draw = Draw(batch["seed"]).at(0, 2, 1)
            given = Batch(batch["rows"], batch["features"], batch["observed"])
            out = one.step(Run(**(parts | {"params": params})), given, Clock(0, 2, 10, 1, 3), draw)
            return out.loss, {**out.state, **out.memory}

        gradient, (value, written) = torch.func.grad_and_value(loss, has_aux=True)(parts["params"])
        return value, {"gradient": gradient, "written": written}

    joined = torch.utils._pytree.tree_map(lambda *leaves: torch.stack(leaves), *inputs)
    tensors = {name: torch.tensor(values) for name, values in floats.items()}
    stacked = torch.func.vmap(
        lambda given, values: step(method.with_hyper(**values) if values else method, *given)
    )(joined, tensors)
    for index, one in enumerate(single):
        alone = step(one, *inputs[index])
        torch.testing.assert_close(_slice(stacked, index), alone, rtol=1e-6, atol=1e-6)


@pytest.fixture(scope="session")
def assert_stacks() -> Callable[..., None]:
    """Three runs under vmap equal three runs alone; keyword: a float hyperparameter per run."""
    return _assert_stacks
