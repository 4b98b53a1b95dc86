"""APAF: a NumPy reference, the fallbacks of the batch means, its relation to focal loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baselines.apaf import (
    APAF,
    Hyper,
    adaptive_focal_loss,
    mean_probabilities,
    probability_ratio,
)
from baselines.core import ClassAware, Clock, registry
from baselines.focal import focal_loss

SHOT = np.array([0, 0, 1, 2, 2, 2])  # head, head, medium, tail, tail, tail
CLASSES = range(len(SHOT))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def class_means(probability, mask):
    """Mean probability of each class over its marked labels, [C].

    A class without marked labels takes the mean over the classes of its shot group that have some,
    or nan.
    """
    marked = mask.any(0)
    own = np.array([probability[mask[:, c], c].mean() if marked[c] else np.nan for c in CLASSES])
    means = own.copy()
    for c in CLASSES:
        group = own[np.equal(SHOT, SHOT[c]) & marked]
        if not marked[c] and len(group):
            means[c] = group.mean()
    return means


def mean_ratio(positive_probability, negative_probability, target):
    """p+/p- of each class; 1 where one of them is missing, since the other replaces it."""
    positive = class_means(positive_probability, target)
    negative = class_means(negative_probability, ~target)
    ratio = positive / negative
    return np.where(np.isnan(ratio), 1.0, ratio)


def reference(logits, target, gamma, negative_probability, constant_logits):
    """-(1 - p)^(gamma p+/p-) log p for positives, -p^(gamma p-/p+) log(1 - p) for negatives.

    The mean of all entries. p+ and p- are taken at `constant_logits` and carry no gradient.
    """
    constant = sigmoid(constant_logits)
    of_negatives = 1 - constant if negative_probability == "complement" else constant
    ratio = mean_ratio(constant, of_negatives, target)
    probability = sigmoid(logits)
    positive_terms = (1 - probability) ** (gamma * ratio) * np.log(probability)
    negative_terms = probability ** (gamma / ratio) * np.log(1 - probability)
    return -np.where(target, positive_terms, negative_terms).mean()


def labels(uniform, kind: str) -> np.ndarray:
    target = uniform("target", (5, 6)) < 0.4
    if kind == "missing":  # no tail positive, a head class without positives, one without negatives
        target[:, 3:] = False
        target[:, 0] = False
        target[:, 1] = True
    return target[:1] if kind == "one image" else target


@pytest.mark.parametrize("kind", ["ordinary", "missing", "one image"])
@pytest.mark.parametrize("reading", ["complement", "sigma"])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_numpy_reference(uniform, assert_reference, gamma, reading, kind):
    target = labels(uniform, kind)
    logits = uniform("logits", target.shape, -4, 4)
    options = dict(gamma=gamma, negative_probability=reading)
    assert_reference(
        lambda logits: adaptive_focal_loss(
            logits, torch.from_numpy(target), torch.from_numpy(SHOT), **options
        ),
        lambda variable: reference(variable, target, **options, constant_logits=logits),
        logits,
    )


def test_fallbacks_worked_by_hand():
    p = torch.tensor([[0.2, 0.4, 0.6, 0.8, 0.5], [0.6, 0.4, 0.2, 0.4, 0.1]], dtype=torch.float64)
    target = torch.tensor([[1, 0, 1, 0, 0], [1, 0, 1, 1, 0]], dtype=torch.float64)
    shot = torch.tensor([0, 0, 1, 1, 2])
    positive, negative = mean_probabilities(p, 1 - p, target, shot)
    # Class 1 takes class 0's mean; class 4, alone in its group, takes its own negative mean.
    assert positive.tolist() == pytest.approx([0.4, 0.4, 0.4, 0.4, 0.7])
    # Class 0 has no negatives and takes class 1's; class 2 takes class 3's.
    assert negative.tolist() == pytest.approx([0.6, 0.6, 0.2, 0.2, 0.7])


def test_means_of_the_vectors(vectors):
    case = vectors("lt_apaf__a")
    logits = torch.tensor(case["logits"], dtype=torch.float64)
    target = torch.tensor(case["targets"], dtype=torch.float64)
    shot = torch.ones(20, dtype=torch.int64)
    shot[case["groups"]["head"]], shot[case["groups"]["tail"]] = 0, 2
    probabilities = torch.sigmoid(logits), torch.sigmoid(-logits)
    positive, negative = mean_probabilities(*probabilities, target, shot)
    assert positive.tolist() == pytest.approx(case["mean_prob_pos"], rel=1e-12)
    assert negative.tolist() == pytest.approx(case["mean_prob_neg"], rel=1e-12)
    ratio = probability_ratio(logits, logits, target, shot)
    assert (2 / ratio).tolist() == pytest.approx(case["lambda_pos"], rel=1e-12)
    assert (2 * ratio).tolist() == pytest.approx(case["lambda_neg"], rel=1e-12)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_equal_means_are_focal(assert_close, gamma):
    # Mirrored logits: each class predicts its positives as well as its negatives.
    half = torch.tensor([[0.3, -1.2, 2.0], [1.5, 0.4, -0.7]], dtype=torch.float64)
    logits = torch.cat([half, -half]).requires_grad_()
    target = torch.tensor([[1], [1], [0], [0]]).expand(4, 3)
    adaptive = adaptive_focal_loss(logits, target, torch.tensor([0, 1, 2]), gamma=gamma)
    focal = focal_loss(logits, target, gamma=gamma, balance=1.0)
    torch.testing.assert_close(adaptive, focal, rtol=1e-12, atol=0)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (adaptive, focal)]
    assert_close(*gradients, 1e-12)


def test_the_ratio_is_limited():
    logits = torch.tensor([[5.0, -5.0], [-5.0, 5.0]])
    target = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    logits[1, 0] = 9.0  # the negative of class 0 is predicted as positive
    shot = torch.tensor([0, 0])
    ratio = probability_ratio(logits, logits, target, shot, limit=10.0)
    assert ratio.tolist() == pytest.approx([0.1, 1.0])
    with pytest.raises(ValueError, match="negative_probability is 'both'"):
        probability_ratio(logits, logits, target, shot, negative_probability="both")


@pytest.mark.parametrize("reading", ["complement", "sigma"])
@pytest.mark.parametrize("shot", [[0, 0, 1, 2], [2, 2, 2, 2], [0, 1, 2, 2]])
def test_finite_in_float32(assert_finite, reading, shot):
    for scale in (1.0, 10.0, 1000.0):
        assert_finite(
            lambda logits, observed, scale=scale: adaptive_focal_loss(
                scale * logits, observed == 1, torch.tensor(shot), negative_probability=reading
            )
        )


def test_method(toy_problem, first_step, assert_stacks):
    problem, method = toy_problem(1), APAF(Hyper(many=4, few=3, gamma=1.0))
    run, batch, step = first_step(method, problem)
    counts = (problem.observed == 1).sum(0)
    shot = torch.tensor([0 if n >= 4 else 1 if n >= 3 else 2 for n in counts])
    logits = method.logits(run, batch.features)
    expected = adaptive_focal_loss(logits, batch.observed == 1, shot, gamma=1.0)
    assert step.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert isinstance(method.sampling(run, problem, Clock(0, 1, 10, 0, 3)), ClassAware)
    assert APAF(Hyper(counts="true")).oracle() == ("true_counts",)
    assert_stacks(method)
    assert_stacks(APAF(Hyper(many=4, few=3)), gamma=[0.0, 1.0, 2.0], limit=[10.0, 100.0, 1e6])
    assert registry.get("apaf") is APAF
