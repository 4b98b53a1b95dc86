"""Fixtures of the method tests: numbers, comparisons, a toy problem.

Every comparison of numbers goes through `assert_close`, which is relative to the largest entry:
1e-9 in float64, 1e-5 in float32. Tests that compare entry by entry (`rtol` with `atol=0`,
`pytest.approx(x, rel=...)`) are stricter. A test that allows more says why.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from baselines.core import Batch, Clock, LabelTable, Method, Oracle, Problem, Run, registry
from benchkit.base import random
from benchkit.base.draw import Draw
from benchkit.training.stack import Stack

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


# ------------------------------------------------------------------- steps against a reference

SMALL = {"width": (2, 3, 4, 6)}  # always drawn: narrower than four features, equal, wider


def _drawn_hyper(kind: type, numbers: np.random.Generator) -> Any:
    """Hyperparameters from their choices and search ranges; some keep their defaults."""
    values = {}
    for field in dataclasses.fields(kind):
        about = field.metadata["baselines.hyper"]
        options = about["choices"] or SMALL.get(field.name) or about["search"] or (True, False)
        if field.name not in SMALL and numbers.random() < 0.4:
            continue
        if isinstance(field.default, float) and numbers.random() < 0.8:
            values[field.name] = float(numbers.uniform(options[0], options[-1]))
        else:
            values[field.name] = options[numbers.integers(len(options))]
    return kind(**values)


def _drawn_labels(numbers: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Observed and true, int8 [N, C]: row 0 is negative, row 1 unknown, classes may be empty."""
    shape = int(numbers.integers(8, 24)), int(numbers.integers(2, 7))
    true = numbers.random(shape) < np.linspace(0.7, 0.1, shape[1])
    unknown, false = numbers.random((2, *shape)) < numbers.choice([0.0, 0.3, 0.6], (2, 1, 1))
    observed = np.where(unknown, -1, true | false)
    observed[0], observed[1] = 0, -1
    if numbers.random() < 0.5:
        observed[:, -1] = np.minimum(observed[:, -1], 0)
    return observed.astype(np.int8), true.astype(np.int8)


def _started(method: Method, problem: Problem, reference: Any, numbers: Any) -> Stack:
    """The run in float64: large weights, and a start that is not rounded to float32."""
    setup = method.setup(problem, Draw(0).at(0, 0))
    for name, value in setup.params.items():
        size = numbers.choice([0.3, 1.0, 4.0])
        setup.params[name] = torch.from_numpy(size * numbers.normal(size=value.shape))
    exact = reference.carried | reference.constants
    for part in (setup.state, setup.memory, setup.constants):
        for name, value in part.items():
            np.testing.assert_allclose(value, exact[name], rtol=1e-6)
            part[name] = torch.from_numpy(exact[name].astype(np.float64))
    return Stack.of([method], [0], [setup])


def _carry_on(reference: Any, written: dict[str, Any], memory: Any, rows: np.ndarray) -> None:
    """Write the reference's memory by rows and its state as it is."""
    for name, value in written.items():
        if name in memory:
            reference.carried[name] = reference.carried[name].copy()
            for row, new in zip(rows, value, strict=True):  # the last occurrence stays
                reference.carried[name][row] = new
        else:
            reference.carried[name] = value


def _compare_step(
    stack: Stack, reference: Any, rows: np.ndarray, clock: Clock, numbers: Any
) -> None:
    """One step of both: loss, its derivative in a random direction, state and memory."""
    draw, params = Draw(torch.tensor(0)).at(0, clock.epoch, clock.step), stack.params
    values = {name: value.numpy() for name, value in params.items()}
    direction = {name: numbers.normal(size=value.shape) for name, value in values.items()}
    expected, written = reference.step(values, rows, clock, draw)
    moved = {name: value + 1e-30j * direction[name] for name, value in values.items()}
    derivative = np.imag(reference.step(moved, rows, clock, draw)[0]) / 1e-30

    stack.params = {name: value.clone().requires_grad_() for name, value in params.items()}
    index = torch.from_numpy(rows)
    features, observed = (
        torch.from_numpy(part)[index] for part in (reference.features, reference.observed)
    )
    step = stack.step(clock, index, features, observed)
    # The floor is the rounding error of a sum whose terms are of order one and cancel.
    _assert_close(step.loss, expected, floor=1e-15, name="loss")
    gradient = torch.autograd.grad(step.loss, list(stack.params.values()), allow_unused=True)
    pairs = zip(gradient, direction.values(), strict=True)
    products = [(g.numpy() * d).sum() for g, d in pairs if g is not None]
    _assert_close(sum(products), derivative, floor=1e-15, name="derivative")

    stack.params = params
    stack.apply(step, index)
    _carry_on(reference, written, stack.memory, rows)
    for name, value in (stack.state | stack.memory).items():
        _assert_close(value, reference.carried[name], name=name)


def _assert_steps(key: str, reference_class: type, seed: int) -> None:
    numbers = np.random.default_rng([seed, len(key)])
    kind = registry.get(key)
    method = kind(_drawn_hyper(kind.Hyper, numbers))
    observed, true = _drawn_labels(numbers)
    features = numbers.normal(size=(len(observed), 4)) * numbers.choice([0.3, 1.0, 5.0])
    oracle = {
        "true_labels": torch.from_numpy(true),
        "true_counts": torch.from_numpy(true.sum(0)),
        "noise_rate": 0.3,
    }
    table, hidden = LabelTable.of(torch.from_numpy(observed)), Oracle(oracle, method.oracle())
    problem = Problem(table, 4, "candidates", 5, hidden)
    reference = reference_class(method.hyper, observed, oracle, features)
    stack = _started(method, problem, reference, numbers)
    for epoch in (1, 2, 4):
        for number in range(2):
            clock = Clock(0, epoch, 5, number, 2)
            if number == 0:
                inputs = problem, torch.from_numpy(features), clock, Draw(0)
                stack.write(0, method.epoch_start(stack.run(0), *inputs))
                reference.epoch(clock)
            rows = numbers.integers(0, len(features), numbers.choice([1, 2, 7]))
            rows[0] = numbers.choice([0, 1, rows[0]])
            _compare_step(stack, reference, rows, clock, numbers)
            for value in stack.params.values():
                value *= 1 + 0.1 * numbers.normal()


@pytest.fixture(scope="session")
def assert_steps() -> Callable[..., None]:
    """assert_steps(key, reference_class, seed): six steps of a method equal those of a reference.

    Hyperparameters, labels, features and batches are drawn; state and memory are carried on as the
    trainer does it. The derivative is that of the reference by a complex step.

    reference_class(hyper, observed, oracle, features) has `observed`, `features`, `carried` (its
    state and memory by name), `constants`, `epoch(clock)`, which changes `carried`, and
    `step(params, rows, clock, draw)` -> loss, state and memory written; `params` may be complex.
    """
    return _assert_steps
