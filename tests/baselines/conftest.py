"""Fixtures of the method tests: numbers, comparisons, a toy problem.

Every comparison of numbers goes through `assert_close`, which is relative to the largest entry:
1e-9 in float64, 1e-5 in float32. Tests that compare entry by entry (`rtol` with `atol=0`,
`pytest.approx(x, rel=...)`) are stricter. A test that allows more says why.
"""

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
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}


@pytest.fixture(scope="session")
def vectors() -> Callable[[str], Any]:
    """vectors(name): the parsed JSON of a vector file; inputs, loss and gradient."""
    return lambda name: json.loads((VECTORS / f"{name}.json").read_text())


@pytest.fixture(scope="session")
def uniform() -> Callable[..., np.ndarray]:
    """uniform(stream, shape, low, high): seeded float64 numbers."""

    def numbers(stream: str, shape: tuple[int, ...], low: float = 0, high: float = 1) -> np.ndarray:
        positions = np.arange(int(np.prod(shape))).reshape(shape)
        return low + (high - low) * random.uniform(0, stream, positions)

    return numbers


def _tensor(numbers: Any) -> Tensor:
    """Detached; Python and NumPy floats keep float64."""
    return torch.as_tensor(numbers if torch.is_tensor(numbers) else np.asarray(numbers)).detach()


def _assert_close(
    actual: Any,
    expected: Any,
    tolerance: float | None = None,
    *,
    floor: float = 0.0,
    name: object = "",
) -> None:
    """Compare numbers relative to the largest expected entry.

        |actual_i - expected_i| <= max(tolerance * max_j |expected_j|, floor)    for every i

    A single number is compared relative to itself. Where all expected entries are zero and `floor`
    is not given, the actual entries must be zero.

    Args:
        actual: a number, an array or a tensor. Integers and booleans must be equal.
        expected: the same, of the same shape.
        tolerance: 1e-5 if `actual` is a float32 tensor, else 1e-9.
        floor: absolute; for sums that cancel, where the rounding of the terms is what remains.
        name: shown in front of the message.
    """
    actual, expected = _tensor(actual), _tensor(expected)
    assert actual.shape == expected.shape, f"{name} {actual.shape} != {expected.shape}"
    if tolerance is None:
        tolerance = TOLERANCE.get(actual.dtype, 0.0)
    actual, expected = actual.double(), expected.double()
    scale = expected.abs().max().item() if expected.numel() else 0.0
    allowed, difference = max(tolerance * scale, floor), (actual - expected).abs()
    assert (difference <= allowed).all(), (
        f"{name} differs by up to {difference.max():.3g}, more than {allowed:.3g} "
        f"({tolerance:.1g} of the largest entry {scale:.3g}):\n{actual}\n{expected}"
    )


@pytest.fixture(scope="session")
def assert_close() -> Callable[..., None]:
    """assert_close(actual, expected, tolerance, floor=..., name=...): see `_assert_close`."""
    return _assert_close


def _assert_matches(
    loss: Callable[[Tensor], Tensor],
    logits: Any,
    value: float,
    gradient: Any = None,
    dtype: torch.dtype = torch.float64,
    tolerance: float | None = None,
) -> None:
    """Compare the value of loss(logits) and its gradient, both computed in `dtype`."""
    leaf = torch.tensor(logits, dtype=dtype, requires_grad=True)
    actual = loss(leaf)
    assert actual.dtype == dtype
    _assert_close(actual, value, tolerance, name="loss")
    if gradient is not None:
        _assert_close(torch.autograd.grad(actual, leaf)[0], gradient, tolerance, name="gradient")


@pytest.fixture(scope="session")
def assert_matches() -> Callable[..., None]:
    """assert_matches(loss, logits, value, gradient, dtype, tolerance): a loss and its gradient."""
    return _assert_matches


def _differences(function: Callable[[np.ndarray], float], point: np.ndarray) -> np.ndarray:
    """The gradient by five-point differences with step h.

        f'(x) = (8 [f(x + h) - f(x - h)] - [f(x + 2h) - f(x - 2h)]) / 12h + O(h^4)

    At h = 3e-4 the error is at most 1.2e-10 of the largest entry for all losses of this folder.
    """
    step, gradient = 3e-4, np.zeros_like(point)
    for index in np.ndindex(point.shape):
        shift = np.zeros_like(point)
        shift[index] = step
        near = function(point + shift) - function(point - shift)
        far = function(point + 2 * shift) - function(point - 2 * shift)
        gradient[index] = (8 * near - far) / (12 * step)
    return gradient


