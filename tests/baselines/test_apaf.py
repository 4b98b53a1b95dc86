"""APAF: an independent implementation, the fallbacks of the batch means, its identities."""

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

SHOT = np.array([0, 0, 1, 2, 2, 2])


def means(p, q, y, shot):
    """p+ and p-, class by class, with the paper's fallbacks."""
    classes = range(y.shape[1])
    own_p = {c: p[y[:, c], c].mean() for c in classes if y[:, c].any()}
    own_q = {c: q[~y[:, c], c].mean() for c in classes if not y[:, c].all()}

    def of(own, c):
        peers = [value for j, value in own.items() if shot[j] == shot[c]]
        return own.get(c, np.mean(peers) if peers else None)

    pairs = [(of(own_p, c), of(own_q, c)) for c in classes]
    return np.array([(q if p is None else p, p if q is None else q) for p, q in pairs]).T


def reference(z, y, gamma, reading, held):
    p = 1 / (1 + np.exp(-held))
    positive, negative = means(p, 1 - p if reading == "complement" else p, y, SHOT)
    up, down = gamma * positive / negative, gamma * negative / positive
    p = 1 / (1 + np.exp(-z))
    terms = np.where(y, (1 - p) ** up * np.log(p), p**down * np.log(1 - p))
    return -terms.mean()


def labels(uniform, kind: str) -> np.ndarray:
    y = uniform("target", (5, 6)) < 0.4
    if kind == "missing":  # no tail positive, a head class without positives, one without negatives
        y[:, 3:] = False
        y[:, 0] = False
        y[:, 1] = True
    return y[:1] if kind == "one image" else y


@pytest.mark.parametrize("kind", ["ordinary", "missing", "one image"])
@pytest.mark.parametrize("reading", ["complement", "sigma"])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_numpy_reference(uniform, assert_reference, gamma, reading, kind):
    y = labels(uniform, kind)
    logits = uniform("logits", y.shape, -4, 4)
    assert_reference(
        lambda z: adaptive_focal_loss(
            z,
            torch.from_numpy(y),
            torch.from_numpy(SHOT),
            gamma=gamma,
            negative_probability=reading,
        ),
        lambda z: reference(z, y, gamma, reading, logits),
        logits,
    )


def test_fallbacks_worked_by_hand():
    p = torch.tensor([[0.2, 0.4, 0.6, 0.8, 0.5], [0.6, 0.4, 0.2, 0.4, 0.1]], dtype=torch.float64)
    y = torch.tensor([[1, 0, 1, 0, 0], [1, 0, 1, 1, 0]], dtype=torch.float64)
    shot = torch.tensor([0, 0, 1, 1, 2])
    positive, negative = mean_probabilities(p, 1 - p, y, shot)
    # Class 1 takes class 0's mean; class 4, alone in its group, its own negative mean.
    assert positive.tolist() == pytest.approx([0.4, 0.4, 0.4, 0.4, 0.7])
    # Class 0 has no negatives and takes class 1's; class 2 takes class 3's.
    assert negative.tolist() == pytest.approx([0.6, 0.6, 0.2, 0.2, 0.7])


def test_means_of_the_vectors(vectors):
    case = vectors("lt_apaf__a")
    z = torch.tensor(case["logits"], dtype=torch.float64)
    y = torch.tensor(case["targets"], dtype=torch.float64)
    shot = torch.ones(20, dtype=torch.int64)
    shot[case["groups"]["head"]], shot[case["groups"]["tail"]] = 0, 2
    positive, negative = mean_probabilities(torch.sigmoid(z), torch.sigmoid(-z), y, shot)
    assert positive.tolist() == pytest.approx(case["mean_prob_pos"], rel=1e-12)
    assert negative.tolist() == pytest.approx(case["mean_prob_neg"], rel=1e-12)
    ratio = probability_ratio(z, z, y, shot)
    assert (2 / ratio).tolist() == pytest.approx(case["lambda_pos"], rel=1e-12)
    assert (2 * ratio).tolist() == pytest.approx(case["lambda_neg"], rel=1e-12)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_equal_means_are_focal(gamma):
    # Mirrored logits: each class predicts its positives as well as its negatives.
    half = torch.tensor([[0.3, -1.2, 2.0], [1.5, 0.4, -0.7]], dtype=torch.float64)
    z = torch.cat([half, -half]).requires_grad_()
    y = torch.tensor([[1], [1], [0], [0]]).expand(4, 3)
    shot = torch.tensor([0, 1, 2])
    got = adaptive_focal_loss(z, y, shot, gamma=gamma)
    expected = focal_loss(z, y, gamma=gamma, balance=1.0)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=0)
    slopes = [torch.autograd.grad(loss, z)[0] for loss in (got, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-12, atol=1e-15)


def test_limit_keeps_the_ratio():
    z = torch.tensor([[5.0, -5.0], [-5.0, 5.0]])
    y = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    z[1, 0] = 9.0  # negatives of class 0 far behind
    ratio = probability_ratio(z, z, y, torch.tensor([0, 0]), limit=10.0)
    assert ratio.tolist() == pytest.approx([0.1, 1.0])
    with pytest.raises(ValueError, match="negative_probability is 'both'"):
        probability_ratio(z, z, y, torch.tensor([0, 0]), negative_probability="both")


@pytest.mark.parametrize("reading", ["complement", "sigma"])
@pytest.mark.parametrize("shot", [[0, 0, 1, 2], [2, 2, 2, 2], [0, 1, 2, 2]])
def test_finite_in_float32(assert_finite, reading, shot):
    for scale in (1.0, 10.0, 1000.0):
        assert_finite(
            lambda z, observed, s=scale: adaptive_focal_loss(
                s * z, observed == 1, torch.tensor(shot), negative_probability=reading
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
