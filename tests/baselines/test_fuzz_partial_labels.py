"""Partial-label methods over several steps, each against a second implementation in NumPy.

The second implementation follows the equations. It accepts complex logits, so that complex steps
give gradients to the last digits of float64. Value, gradient, memory and state agree to 1e-9 of
their largest entry in float64 and to 1e-5 in float32. Problems, hyperparameters and logits are
drawn. Most problems are degenerate somewhere: images without known labels, no positive, one class,
one image, repeated rows, logits of 50. The trainer's own stack writes back the memory of a step, so
that the next step starts from it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from baselines.core import Clock, LabelTable, Method, Oracle, Problem, Setup, registry
from benchkit.base.draw import Draw
from benchkit.base.random import generator
from benchkit.training.stack import Stack

# Rounding error of a sum whose terms are of order one and cancel.
FLOOR = {torch.float64: 1e-15, torch.float32: 5e-7}


@dataclass
class Inputs:
    """The inputs of an equation beside the logits, and what the step writes to memory and state."""

    hyper: dict[str, Any]
    memory: dict[str, Any]  # of all images and classes
    observed: np.ndarray  # [B, C]
    constant: np.ndarray  # [B, C], the logits where they carry no gradient
    rows: np.ndarray  # [B]
    clock: Clock
    draw: Draw
    oracle: Oracle
    estimate: np.ndarray | None = None  # [B, C], ROLE's logits of its estimated labels
    memory_rows: dict[str, np.ndarray] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)


# --------------------------------------------------------- shared terms; complex logits [K, B, C]


def log_sigmoid(logits):
    tail = np.exp(np.where(logits.real > 0, -logits, logits))
    log = np.log1p(tail.real) + 1j * tail.imag / (1 + tail.real)  # the imaginary part is tiny
    return np.where(logits.real > 0, 0, logits) - log


def sigmoid(logits):
    tail = np.exp(np.where(logits.real > 0, -logits, logits))
    return np.where(logits.real > 0, 1, tail) / (1 + tail)


def guarded(logits, target, negative_target=None):
    """t nl(p) + u nl(1 - p), nl(p) = -log(p + 1e-5); u = 1 - t by default."""
    negative_target = 1 - target if negative_target is None else negative_target
    positive_terms = -np.log(sigmoid(logits) + 1e-5) * target
    return positive_terms - np.log(sigmoid(-logits) + 1e-5) * negative_target


def entropy(logits, target):
    """-t log p - (1 - t) log(1 - p)."""
    return -log_sigmoid(logits) * target - log_sigmoid(-logits) * (1 - target)


def focal(logits, positive, gamma):
    """-(1 - p)^gamma log p where positive, -p^gamma log(1 - p) elsewhere."""
    score = np.where(positive, logits, -logits)
    return -np.exp(gamma * log_sigmoid(-score)) * log_sigmoid(score)


def mean(terms):
    return terms.mean((-2, -1))


def image_mean(terms, mask):
    """Mean over the marked labels of each image; 0 over none."""
    return (terms * mask).sum(-1) / np.maximum(mask.sum(-1), 1)


def expected_positives(inputs):
    return inputs.hyper["expected_positives"] or inputs.oracle["expected_positives"]


def excess(logits, inputs):
    """((mean_i sum_c p_ic - k) / C)^2."""
    batch, classes = logits.shape[-2:]
    positives = sigmoid(logits).sum((-2, -1)) / batch
    return ((positives - expected_positives(inputs)) / classes) ** 2


# --------------------------------------------------------- the equations, one method each


def an(logits, inputs):
    return mean(guarded(logits, inputs.observed == 1))


def an_ls(logits, inputs):
    smoothing = inputs.hyper["smoothing"]
    return mean(guarded(logits, np.where(inputs.observed == 1, 1 - smoothing, smoothing)))


def wan(logits, inputs):
    negative_weight = 1 / max(inputs.observed.shape[1] - 1, 1)
    positive = inputs.observed == 1
    return mean(guarded(logits, positive, ~positive * negative_weight))


def epr(logits, inputs):
    return mean(guarded(logits, inputs.observed == 1, 0)) + excess(logits, inputs)


def role(logits, inputs):
    positive, estimate = inputs.observed == 1, inputs.estimate
    constant_estimate = estimate.real
    cross = guarded(logits, sigmoid(constant_estimate), sigmoid(-constant_estimate))
    cross = cross + guarded(estimate, sigmoid(inputs.constant), sigmoid(-inputs.constant))
    known = guarded(logits, positive, 0) + guarded(estimate, positive, 0)
    return (mean(cross + known) + excess(logits, inputs) + excess(estimate, inputs)) / 2


def iu(logits, inputs):
    return mean(guarded(logits, inputs.observed == 1, inputs.observed == 0))


def iun(logits, inputs):
    true_labels = inputs.oracle["true_labels"].whole().numpy()[inputs.rows]
    return mean(guarded(logits, inputs.observed == 1, true_labels == 0))


def partial_bce(logits, inputs):
    hyper, known = inputs.hyper, inputs.observed != -1
    terms = known * entropy(logits, inputs.observed == 1)
    if hyper["normalise"] == "batch":
        return terms.sum((-2, -1)) / max(known.sum(), 1)
    share = np.where(known.any(1), known.mean(1), 1)
    weight = np.where(known.any(1), hyper["a"] * share ** hyper["gamma"] + hyper["b"], 0)
    return mean(weight[:, None] * terms)


def pseudo_label(logits, inputs):
    observed, pseudo = inputs.observed, inputs.memory["pseudo"][inputs.rows]
    inputs.memory_rows["pseudo"] = np.where(observed == -1, sigmoid(inputs.constant), pseudo)
    known_mean = image_mean(entropy(logits, observed == 1), observed != -1)
    return (known_mean + image_mean(entropy(logits, pseudo), observed == -1)).mean(-1)


def em(logits, inputs):
    """EM and EM + APL: only the latter ever marks a label."""
    hyper, observed = inputs.hyper, inputs.observed
    marked, soft = (inputs.memory[name][inputs.rows] for name in ("marked", "soft"))
    prediction_entropy = guarded(logits, sigmoid(logits), sigmoid(-logits))
    soft_negative = hyper.get("beta", 0) * guarded(logits, soft)
    unknown_terms = np.where(marked, soft_negative, -hyper["alpha"] * prediction_entropy)
    return mean(np.where(observed == -1, unknown_terms, guarded(logits, observed == 1)))


def hill(logits, inputs):
    hyper, probability = inputs.hyper, sigmoid(logits)
    positive_terms = focal(logits - hyper["margin"], True, hyper["gamma"])
    negative_terms = (hyper["lam"] - probability) * probability**2
    return mean(np.where(inputs.observed == 1, positive_terms, negative_terms))


def splc(logits, inputs):
    hyper, positive = inputs.hyper, inputs.observed == 1
    confident = (inputs.observed == -1) & (sigmoid(inputs.constant) > hyper["tau"])
    corrected = confident & (inputs.clock.epoch > hyper["change_epoch"])
    return mean(focal(logits - hyper["margin"] * positive, positive | corrected, hyper["gamma"]))


def partial_asymmetric(logits, inputs, weights):
    """-mean[W a (1 - r)^g log r], r = p of a positive, n = min(1 - p + clip, 1) of the others."""
    hyper, positive = inputs.hyper, inputs.observed == 1
    right = np.where(positive, sigmoid(logits), sigmoid(-logits) + hyper["clip"])
    right = np.where(right.real > 1, 1, np.where(right.real < 1e-8, 1e-8, right))
    constant = inputs.constant
    shifted = np.maximum(sigmoid(constant) - hyper["clip"], 0)
    wrong = np.where(positive, sigmoid(-constant), shifted)
    total = np.zeros(len(logits), complex)
    for code, kind in ((1, "positive"), (0, "negative"), (-1, "unknown")):
        power = wrong ** hyper[f"gamma_{kind}"]
        factor = (inputs.observed == code) * weights * hyper[f"alpha_{kind}"]
        total -= mean(factor * power * np.log(right))
    return total


def p_asl(logits, inputs):
    known = (inputs.observed != -1).astype(float)
    weights = {
        "ignore": known,
        "ignore-normalised": known * (1 + 1 / (1 + known.sum(1, keepdims=True))),
        "negative": np.ones_like(known),
    }
    return partial_asymmetric(logits, inputs, weights[inputs.hyper["mode"]])


def csl(logits, inputs):
    hyper, memory = inputs.hyper, inputs.memory
    unknown, weights = inputs.observed == -1, np.ones(inputs.observed.shape)
    if hyper["prior"] and inputs.clock.stage == 0:  # the prior: the mean of all predictions so far
        seen = memory["seen"] + len(unknown)
        total = memory["prior"] * memory["seen"] + sigmoid(inputs.constant).sum(0)
        inputs.state |= {"prior": total / seen, "seen": seen}
        return partial_asymmetric(logits, inputs, ~unknown)
    if hyper["prior"] and hyper["prior_threshold"] > 0:
        weights[unknown & (memory["prior"] > hyper["prior_threshold"])] = 0
    indices = np.argwhere(unknown)
    order = np.argsort(-inputs.constant[unknown], kind="stable")
    for image, c in indices[order[: hyper["likelihood_topk"] * len(unknown)]]:
        weights[image, c] = 0
    return partial_asymmetric(logits, inputs, weights)


def large_loss(logits, inputs, scheme):
    """LL-R, LL-Ct and LL-Cp; as released, LL-Cp is LL-Ct and known labels may be replaced."""
    hyper, epoch = inputs.hyper, inputs.clock.epoch
    labels = inputs.memory["labels"][inputs.rows]
    unknown, positive = labels == -1, labels == 1
    permanent = scheme == "ll-cp" and not hyper["as_released"]
    share = hyper["delta"] / 100
    count = math.ceil(labels.size * (1 - (1 - (epoch - 1) * share)))
    if permanent:
        count = math.ceil(labels.size * share) if epoch > 1 else 0
    negative_loss = np.where(unknown, -log_sigmoid(-inputs.constant).real, 0)
    ranked = np.sort(negative_loss.ravel())[::-1]
    threshold = ranked[min(count, labels.size) - 1] if count else np.inf
    replaced = (negative_loss >= threshold) & (unknown | hyper["as_released"])
    if permanent:
        above = (negative_loss > threshold) & unknown
        inputs.memory_rows["labels"] = np.where(above, 1, labels)
    replacement = 0 if scheme == "ll-r" else entropy(logits, ~positive)
    return mean(np.where(replaced, replacement, entropy(logits, positive)))


def random_subset(inputs):
    """S_i: round-half-up(q |U_i|) of the unknown labels of image i, at least one."""
    unknown, fraction = inputs.observed == -1, Fraction(str(inputs.hyper["q"]))
    rows = torch.from_numpy(inputs.rows)
    uniform = inputs.draw.row_uniform("subset", rows, unknown.shape[1]).numpy()
    subset = np.zeros_like(unknown)
    for image, mask in enumerate(unknown):
        candidates = np.flatnonzero(mask)
        size = max(math.floor(fraction * len(candidates) + Fraction(1, 2)), 1)
        subset[image, candidates[np.argsort(uniform[image, candidates])[:size]]] = True
    return subset


def pal(logits, inputs):
    hyper, observed, clock = inputs.hyper, inputs.observed, inputs.clock
    prediction = sigmoid(inputs.constant)
    pseudo = prediction if hyper["online"] else inputs.memory["pseudo"][inputs.rows]
    if not hyper["online"]:
        inputs.memory_rows["pseudo"] = np.where(observed == -1, prediction, pseudo)
    alpha = beta = 1.0
    if hyper["weights"]:
        labels = observed.size if hyper["total"] == "all" else max((observed != -1).sum(), 1)
        beta = max((observed == 1).sum() / labels, hyper["floor"])
        alpha = 1 - beta
    pseudo_weights = (0.5, 0.5) if hyper["even_unknown"] else (alpha, beta)
    exponent = (clock.epoch + hyper["margin"] - clock.epochs) / clock.epochs
    schedule = math.exp(exponent) if hyper["schedule"] else 1

    def image_terms(target, mask, alpha, beta):
        positive_terms = alpha * target * log_sigmoid(logits)
        return image_mean(positive_terms + beta * (1 - target) * log_sigmoid(-logits), mask)

    known_terms = image_terms(observed == 1, observed != -1, alpha, beta)
    pseudo_terms = schedule * image_terms(pseudo, random_subset(inputs), *pseudo_weights)
    collapsed = hyper["penalty"] & (prediction.max(1) <= hyper["threshold"])
    return -(np.where(collapsed, 2, 1) * (known_terms + pseudo_terms)).mean(-1)


def mark_lowest(hyper, memory, table, observed, clock):
    """At the start of an epoch, the marks that EM + APL makes at the end of the epoch before."""
    if clock.epoch - 1 < hyper["warmup"]:
        return
    for c in range(observed.shape[1]):
        unknown = observed[:, c] == -1
        free = np.flatnonzero(unknown & ~memory["marked"][:, c])
        count = int(hyper["share"] * unknown.sum() / (clock.epochs - hyper["warmup"]))
        lowest = free[np.argsort(table[free, c], kind="stable")[:count]]
        memory["marked"][lowest, c] = True
        memory["soft"][lowest, c] = sigmoid(table)[lowest, c]


Equation = Callable[[np.ndarray, Inputs], np.ndarray]
SINGLE_POSITIVE: tuple[Equation, ...] = (an, an_ls, wan, epr, role, iu, iun)
OTHERS: tuple[Equation, ...] = (partial_bce, pseudo_label, em, hill, splc, p_asl, csl, pal)
EQUATIONS = {one.__name__.replace("_", "-"): one for one in SINGLE_POSITIVE + OTHERS}
EQUATIONS |= {"em-apl": em}
EQUATIONS |= {key: partial(large_loss, scheme=key) for key in ("ll-r", "ll-ct", "ll-cp")}

# --------------------------------------------------------- problems and hyperparameters

KINDS = ("positive", "negative", "unknown")
ASYMMETRIC = {"clip": (0.0, 0.05, 0.2)} | {f"alpha_{kind}": (0.5, 1.0, 2.0) for kind in KINDS}
ASYMMETRIC |= {f"gamma_{kind}": (0.0, 0.7, 1.0, 4.0) for kind in KINDS}
LARGE = {"delta": (0.2, 5.0, 12.5, 40.0), "as_released": (False, True)}
EXPECTED = {"expected_positives": (0.0, 0.4, 3.5)}
FOCAL = {"margin": (0.0, 0.5, 2.0), "gamma": (0.0, 0.7, 2.0, 4.0)}
SELECTION = {"likelihood_topk": (0, 1, 2, 9), "prior_threshold": (0.0, 0.3, 0.6)}
WEIGHT = {"a": (-4.45, 1.0), "b": (5.45, 0.0), "gamma": (-1.0, 0.5, 1.0)}
APL = {"beta": (0.02, 0.9), "warmup": (1, 2, 9), "share": (0.5, 0.9, 1.0)}
BALANCE = {"margin": (0.0, 3.0, 4.5), "floor": (0.0, 0.05, 0.9), "threshold": (0.01, 0.1, 0.6)}
SWITCHES = ("weights", "schedule", "penalty", "online", "even_unknown")
SETTINGS: dict[str, dict[str, tuple[Any, ...]]] = {
    "an-ls": {"smoothing": (0.0, 0.05, 0.3)},
    "epr": EXPECTED,
    "role": EXPECTED,
    "partial-bce": WEIGHT | {"normalise": ("image", "batch")},
    "em": {"alpha": (0.01, 0.2)},
    "em-apl": APL | {"alpha": (0.01, 0.2)},
    "hill": FOCAL | {"lam": (1.3, 1.5, 2.0)},
    "splc": FOCAL | {"tau": (0.35, 0.6, 0.9), "change_epoch": (0, 1, 3)},
    "p-asl": ASYMMETRIC | {"mode": ("ignore", "ignore-normalised", "negative")},
    "csl": ASYMMETRIC | SELECTION | {"prior": (True, False)},
    "ll-r": LARGE,
    "ll-ct": LARGE,
    "ll-cp": LARGE,
    "pal": BALANCE
    | {"q": (0.15, 0.5, 0.65, 1.0), "total": ("all", "observed")}
    | dict.fromkeys(SWITCHES, (True, False)),
}
IMAGES = 9
# Shares of positive, negative and unknown labels.
SHARES = ((0.2, 0.4, 0.4), (0.2, 0.0, 0.8), (0.0, 0.3, 0.7), (0.3, 0.7, 0.0), (0.0, 0.0, 1.0))


def drawn_problem(numbers: np.random.Generator, method: Method) -> Problem:
    classes = int(numbers.choice([1, 2, 6]))
    observed = numbers.choice([1, 0, -1], size=(IMAGES, classes), p=numbers.choice(SHARES))
    observed[0] = numbers.choice([observed[0], np.full(classes, -1)])
    observed[:, -1] = numbers.choice([observed[:, -1], np.minimum(observed[:, -1], 0)])
    true_labels = np.where(observed == -1, numbers.integers(0, 2, observed.shape), observed)
    values = {"true_labels": torch.from_numpy(true_labels), "expected_positives": 2.9}
    labels = LabelTable.of(torch.from_numpy(observed.astype(np.int8)))
    return Problem(labels, classes, "pal", 5, Oracle(values, method.oracle()))


def drawn_logits(numbers: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Representable in float32; some of them 50 or -50."""
    logits = numbers.normal(size=shape) * numbers.choice([0.5, 3.0, 8.0])
    extreme = numbers.random(shape) < numbers.choice([0.0, 0.3, 1.0], p=[0.6, 0.3, 0.1])
    signed = np.where(numbers.random(shape) < numbers.choice([0.0, 0.5]), 50.0, -50.0)
    return np.where(extreme, signed, logits.clip(-12, 12)).astype(np.float32).astype(float)


