"""Long-tailed losses against NumPy, over drawn labels, class counts and hyperparameters.

The references are written from the equations, case by case where the losses interpolate, and give
the derivative by a complex step: f(z + ih) = f(z) + ih f'(z).
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from baselines.apaf import adaptive_focal_loss
from baselines.cb_focal import class_balanced_focal_loss
from baselines.db_focal import distribution_balanced_loss
from baselines.focal import focal_loss
from baselines.ldam import ldam_loss
from baselines.pg import DIRECTIONS, FOCALS, PROBABILITIES, Guidance, probability_guided_loss
from baselines.pr import Factors, probability_rebalancing_loss
from baselines.rw import reweighted_bce

NAMES = ("lambda1_negative", "lambda2_negative", "lambda1_positive", "lambda2_positive")
MODES = ("by_class", "average_w", "average_n", "min_n")


def softplus(x):
    x = np.asarray(x, complex)
    return np.where(x.real > 0, x, 0) + np.log1p(np.exp(np.where(x.real > 0, -x, x)))


def sigmoid(x):
    return np.exp(-softplus(-x))


def focal_entropy(positive, negative, y, gamma):
    """(1 - p)^gamma (-log p), p = sigmoid(positive) for y = 1 and sigmoid(-negative) for y = 0."""
    score = np.where(y == 1, positive, -negative)
    return sigmoid(-score) ** gamma * softplus(-score)


def balanced_weight(y, n, alpha, beta, mu):
    weight = np.full(y.shape, alpha + 1.0)
    for row, labels in enumerate(y):
        if labels.any():
            ratio = (1 / n) / (1 / n[labels == 1]).sum()
            weight[row] = alpha + sigmoid(beta * (ratio - mu)).real
    return weight


def balanced(z, case, o):
    """DB and its parts: parts that are off leave the factor 1 and the shift 0."""
    y, n = case.y, np.maximum(case.n, 1)
    scale = o.lam if o.regularise else 1.0
    strength = o.kappa / o.lam if o.bias == "code" else o.kappa
    shift = strength * np.log(np.maximum(case.images - n, 1) / n) * o.regularise
    weight = balanced_weight(y, n, o.alpha, o.beta, o.mu) if o.rebalance else np.ones(y.shape)
    weight = np.where(y == 1, weight, weight / scale) * (o.balance if o.focal else 1.0)
    u = z - shift
    return (weight * focal_entropy(u, scale * u, y, o.gamma if o.focal else 0.0)).mean()


def mean_probabilities(positive, negative, y, shot):
    """p+ and p- of the batch, from the class, its group, or the other kind of label."""
    found = []
    for value, kind in ((positive, 1), (negative, 0)):
        own = {c: value[y[:, c] == kind, c].mean() for c in range(y.shape[1]) if kind in y[:, c]}
        near = {c: [m for k, m in own.items() if shot[k] == shot[c]] for c in range(y.shape[1])}
        found.append({c: own.get(c, np.mean(m) if m else None) for c, m in near.items()})
    pairs = [(a, found[1][c]) for c, a in found[0].items()]
    plus = [b if a is None else a for a, b in pairs]
    return np.array(plus), np.array([a if b is None else b for a, b in pairs])


def guided(z, case, factors, g, gamma, balance, shift, weight):
    y, f = case.y, dict(factors)
    seen = {
        side: z.real if g.probability == "raw" else f[f"lambda1_{side}"] * (z.real - shift)
        for side in ("positive", "negative")
    }
    sign = -1 if g.negative_probability == "complement" else 1
    sides = sigmoid(seen["positive"]).real, sigmoid(sign * seen["negative"]).real
    plus, minus = mean_probabilities(*sides, y, case.shot)
    for name in g.adaptive.split("+") if g.adaptive != "none" else ():
        rising = name == "lambda1_negative" or (
            name == "lambda1_positive" and g.lambda1_positive == "narrow"
        )
        f[name] = f[name] * (minus / plus if rising else plus / minus)
    positive, negative = (f[f"lambda1_{side}"] * (z - shift) for side in ("positive", "negative"))
    element = np.where(
        y == 1,
        softplus(-positive) / f["lambda2_positive"],
        softplus(negative) / f["lambda2_negative"],
    )
    if g.focal != "none":
        lead = plus / minus if g.focal == "adaptive" else 1.0
        p, q = (z, z) if g.probability == "raw" else (positive, negative)
        power = np.where(y == 1, -gamma * lead * softplus(p), -gamma / lead * softplus(-q))
        element = balance * np.exp(power) * element
    return (weight * element).mean()


def effective(count, beta):
    return (1 - beta) / (1 - beta**count)


def class_balanced(z, case, o):
    y, n = case.y, np.maximum(case.n, 1)
    weight = np.empty(y.shape)
    for row, labels in enumerate(y):
        own = n[labels == 1]
        weight[row] = {
            "by_class": lambda own=own: effective(n, o.cb_beta),
            "average_w": lambda own=own: effective(own, o.cb_beta).mean(),
            "average_n": lambda own=own: effective(own.mean(), o.cb_beta),
            "min_n": lambda own=own: effective(min(own, default=100000), o.cb_beta),
        }[o.mode]()
    return (o.balance * weight * focal_entropy(z, z, y, o.gamma)).mean()


def drawn(seed):
    """A batch, its training set's statistics, and options."""
    numbers = np.random.default_rng(seed)
    size, classes, images = numbers.choice([1, 2, 7]), numbers.integers(1, 9), 1500
    n = np.floor(images * numbers.random(classes) ** 4)
    n[0] = numbers.choice([0, 1, images, n[0]])
    y = (numbers.random((size, classes)) < numbers.choice([0.1, 0.4, 0.9])).astype(float)
    y[0] *= numbers.random() < 0.7
    z = numbers.normal(size=y.shape) * numbers.choice([0.1, 1.0, 3.0])
    shot = numbers.integers(0, 3, classes)
    case = SimpleNamespace(y=y, n=n, images=images, z=z, shot=shot, numbers=numbers)
    pick = numbers.choice
    return case, SimpleNamespace(
        lam=pick([1.0, 2.0, 5.0]),
        kappa=pick([0.0, 0.05, 0.5]),
        bias=str(pick(["code", "paper"])),
        alpha=pick([0.0, 0.1, 0.5]),
        beta=pick([1.0, 10.0]),
        mu=pick([0.2, 0.3]),
        gamma=pick([0.0, 1.0, 2.0, 3.5]),
        balance=pick([1.0, 2.0]),
        focal=bool(pick([True, False])),
        rebalance=bool(pick([True, False])),
        regularise=bool(pick([True, False])),
        mode=str(pick(MODES)),
        cb_beta=pick([0.9, 0.999]),
    )


