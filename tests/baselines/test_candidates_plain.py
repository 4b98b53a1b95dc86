"""PLAIN: the graph, the propagation and the step against full matrices in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baselines import plain
from baselines.core import Batch, Clock, LabelTable, Oracle, Problem
from baselines.plain import PLAIN, Hyper
from benchkit.base.draw import Draw

IMAGES, FEATURES, CLASSES = 30, 5, 6


@pytest.fixture
def problem() -> Problem:
    """Candidates and unknown labels; image 0 has no candidate, nor has the last class."""
    level = Draw(0).uniform("labels", IMAGES, CLASSES)
    observed = (level < torch.linspace(0.7, 0.3, CLASSES)).to(torch.int8)
    observed[level > 0.85] = -1
    observed[0], observed[:, -1] = 0, 0
    return Problem(LabelTable.of(observed), FEATURES, "candidates", 10, Oracle({}, ()))


def normalised(rows):
    return rows / np.where(rows.sum(1, keepdims=True) > 0, rows.sum(1, keepdims=True), 1)


def test_nearest_are_those_of_greatest_cosine(uniform, monkeypatch):
    monkeypatch.setattr(plain, "_ROWS", 4)  # several blocks, the last one short
    x = uniform("features", (11, 3), -1, 1)
    cosine = x @ x.T / np.outer(*[np.linalg.norm(x, axis=1)] * 2)
    np.fill_diagonal(cosine, -np.inf)
    rows, weights = plain.nearest(torch.from_numpy(x), 3)
    expected = np.argsort(-cosine, 1)[:, :3]
    np.testing.assert_array_equal(rows, expected)
    near = np.maximum(np.take_along_axis(cosine, expected, 1), 0)
    np.testing.assert_allclose(weights, normalised(near), rtol=1e-9)


def dense_propagation(z, s, a, x, b, steps):
    """The steps with both graphs as full matrices."""
    graph = z.T @ z
    np.fill_diagonal(graph, 0)
    graph = normalised(graph)
    for _ in range(steps):
        z = s * ((1 - a - b) * s + a * x @ z + b * z @ graph)
    z = z - z.min(1, keepdims=True)
    return z / np.where(z.max(1, keepdims=True) > 0, z.max(1, keepdims=True), 1)


def test_rows_are_stretched_from_least_to_greatest():
    rows = [[0.2, 0.5, 0.8], [0.0, 0.3, 0.6], [0.4, 0.4, 0.4], [0.0, 0.0, 0.0]]
    expected = [[0, 0.5, 1], [0, 0.5, 1], [1, 1, 1], [0, 0, 0]]
    got = plain.stretched(torch.tensor(rows, dtype=torch.float64))
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_goes_on_propagating_from_epoch_to_epoch(problem):
    method = PLAIN(Hyper(neighbours=4, images=0.5, classes=0.1, steps=3))
    problem.observed[3] = -1  # all labels are candidates
    everything = Draw(4).normal("all", IMAGES, FEATURES).double()
    run = method.setup(problem, Draw(0))
    run.params.update({name: value.double() for name, value in run.params.items()})
    rows, weights = (part.numpy() for part in plain.nearest(everything, 4))
    graph = np.zeros((IMAGES, IMAGES))
    np.put_along_axis(graph, rows, weights, 1)
    s = (problem.observed.numpy() != 0).astype(np.float64)
    expected = s
    for epoch in (1, 2, 3):
        clock = Clock(0, epoch, 10, 0, 3)
        run = method.epoch_start(run, problem, everything, clock, Draw(0))
        expected = dense_propagation(expected, s, 0.5, graph, 0.1, 3)
        np.testing.assert_allclose(run.memory["labels"], expected, rtol=1e-9, atol=1e-12)
    assert not expected[s == 0].any()
    assert ((expected > 0) == (s == 1))[~s.all(1)].all()
    assert (expected[3].min(), expected[3].max()) == (0, 1)

    batch = Batch(torch.arange(8), everything[:8], problem.observed[:8])
    bias = run.params["head.bias"].requires_grad_()
    step = method.step(run, batch, clock, Draw(0))
    target = run.memory["labels"].numpy()[:8]
    p = 1 / (1 + np.exp(-everything[:8].numpy() @ run.params["head.weight"].numpy()))
    value = np.mean(-target * np.log(p) - (1 - target) * np.log(1 - p))
    assert step.loss.item() == pytest.approx(value, rel=1e-9)
    (slope,) = torch.autograd.grad(step.loss, bias)
    np.testing.assert_allclose(slope, (p - target).sum(0) / p.size, rtol=1e-9)
    assert not step.memory


def test_propagation_in_double(uniform):
    s = (uniform("candidates", (9, 4)) < 0.6).astype(np.float64)
    s[0] = 0
    x = torch.from_numpy(uniform("features", (9, 3), -1, 1))
    rows, weights = plain.nearest(x, 2)
    graph = np.zeros((9, 9))
    np.put_along_axis(graph, rows.numpy(), weights.numpy(), 1)
    given = torch.from_numpy(s), torch.from_numpy(s), rows, weights
    got = plain.propagate(*given, images=0.6, classes=0.2, steps=5)
    np.testing.assert_allclose(got, dense_propagation(s, s, 0.6, graph, 0.2, 5), rtol=1e-9)


def test_without_graphs_it_is_cross_entropy_on_candidates(problem):
    method = PLAIN(Hyper(images=0.0, classes=0.0))
    everything = Draw(4).normal("all", IMAGES, FEATURES)
    run = method.setup(problem, Draw(0))
    run = method.epoch_start(run, problem, everything, Clock(0, 1, 10, 0, 3), Draw(0))
    assert torch.equal(run.memory["labels"], (problem.observed != 0).float())


def test_a_single_image_has_no_neighbour(problem):
    alone = Problem(
        LabelTable.of(problem.observed[3:4]), FEATURES, "candidates", 10, Oracle({}, ())
    )
    run = PLAIN().setup(alone, Draw(0))
    everything = torch.ones(1, FEATURES)
    run = PLAIN().epoch_start(run, alone, everything, Clock(0, 1, 10, 0, 1), Draw(0))
    assert run.memory["neighbours"].shape == (1, 0)
    assert torch.equal(run.memory["labels"] > 0, alone.observed != 0)
