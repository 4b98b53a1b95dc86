"""Long-tailed losses against NumPy, over drawn labels, class counts and hyperparameters.

The references follow the equations and accept complex logits, so that a complex step gives the
derivative in a direction d to the last digits: f(z + ih d) = f(z) + ih f'(z) d with h = 1e-30.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

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

FACTORS = ("lambda1_negative", "lambda2_negative", "lambda1_positive", "lambda2_positive")
MODES = ("by_class", "average_w", "average_n", "min_n")


@dataclass
class Case:
    """A batch and the statistics of its training set."""

    numbers: np.random.Generator
    logits: np.ndarray  # [B, C]
    target: np.ndarray  # [B, C], 0 or 1
    class_counts: np.ndarray  # [C], may be 0 or num_images
    num_images: int
    shot: np.ndarray  # [C], 0 head, 1 medium, 2 tail


@dataclass
class Options:
    """Hyperparameters of the weighted losses, under the names of `distribution_balanced_loss`."""

    neg_scale: float
    kappa: float
    bias: str
    alpha: float
    beta: float
    mu: float
    gamma: float
    balance: float
    focal: bool
    rebalance: bool
    regularise: bool
    mode: str
    effective_beta: float


# --------------------------------------------------------- the equations; logits may be complex


def softplus(x):
    x = np.asarray(x, complex)
    return np.where(x.real > 0, x, 0) + np.log1p(np.exp(np.where(x.real > 0, -x, x)))


def sigmoid(x):
    return np.exp(-softplus(-x))


def focal_entropy(positive_logits, negative_logits, target, gamma):
    """-(1 - p)^gamma log p; p = sigmoid(positive logits), or sigmoid(-negative logits) if y = 0."""
    score = np.where(target == 1, positive_logits, -negative_logits)
    return sigmoid(-score) ** gamma * softplus(-score)


def rebalanced_weight(target, counts, alpha, beta, mu):
    """alpha + sigmoid(beta (r - mu)), r_bc = (1 / n_c) / sum_j (y_bj / n_j)."""
    weight = np.full(target.shape, alpha + 1.0)
    for image, labels in enumerate(target):
        if labels.any():
            ratio = (1 / counts) / (1 / counts[labels == 1]).sum()
            weight[image] = alpha + sigmoid(beta * (ratio - mu)).real
    return weight


def distribution_balanced(logits, case: Case, options: Options):
    """DB-Focal and its parts; a part that is off leaves the weight 1 or the shift 0."""
    counts = np.maximum(case.class_counts, 1)
    scale = options.neg_scale if options.regularise else 1.0
    strength = options.kappa / options.neg_scale if options.bias == "code" else options.kappa
    log_odds = np.log(np.maximum(case.num_images - counts, 1) / counts)
    shifted = logits - strength * log_odds * options.regularise
    weight = np.ones(case.target.shape)
    if options.rebalance:
        mapping = options.alpha, options.beta, options.mu
        weight = rebalanced_weight(case.target, counts, *mapping)
    weight = np.where(case.target == 1, weight, weight / scale)
    balance, gamma = (options.balance, options.gamma) if options.focal else (1.0, 0.0)
    return (balance * weight * focal_entropy(shifted, scale * shifted, case.target, gamma)).mean()


def inverse_effective_number(count, beta):
    """E(n) = (1 - beta) / (1 - beta^n)."""
    return (1 - beta) / (1 - beta**count)


def class_balanced(logits, case: Case, options: Options):
    """CB-Focal: E(n) of the class, or of the classes that an image shows."""
    counts = np.maximum(case.class_counts, 1)
    effective = partial(inverse_effective_number, beta=options.effective_beta)
    weight = np.empty(case.target.shape)
    for image, labels in enumerate(case.target):
        own_counts = counts[labels == 1]
        if options.mode == "by_class":
            weight[image] = effective(counts)
        elif options.mode == "average_w":
            weight[image] = effective(own_counts).mean()
        elif options.mode == "average_n":
            weight[image] = effective(own_counts.mean())
        else:
            weight[image] = effective(min(own_counts, default=100_000))
    entropy = focal_entropy(logits, logits, case.target, options.gamma)
    return (options.balance * weight * entropy).mean()


def class_means(probability, mask, shot):
    """Mean over the marked labels of a class, else over the classes of its shot group, or nan."""
    marked = mask.any(0)
    own = {c: probability[mask[:, c], c].mean() for c in np.flatnonzero(marked)}
    means = []
    for c in range(len(shot)):
        group = [mean for other, mean in own.items() if shot[other] == shot[c]]
        means.append(own.get(c, np.mean(group) if group else np.nan))
    return np.array(means)


def mean_ratio(positive_probability, negative_probability, target, shot):
    """p+/p- of each class; 1 where one of them is missing, since the other replaces it."""
    ratio = class_means(positive_probability, target == 1, shot)
    ratio = ratio / class_means(negative_probability, target == 0, shot)
    return np.where(np.isnan(ratio), 1.0, ratio)


def probability_guided(logits, case: Case, factors, guidance, gamma, balance, shift, weight):
    """PG: (1 - p)^e+ softplus(-l1+ (z - v)) / l2+, and p^e- softplus(l1- (z - v)) / l2- if y = 0.

    The ratio r = p+/p- has no gradient: it sees the real part of the logits.
    """
    factors, is_raw = dict(factors), guidance.probability == "raw"
    seen = {
        side: logits.real if is_raw else factors[f"lambda1_{side}"] * (logits.real - shift)
        for side in ("positive", "negative")
    }
    sign = -1 if guidance.negative_probability == "complement" else 1
    probabilities = sigmoid(seen["positive"]).real, sigmoid(sign * seen["negative"]).real
    ratio = mean_ratio(*probabilities, case.target, case.shot)
    for name in FACTORS:
        if name in guidance.adaptive.split("+"):
            falls_with_ratio = name == "lambda1_negative" or (
                name == "lambda1_positive" and guidance.lambda1_positive == "narrow"
            )
            factors[name] = factors[name] / ratio if falls_with_ratio else factors[name] * ratio
    positive = factors["lambda1_positive"] * (logits - shift)
    negative = factors["lambda1_negative"] * (logits - shift)
    is_positive = case.target == 1
    positive_terms = softplus(-positive) / factors["lambda2_positive"]
    negative_terms = softplus(negative) / factors["lambda2_negative"]
    elements = np.where(is_positive, positive_terms, negative_terms)
    if guidance.focal != "none":
        lead = ratio if guidance.focal == "adaptive" else 1.0
        of_positives, of_negatives = (logits, logits) if is_raw else (positive, negative)
        log_power = np.where(
            is_positive,
            -gamma * lead * softplus(of_positives),
            -gamma / lead * softplus(-of_negatives),
        )
        elements = balance * np.exp(log_power) * elements
    return (weight * elements).mean()


# --------------------------------------------------------- cases and the comparison


def drawn(seed: int) -> tuple[Case, Options]:
    numbers = np.random.default_rng(seed)
    pick = numbers.choice
    batch, classes, images = pick([1, 2, 7]), numbers.integers(1, 9), 1500
    counts = np.floor(images * numbers.random(classes) ** 4)
    counts[0] = pick([0, 1, images, counts[0]])
    target = (numbers.random((batch, classes)) < pick([0.1, 0.4, 0.9])).astype(float)
    target[0] *= numbers.random() < 0.7
    logits = numbers.normal(size=target.shape) * pick([0.1, 1.0, 3.0])
    shot = numbers.integers(0, 3, classes)
    return Case(numbers, logits, target, counts, images, shot), Options(
        neg_scale=pick([1.0, 2.0, 5.0]),
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
        effective_beta=pick([0.9, 0.999]),
    )


@pytest.fixture
def compare(assert_close):
    """compare(reference, loss, numbers, logits, name): value and derivative in one direction.

    Both are relative to themselves; the floor is the rounding error of terms of order one.
    """

    def check(reference: Any, loss: Any, numbers: Any, logits: np.ndarray, name: str) -> None:
        direction = numbers.normal(size=logits.shape)
        expected = reference(logits + 1e-30j * direction)
        leaf = torch.from_numpy(logits.copy()).requires_grad_()
        value = loss(leaf)
        (gradient,) = torch.autograd.grad(value, leaf)
        assert_close(value, expected.real, floor=1e-15, name=f"{name}, value")
        derivative = (gradient.numpy() * direction).sum()
        assert_close(derivative, expected.imag / 1e-30, floor=1e-15, name=f"{name}, derivative")

    return check


@pytest.mark.parametrize("seed", range(120))
def test_weighted_losses(compare, seed):
    case, options = drawn(seed)
    target, counts = torch.from_numpy(case.target), torch.from_numpy(case.class_counts)
    images, gamma, scale = case.num_images, options.gamma, options.neg_scale
    extreme = case.numbers.choice([-50.0, 50.0], case.logits.shape)
    form = str(case.numbers.choice(["inverse", "inverse-sqrt"]))
    db_options = asdict(options)
    cb_options = dict(beta=db_options.pop("effective_beta"), mode=db_options.pop("mode"))
    cb_options |= dict(gamma=gamma, balance=options.balance)
    clipped = np.maximum(case.class_counts, 1)
    rate = (images / clipped) ** (0.5 if form == "inverse-sqrt" else 1.0)
    max_margin = options.balance / 2
    margin = max_margin * (clipped / clipped.min()) ** -0.25
    pairs = {
        "DB": (
            lambda z: distribution_balanced(z, case, options),
            lambda z: distribution_balanced_loss(
                z, target, counts, images, reduction="mean", **db_options
            ),
        ),
        "RW": (
            lambda z: (rate * focal_entropy(z, z, case.target, 0)).mean(),
            lambda z: reweighted_bce(z, target, counts, images, form=form),
        ),
        "LDAM": (
            lambda z: focal_entropy(scale * (z - margin), scale * z, case.target, 0).mean(),
            lambda z: ldam_loss(z, target, counts, max_margin=max_margin, scale=scale),
        ),
        "focal": (
            lambda z: 0.25 * focal_entropy(z, z, case.target, gamma).mean(),
            lambda z: focal_loss(z, target, gamma=gamma, form="focal-loss"),
        ),
    }
    if case.target.any(1).all() or options.mode in ("by_class", "min_n"):
        pairs["CB-Focal"] = (
            lambda z: class_balanced(z, case, options),
            lambda z: class_balanced_focal_loss(z, target, counts, **cb_options),
        )
    for logits in (case.logits, extreme):
        for name, (reference, loss) in pairs.items():
            compare(reference, loss, case.numbers, logits, name)


@pytest.mark.parametrize("seed", range(120))
def test_probability_guided_losses(compare, seed):
    case, options = drawn(seed)
    pick, classes = case.numbers.choice, case.target.shape[1]
    target, shot = torch.from_numpy(case.target), torch.from_numpy(case.shot)
    factors = {name: pick([1.0, 2.0, 5.0], classes) for name in FACTORS}
    adaptive = [name for name in FACTORS if name != "lambda2_negative" and pick([True, False])]
    guidance = Guidance(
        adaptive="+".join(adaptive) or "none",
        lambda1_positive=str(pick(DIRECTIONS)),
        focal=str(pick(FOCALS)),
        probability=str(pick(PROBABILITIES)),
        negative_probability=str(pick(["complement", "sigma"])),
    )
    shift, gamma = 0.2 * case.numbers.normal(size=classes), max(options.gamma, 0.5)
    weight = case.numbers.random(target.shape) if options.rebalance else np.ones(target.shape)
    torch_factors = Factors(**{name: torch.from_numpy(value) for name, value in factors.items()})
    torch_shift, torch_weight = torch.from_numpy(shift), torch.from_numpy(weight)
    fixed_guidance = Guidance(adaptive="none", focal="none")
    reading = guidance.negative_probability
    focal_guidance = Guidance(adaptive="none", negative_probability=reading)
    ones = dict.fromkeys(FACTORS, 1.0)
    pairs = {
        "PG": (
            lambda z: probability_guided(
                z, case, factors, guidance, gamma, options.balance, shift, weight
            ),
            lambda z: probability_guided_loss(
                z,
                target,
                torch_shift,
                shot,
                torch_factors,
                guidance,
                gamma=gamma,
                balance=options.balance,
                weight=torch_weight,
            ),
        ),
        "PR": (
            lambda z: probability_guided(
                z, case, factors, fixed_guidance, gamma, 1.0, shift, weight
            ),
            lambda z: probability_rebalancing_loss(
                z, target, torch_shift, torch_factors, weight=torch_weight
            ),
        ),
        "APAF": (
            lambda z: probability_guided(z, case, ones, focal_guidance, gamma, 1.0, 0.0, 1.0),
            lambda z: adaptive_focal_loss(
                z, target, shot, gamma=gamma, negative_probability=reading
            ),
        ),
    }
    for name, (reference, loss) in pairs.items():
        compare(reference, loss, case.numbers, case.logits, name)