def compare(reference, loss, case, z=None):
    """Value, and derivative in a random direction, in float64."""
    z = case.z if z is None else z
    way = case.numbers.normal(size=z.shape)
    expected = reference(z + 1e-30j * way)
    logits = torch.from_numpy(z.copy()).requires_grad_()
    value = loss(logits)
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.item() == pytest.approx(expected.real, rel=1e-9, abs=1e-12)
    slope = (gradient.numpy() * way).sum()
    assert slope == pytest.approx(expected.imag / 1e-30, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("seed", range(120))
def test_weighted_losses(seed):
    case, o = drawn(seed)
    y, n, images = torch.from_numpy(case.y), torch.from_numpy(case.n), case.images
    options = {k: getattr(o, k) for k in ("alpha", "beta", "mu", "kappa", "bias", "focal", "gamma")}
    options |= {k: getattr(o, k) for k in ("balance", "rebalance", "regularise")}
    far = case.numbers.choice([-50.0, 50.0], case.z.shape)
    root = bool(case.numbers.integers(2))
    count = np.maximum(case.n, 1)
    rate = np.sqrt(images / count) if root else images / count
    margin = o.balance / 2 * (count / count.min()) ** -0.25
    form = "inverse-sqrt" if root else "inverse"
    for z in (case.z, far):
        compare(
            lambda z: balanced(z, case, o),
            lambda z: distribution_balanced_loss(
                z, y, n, images, neg_scale=o.lam, reduction="mean", **options
            ),
            case,
            z,
        )
        compare(
            lambda z: (rate * focal_entropy(z, z, case.y, 0)).mean(),
            lambda z: reweighted_bce(z, y, n, images, form=form),
            case,
            z,
        )
        compare(
            lambda z: focal_entropy(o.lam * (z - margin), o.lam * z, case.y, 0).mean(),
            lambda z: ldam_loss(z, y, n, max_margin=o.balance / 2, scale=o.lam),
            case,
            z,
        )
        compare(
            lambda z: 0.25 * focal_entropy(z, z, case.y, o.gamma).mean(),
            lambda z: focal_loss(z, y, gamma=o.gamma, form="focal-loss"),
            case,
            z,
        )
        if case.y.any(1).all() or o.mode in ("by_class", "min_n"):
            compare(
                lambda z: class_balanced(z, case, o),
                lambda z: class_balanced_focal_loss(
                    z, y, n, beta=o.cb_beta, mode=o.mode, gamma=o.gamma, balance=o.balance
                ),
                case,
                z,
            )


@pytest.mark.parametrize("seed", range(120))
def test_probability_guided_losses(seed):
    case, o = drawn(seed)
    pick, y, shot = case.numbers.choice, torch.from_numpy(case.y), torch.from_numpy(case.shot)
    classes = case.y.shape[1]
    factors = {name: pick([1.0, 2.0, 5.0], classes) for name in NAMES}
    adaptive = [name for name in NAMES if name != "lambda2_negative" and pick([True, False])]
    guidance = Guidance(
        adaptive="+".join(adaptive) or "none",
        lambda1_positive=str(pick(DIRECTIONS)),
        focal=str(pick(FOCALS)),
        probability=str(pick(PROBABILITIES)),
        negative_probability=str(pick(["complement", "sigma"])),
    )
    shift, gamma = 0.2 * case.numbers.normal(size=classes), max(o.gamma, 0.5)
    weight = case.numbers.random(case.y.shape) if o.rebalance else np.ones(case.y.shape)
    given = Factors(**{name: torch.from_numpy(value) for name, value in factors.items()})
    moved, w = torch.from_numpy(shift), torch.from_numpy(weight)
    compare(
        lambda z: guided(z, case, factors, guidance, gamma, o.balance, shift, weight),
        lambda z: probability_guided_loss(
            z, y, moved, shot, given, guidance, gamma=gamma, balance=o.balance, weight=w
        ),
        case,
    )
    plain = Guidance(adaptive="none", focal="none")
    compare(
        lambda z: guided(z, case, factors, plain, gamma, 1.0, shift, weight),
        lambda z: probability_rebalancing_loss(z, y, moved, given, weight=w),
        case,
    )
    sigma = guidance.negative_probability
    alone = Guidance(adaptive="none", negative_probability=sigma)
    compare(
        lambda z: guided(z, case, dict.fromkeys(NAMES, 1.0), alone, gamma, 1.0, 0.0, 1.0),
        lambda z: adaptive_focal_loss(z, y, shot, gamma=gamma, negative_probability=sigma),
        case,
    )