# --------------------------------------------------------- the comparison


def complex_steps(function, point: np.ndarray) -> tuple[float, np.ndarray]:
    """Value and gradient of function([K, ...]) -> [K] at a real array."""
    steps = np.concatenate([np.zeros((1, point.size)), np.eye(point.size)]) * 1e-30
    values = function(point + 1j * steps.reshape(-1, *point.shape))
    return values[0].real, values[1:].imag.reshape(point.shape) / 1e-30


def started(method: Method, problem: Problem, seed: int, dtype: torch.dtype) -> Stack:
    """A stack of one run in `dtype` whose head is the identity: its features are its logits."""
    setup = method.setup(problem, Draw(seed).at(0, 0))
    classes = problem.num_classes
    setup.params |= {"head.weight": torch.eye(classes), "head.bias": torch.zeros(classes)}
    parts = (setup.params, setup.state, setup.memory, setup.constants)
    cast = [
        {name: value.to(dtype) if value.is_floating_point() else value for name, value in p.items()}
        for p in parts
    ]
    return Stack.of([method], [seed], [Setup(*cast)])


def initial_memory(observed: np.ndarray) -> dict[str, Any]:
    """The memory and state of the second implementation, the same for all methods."""
    return {
        "pseudo": np.where(observed == -1, 0.5, observed),
        "marked": np.zeros(observed.shape, bool),
        "soft": np.zeros(observed.shape),
        "labels": observed.astype(int),
        "prior": np.zeros(observed.shape[1]),
        "seen": 0,
    }