def _assert_reference(
    loss: Callable[[Tensor], Tensor], reference: Callable[[np.ndarray], float], logits: np.ndarray
) -> None:
    """Compare a loss in float64 with a NumPy function: value, and gradient by differences."""
    _assert_matches(loss, logits, reference(logits), _differences(reference, logits))


@pytest.fixture(scope="session")
def assert_reference() -> Callable[..., None]:
    """assert_reference(loss, reference, logits): a loss against an independent NumPy function."""
    return _assert_reference


def _hard_cases() -> Iterator[tuple[str, Tensor, Tensor]]:
    """Extreme inputs: name, float32 logits [B, C], observed labels [B, C]."""
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
    """assert_finite(loss): loss(logits, observed) and its gradient are finite on hard cases."""

    def check(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        for name, logits, observed in _hard_cases():
            leaf = logits.clone().requires_grad_()
            value = loss(leaf, observed)
            assert value.dtype == torch.float32, name
            assert torch.isfinite(value).all(), name
            (gradient,) = torch.autograd.grad(value.sum(), leaf)
            assert torch.isfinite(gradient).all(), name

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
    """first_step(method, problem, seed): a run, a batch and the result of its first step."""

    def take(method: Method, problem: Problem, seed: int = 0) -> tuple[Run, Batch, Any]:
        run = method.setup(problem, Draw(seed).at(0, 0))
        batch = toy_batch(problem, seed)
        return run, batch, method.step(run, batch, Clock(0, 1, 10, 0, 3), Draw(seed).at(0, 1, 0))

    return take


def _slice(tree: Any, index: int) -> Any:
    return torch.utils._pytree.tree_map(lambda leaf: leaf[index], tree)


def _gradient_and_outputs(method: Method, run: dict[str, Any], batch: dict[str, Any]) -> Any:
    """Loss, gradient by the parameters, and the state and memory that one step writes."""

    def loss(params: Any) -> tuple[Tensor, Any]:
        draw = Draw(batch["seed"]).at(0, 2, 1)
        inputs = Batch(batch["rows"], batch["features"], batch["observed"])
        step = method.step(Run(**(run | {"params": params})), inputs, Clock(0, 2, 10, 1, 3), draw)
        return step.loss, {**step.state, **step.memory}

    gradient, (value, written) = torch.func.grad_and_value(loss, has_aux=True)(run["params"])
    return {"loss": value, "gradient": gradient, "written": written}


def _assert_stacks(method: Method, **hyperparameters: list[float]) -> None:
    seeds = (3, 4, 5)
    single_methods = [
        method.with_hyper(**{name: values[i] for name, values in hyperparameters.items()})
        for i in range(len(seeds))
    ]
    inputs = []
    for single, seed in zip(single_methods, seeds, strict=True):
        problem = _problem(seed, method.oracle())
        run = single.setup(problem, Draw(seed).at(0, 0))
        batch = {"seed": torch.tensor(seed), **vars(toy_batch(problem, seed))}
        inputs.append((vars(run), batch))

    def stacked_step(run: Any, batch: Any, values: dict[str, Tensor]) -> Any:
        return _gradient_and_outputs(method.with_hyper(**values) if values else method, run, batch)

    stacked_inputs = torch.utils._pytree.tree_map(lambda *leaves: torch.stack(leaves), *inputs)
    values = {name: torch.tensor(values) for name, values in hyperparameters.items()}
    stacked = torch.func.vmap(stacked_step)(*stacked_inputs, values)
    for index, single in enumerate(single_methods):
        alone = _gradient_and_outputs(single, *inputs[index])
        _assert_trees_close(_slice(stacked, index), alone)


def _assert_trees_close(actual: Any, expected: Any) -> None:
    leaves, _ = torch.utils._pytree.tree_flatten_with_path(actual)
    expected_leaves, _ = torch.utils._pytree.tree_flatten(expected)
    for (path, leaf), expected_leaf in zip(leaves, expected_leaves, strict=True):
        # Stacked and single runs add in a different order. The floor is the rounding error of
        # terms of 0.05: a gradient may be the small sum of such terms.
        _assert_close(leaf, expected_leaf, 2e-6, floor=5e-9, name=path)


@pytest.fixture(scope="session")
def assert_trees_close() -> Callable[..., None]:
    """assert_trees_close(actual, expected): every tensor of nested dictionaries, float32."""
    return _assert_trees_close


@pytest.fixture(scope="session")
def assert_stacks() -> Callable[..., None]:
    """assert_stacks(method, name=[...]): three runs under vmap equal three single runs.

    A keyword gives one value of a float hyperparameter for each run.
    """
    return _assert_stacks
