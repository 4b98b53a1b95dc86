"""PLAIN: the graph, the propagation and the step against dense matrices in NumPy."""

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


def test_nearest_are_those_of_greatest_cosine(uniform, monkeypatch, assert_close):
    monkeypatch.setattr(plain, "_ROWS", 4)  # several blocks, the last one short
    features = uniform("features", (11, 3), -1, 1)
    norms = np.linalg.norm(features, axis=1)
    cosine = features @ features.T / np.outer(norms, norms)
    np.fill_diagonal(cosine, -np.inf)
    rows, weights = plain.nearest(torch.from_numpy(features), 3)
    expected = np.argsort(-cosine, 1)[:, :3]
    np.testing.assert_array_equal(rows, expected)
    near = np.maximum(np.take_along_axis(cosine, expected, 1), 0)
    assert_close(weights, normalised(near))


def dense_propagation(labels, candidates, image_graph, a, b, steps):
    """Z <- s ((1 - a - b) s + a A Z + b Z L), `steps` times; then each row stretched to [0, 1].

    A is the graph of the images; L the co-occurrence of the classes in `labels` with rows of sum 1.
    """
    class_graph = labels.T @ labels
    np.fill_diagonal(class_graph, 0)
    class_graph = normalised(class_graph)
    for _ in range(steps):
        from_images, from_classes = image_graph @ labels, labels @ class_graph
        labels = candidates * ((1 - a - b) * candidates + a * from_images + b * from_classes)
    labels = labels - labels.min(1, keepdims=True)
    greatest = labels.max(1, keepdims=True)
    return labels / np.where(greatest > 0, greatest, 1)


def dense_graph(rows, weights):
    graph = np.zeros((len(rows), len(rows)))
    np.put_along_axis(graph, np.asarray(rows), np.asarray(weights), 1)
    return graph


def test_rows_are_stretched_from_least_to_greatest(assert_close):
    rows = [[0.2, 0.5, 0.8], [0.0, 0.3, 0.6], [0.4, 0.4, 0.4], [0.0, 0.0, 0.0]]
    expected = [[0, 0.5, 1], [0, 0.5, 1], [1, 1, 1], [0, 0, 0]]
    assert_close(plain.stretched(torch.tensor(rows, dtype=torch.float64)), expected, 1e-12)


def test_goes_on_propagating_from_epoch_to_epoch(problem, assert_close):
    method = PLAIN(Hyper(neighbours=4, images=0.5, classes=0.1, steps=3))
    problem.observed[3] = -1  # all labels are candidates
    everything = Draw(4).normal("all", IMAGES, FEATURES).double()
    run = method.setup(problem, Draw(0))
    run.params.update({name: value.double() for name, value in run.params.items()})
    graph = dense_graph(*plain.nearest(everything, 4))
    candidates = (problem.observed.numpy() != 0).astype(np.float64)
    expected = candidates
    for epoch in (1, 2, 3):
        clock = Clock(0, epoch, 10, 0, 3)
        run = method.epoch_start(run, problem, everything, clock, Draw(0))
        expected = dense_propagation(expected, candidates, graph, 0.5, 0.1, 3)
        assert_close(run.memory["labels"], expected)
    assert not expected[candidates == 0].any()
    assert ((expected > 0) == (candidates == 1))[~candidates.all(1)].all()
    assert (expected[3].min(), expected[3].max()) == (0, 1)

    batch = Batch(torch.arange(8), everything[:8], problem.observed[:8])
    bias = run.params["head.bias"].requires_grad_()
    step = method.step(run, batch, clock, Draw(0))
    target = run.memory["labels"].numpy()[:8]
    probability = 1 / (1 + np.exp(-everything[:8].numpy() @ run.params["head.weight"].numpy()))
    log_likelihood = target * np.log(probability) + (1 - target) * np.log(1 - probability)
    assert_close(step.loss, -log_likelihood.mean())
    (gradient,) = torch.autograd.grad(step.loss, bias)
    assert_close(gradient, (probability - target).sum(0) / probability.size)
    assert not step.memory


def test_propagation_in_double(uniform, assert_close):
    candidates = (uniform("candidates", (9, 4)) < 0.6).astype(np.float64)
    candidates[0] = 0
    features = torch.from_numpy(uniform("features", (9, 3), -1, 1))
    rows, weights = plain.nearest(features, 2)
    labels = torch.from_numpy(candidates)
    propagated = plain.propagate(labels, labels, rows, weights, images=0.6, classes=0.2, steps=5)
    graph = dense_graph(rows, weights)
    assert_close(propagated, dense_propagation(candidates, candidates, graph, 0.6, 0.2, 5))


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