def compared_step(equation, stack: Stack, logits: np.ndarray, inputs: Inputs, close) -> Any:
    """One step of the stack; its loss and gradients are compared with the equation."""
    dtype = stack.params["head.weight"].dtype
    leaf = torch.from_numpy(logits).to(dtype).requires_grad_()
    leaves = [leaf]
    estimator = stack.params.get("estimator.logits")
    if estimator is not None:
        leaves.append(estimator.requires_grad_())
        estimates = estimator.detach().double().numpy()
        inputs.estimate = estimates[inputs.rows].astype(complex)
    observed = torch.from_numpy(inputs.observed).to(torch.int8)
    step = stack.step(inputs.clock, torch.from_numpy(inputs.rows), leaf, observed)
    gradients = torch.autograd.grad(step.loss, leaves)
    value, gradient = complex_steps(lambda variable: equation(variable, inputs), logits)
    assert step.loss.dtype == dtype
    close(step.loss, value, name="loss")
    close(gradients[0], gradient, name="gradient")
    if estimator is not None:

        def by_estimates(variable: np.ndarray) -> np.ndarray:
            inputs.estimate = variable[:, inputs.rows]
            fixed = np.broadcast_to(logits, inputs.estimate.shape).astype(complex)
            return equation(fixed, inputs)

        gradient = complex_steps(by_estimates, estimates)[1]
        close(gradients[1], gradient, name="gradient by the estimator")
        stack.params["estimator.logits"] = estimator.detach() - 9 * gradients[1]
    return step


