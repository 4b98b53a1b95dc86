"""ML-GCN: its adjacency and its forward pass against NumPy, stacked runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from baselines.core import Batch, Clock, LabelTable, Oracle, Problem, Run
from baselines.ml_gcn import MLGCN, classifiers, correlation, graph_layer, normalised
from benchkit.base.draw import Draw

IMAGES, CLASSES, FEATURES, WIDTH, BATCH = 60, 8, 5, 6, 7


def reference_adjacency(observed: np.ndarray, threshold: float, neighbours: float) -> np.ndarray:
    """D A^T D, entry by entry.

    E_ij = 1[P(j | i) >= threshold] for i != j; A = neighbours E / (column sum + 1e-6) + I;
    D is diagonal with the inverse roots of A's row sums.
    """
    classes = observed.shape[1]
    positive = observed == 1
    edges = np.zeros((classes, classes))
    for i in range(classes):
        for j in range(classes):
            both = np.sum(positive[:, i] & positive[:, j])
            if i != j and positive[:, i].sum() > 0:
                edges[i, j] = both / positive[:, i].sum() >= threshold
    adjacency = np.empty_like(edges)
    for j in range(classes):
        adjacency[:, j] = neighbours * edges[:, j] / (edges[:, j].sum() + 1e-6)
    adjacency += np.eye(classes)
    root = adjacency.sum(1) ** -0.5
    return np.array(
        [[root[i] * adjacency[j, i] * root[j] for j in range(classes)] for i in range(classes)]
    )


def make_problem(seed: int = 0, embeddings: bool = True) -> Problem:
    random = Draw(seed)
    frequency = torch.linspace(0.8, 0.05, CLASSES)
    observed = (random.uniform("labels", IMAGES, CLASSES) < frequency).to(torch.int8)
    observed[random.uniform("hidden", IMAGES, CLASSES) < 0.1] = -1
    observed[:, -1] = 0  # a class without positives
    vectors = random.normal("embeddings", CLASSES, 3) if embeddings else None
    return Problem(LabelTable.of(observed), FEATURES, "pal", 20, Oracle({}, ()), vectors)


def make_method(**values: Any) -> MLGCN:
    return MLGCN(replace(MLGCN.Hyper(hidden=WIDTH), **values))


def test_adjacency_by_hand(assert_close: Callable[..., None]) -> None:
    # Class 0 in 4 images, class 1 in 2 of them, class 2 in one of those and nowhere else.
    together = torch.tensor([[4.0, 2, 1], [2, 2, 1], [1, 1, 1]], dtype=torch.float64)
    counts = torch.tensor([4.0, 2, 1], dtype=torch.float64)
    # P = [[., .5, .25], [1, ., .5], [1, 1, .]]: at 0.4 every edge but 0 -> 2.
    expected = [[1, 0.125, 0], [0.125, 1, 0.25], [0.125, 0.125, 1]]
    adjacency = correlation(counts, together)
    assert_close(adjacency, expected, 1e-6)  # the columns are divided by their sum plus 1e-6
    rows = np.sum(expected, 1)
    symmetric = np.array(expected).T / np.sqrt(np.outer(rows, rows))
    assert_close(normalised(adjacency), symmetric, 1e-6)


@pytest.mark.parametrize(("threshold", "neighbours"), [(0.4, 0.25), (0.1, 0.5), (0.0, 0.25)])
def test_adjacency_of_observed_labels(
    assert_close: Callable[..., None], threshold: float, neighbours: float
) -> None:
    problem = make_problem()
    run = make_method(threshold=threshold, neighbours=neighbours).setup(problem, Draw(1))
    expected = reference_adjacency(problem.observed.numpy(), threshold, neighbours)
    assert (expected > 0).sum() > CLASSES  # some edges beside the self-loops
    assert_close(run.constants["adjacency"], expected)


def test_forward_and_loss_in_float64(assert_close: Callable[..., None]) -> None:
    method, problem = make_method(), make_problem()
    run = method.setup(problem, Draw(1))
    run = Run(
        {name: value.double() for name, value in run.params.items()},
        constants={name: value.double() for name, value in run.constants.items()},
    )
    features = Draw(2).normal("features", BATCH, FEATURES).double()
    adjacency = run.constants["adjacency"].numpy()
    assert problem.class_embeddings is not None
    hidden = adjacency @ problem.class_embeddings.double().numpy()
    hidden = hidden @ run.params["gcn.first.weight"].numpy()
    hidden = np.where(hidden > 0, hidden, 0.2 * hidden)
    assert (hidden < 0).any()
    weights = adjacency @ hidden @ run.params["gcn.second.weight"].numpy()
    logits = features.numpy() @ weights.T
    assert_close(method.logits(run, features), logits, 1e-12)

    observed = problem.observed[:BATCH]
    batch = Batch(torch.arange(BATCH), features, observed)
    target = (observed.numpy() == 1).astype(float)
    expected = np.mean(np.logaddexp(0, logits) - target * logits)
    loss = method.step(run, batch, Clock(0, 1, 20, 0, 1), Draw(1)).loss
    assert_close(loss, expected, 1e-12)


def test_one_row_per_class_with_and_without_embeddings() -> None:
    for embeddings, inputs in ((True, 3), (False, CLASSES)):
        method, problem = make_method(), make_problem(embeddings=embeddings)
        run = method.setup(problem, Draw(1))
        shapes = {name: tuple(value.shape) for name, value in run.params.items()}
        assert shapes == {
            "gcn.first.weight": (inputs, WIDTH),
            "gcn.second.weight": (WIDTH, FEATURES),
        }
        weights = classifiers(
            run.constants["adjacency"], run.constants["embeddings"], *run.params.values()
        )
        assert weights.shape == (CLASSES, FEATURES)
    assert torch.equal(run.constants["embeddings"], torch.eye(CLASSES))
    assert MLGCN.Hyper().hidden == 1024


def test_weights_are_uniform_in_the_root_of_the_outputs() -> None:
    weight = graph_layer("gcn.first", 50, 64, Draw(3))["gcn.first.weight"]
    bound = 1 / math.sqrt(64)
    assert weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)


@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("rows", [[0], list(range(BATCH))])
def test_finite_loss_and_gradient(scale: float, rows: list[int]) -> None:
    method, problem = make_method(), make_problem()
    problem.observed[0] = -1
    run = method.setup(problem, Draw(1))
    features = Draw(2).normal("features", len(rows), FEATURES) * scale
    batch = Batch(torch.tensor(rows), features, problem.observed[rows])

    def loss(params: dict[str, Tensor]) -> Tensor:
        state = replace(run, params=params)
        return method.step(state, batch, Clock(0, 1, 20, 0, 1), Draw(1)).loss

    gradient, value = torch.func.grad_and_value(loss)(run.params)
    assert torch.isfinite(value)
    assert all(torch.isfinite(part).all() and part.any() for part in gradient.values())


def test_stacked_runs_equal_single_runs(assert_trees_close: Callable[..., None]) -> None:
    method, clock, seeds = make_method(), Clock(0, 2, 20, 0, 5), [1, 2, 3]
    runs = [method.setup(make_problem(seed), Draw(seed)) for seed in seeds]
    observed = torch.stack([make_problem(seed).observed[:BATCH] for seed in seeds])
    features = torch.stack([Draw(seed).normal("features", BATCH, FEATURES) for seed in seeds])

    def one(
        params: dict[str, Tensor],
        constants: dict[str, Tensor],
        features: Tensor,
        observed: Tensor,
        seed: Tensor,
    ) -> Any:
        def loss(params: dict[str, Tensor]) -> Tensor:
            batch = Batch(torch.arange(BATCH), features, observed)
            run = Run(params, constants=constants)
            return method.step(run, batch, clock, Draw(seed).at(0, 2, 0)).loss

        return torch.func.grad_and_value(loss)(params)

    def stack(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}

    together = torch.func.vmap(one)(
        stack([run.params for run in runs]),
        stack([run.constants for run in runs]),
        features,
        observed,
        torch.tensor(seeds),
    )
    for index, run in enumerate(runs):
        alone = one(
            run.params, run.constants, features[index], observed[index], torch.tensor(seeds[index])
        )
        single = torch.utils._pytree.tree_map(lambda value, i=index: value[i], together)
        assert_trees_close(single, alone)