@pytest.mark.parametrize("dtype", FLOOR, ids=str)
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("key", EQUATIONS)
def test_every_step_equals_the_equations(assert_close, key, seed, dtype):
    numbers = generator(seed, f"fuzz/{key}")
    settings = SETTINGS.get(key, {})
    hyper = {name: values[numbers.integers(len(values))] for name, values in settings.items()}
    kind = registry.get(key)
    method = kind(kind.Hyper(**hyper))
    problem = drawn_problem(numbers, method)
    observed = problem.observed.numpy()
    stack, memory = started(method, problem, seed, dtype), initial_memory(observed)
    close = partial(assert_close, floor=FLOOR[dtype])
    for stage, epoch in itertools.product(range(len(method.stages())), range(1, 6)):
        table = drawn_logits(numbers, observed.shape)
        features, clock = torch.from_numpy(table).to(dtype), Clock(stage, epoch, 5, 0, 2)
        draw = Draw(seed).at(stage, epoch)
        stack.write(0, method.epoch_start(stack.run(0), problem, features, clock, draw))
        if key == "em-apl":
            mark_lowest(hyper, memory, table, observed, clock)
        for number in range(2):
            rows = numbers.integers(0, IMAGES, numbers.choice([1, 5]))
            logits = table[rows] if number else drawn_logits(numbers, observed[rows].shape)
            clock, draw = Clock(stage, epoch, 5, number, 2), Draw(seed).at(stage, epoch, number)
            inputs = Inputs(
                hyper, memory, observed[rows], logits, rows, clock, draw, problem.oracle
            )
            step = compared_step(EQUATIONS[key], stack, logits, inputs, close)
            stack.apply(step, torch.from_numpy(rows))
            for name, values in inputs.memory_rows.items():
                for row, value in zip(rows, values, strict=True):  # the last occurrence stays
                    memory[name][row] = value
            memory |= inputs.state
            for name, value in (stack.memory | stack.state).items():
                close(value, memory[name], name=name)
