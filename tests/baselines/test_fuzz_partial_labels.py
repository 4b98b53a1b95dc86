"""Partial-label methods over several steps, each against a second implementation in NumPy.

The second implementation follows the equations, works in complex numbers and takes gradients by
complex steps, which are exact to the last digits of float64; so value, gradient, memory and state
are all held to 1e-9, and to 1e-5 in float32. Problems, hyperparameters and logits are drawn, and
most problems are degenerate somewhere: rows of which nothing is known, no positive, one class, one
image, rows that occur twice, logits of 50. What a method writes is written back by the trainer's
own stack, so that the next step starts from it.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch

from baselines.core import Clock, LabelTable, Oracle, Problem, Setup, registry
from benchkit.base.draw import Draw
from benchkit.base.random import generator
from benchkit.training.stack import Stack

# --------------------------------------------------------- the equations; x is complex [K, B, C]


def log_sigmoid(x):
    tail = np.exp(np.where(x.real > 0, -x, x))
    log = np.log1p(tail.real) + 1j * tail.imag / (1 + tail.real)  # the imaginary part is tiny
    return np.where(x.real > 0, 0, x) - log


def sigmoid(x):
    tail = np.exp(np.where(x.real > 0, -x, x))
    return np.where(x.real > 0, 1, tail) / (1 + tail)


def guarded(x, t, u=None):
    """t nl(p) + u nl(1 - p), u = 1 - t unless given."""
    u = 1 - t if u is None else u
    return -np.log(sigmoid(x) + 1e-5) * t - np.log(sigmoid(-x) + 1e-5) * u


def entropy(x, t):
    return -log_sigmoid(x) * t - log_sigmoid(-x) * (1 - t)


def mean(terms):
    return terms.mean((-2, -1))


def row_mean(terms, mask):
    """Over an image's marked labels; zero over none."""
    return (terms * mask).sum(-1) / np.maximum(mask.sum(-1), 1)


def excess(x, k):
    batch, classes = x.shape[-2:]
    return ((sigmoid(x).sum((-2, -1)) / batch - k) / classes) ** 2


def expected(h, oracle):
    return h["expected_positives"] or oracle["expected_positives"]


def partial_asymmetric(h, weights, x, s, held):
    right = np.where(s == 1, sigmoid(x), sigmoid(-x) + h["clip"])
    right = np.where(right.real > 1, 1, np.where(right.real < 1e-8, 1e-8, right))
    wrong = np.where(s == 1, sigmoid(-held), np.maximum(sigmoid(held) - h["clip"], 0))
    kinds = ((1, "positive"), (0, "negative"), (-1, "unknown"))
    total = np.zeros(len(x), complex)
    for code, kind in kinds:
        power = wrong ** h[f"gamma_{kind}"]
        total -= mean((s == code) * weights * h[f"alpha_{kind}"] * power * np.log(right))
    return total


def an(h, m, x, s, held, at):
    return mean(guarded(x, s == 1, s != 1))


def an_ls(h, m, x, s, held, at):
    return mean(guarded(x, np.where(s == 1, 1 - h["smoothing"], h["smoothing"])))


def wan(h, m, x, s, held, at):
    return mean(guarded(x, s == 1, (s != 1) / max(s.shape[1] - 1, 1)))


def epr(h, m, x, s, held, at):
    return mean(guarded(x, s == 1, 0)) + excess(x, expected(h, at["oracle"]))


def role(h, m, x, s, held, at):
    theta, held_theta = at["theta"], at["theta"].real
    cross = guarded(x, sigmoid(held_theta), sigmoid(-held_theta))
    cross = cross + guarded(theta, sigmoid(held), sigmoid(-held))
    known = guarded(x, s == 1, 0) + guarded(theta, s == 1, 0)
    k = expected(h, at["oracle"])
    return (mean(cross + known) + excess(x, k) + excess(theta, k)) / 2


def iu(h, m, x, s, held, at):
    return mean(guarded(x, s == 1, s == 0))


def iun(h, m, x, s, held, at):
    return mean(guarded(x, s == 1, at["oracle"]["true_labels"].whole().numpy()[at["rows"]] == 0))


def partial_bce(h, m, x, s, held, at):
    known = s != -1
    if h["normalise"] == "batch":
        return (known * entropy(x, s == 1)).sum((-2, -1)) / max(known.sum(), 1)
    share = np.where(known.any(1), known.mean(1), 1)
    weight = np.where(known.any(1), h["a"] * share ** h["gamma"] + h["b"], 0)
    return mean(weight[:, None] * known * entropy(x, s == 1))


def pseudo_label(h, m, x, s, held, at):
    t = m["pseudo"][at["rows"]]
    at["write"] = {"pseudo": np.where(s == -1, sigmoid(held), t)}
    known = row_mean(entropy(x, s == 1), s != -1)
    return (known + row_mean(entropy(x, t), s == -1)).mean(-1)


def em(h, m, x, s, held, at):
    marked, soft = (m[name][at["rows"]] for name in ("marked", "soft"))
    doubt = -sigmoid(x) * np.log(sigmoid(x) + 1e-5) - sigmoid(-x) * np.log(sigmoid(-x) + 1e-5)
    unknown = np.where(marked, h.get("beta", 0) * guarded(x, soft), -h["alpha"] * doubt)
    return mean(np.where(s == -1, unknown, guarded(x, s == 1)))


def mark_lowest(h, m, table, observed, clock):
    """Of em-apl, at the start of an epoch: what the end of the one before leaves to do."""
    if clock.epoch - 1 < h["warmup"]:
        return
    for c in range(observed.shape[1]):
        free = np.flatnonzero((observed[:, c] == -1) & ~m["marked"][:, c])
        count = int(h["share"] * (observed[:, c] == -1).sum() / (clock.epochs - h["warmup"]))
        chosen = free[np.argsort(table[free, c], kind="stable")[:count]]
        m["marked"][chosen, c] = True
        m["soft"][chosen, c] = sigmoid(table)[chosen, c]


def focal(x, t, gamma):
    return -np.where(
        t,
        np.exp(gamma * log_sigmoid(-x)) * log_sigmoid(x),
        np.exp(gamma * log_sigmoid(x)) * log_sigmoid(-x),
    )


def hill(h, m, x, s, held, at):
    negative = (h["lam"] - sigmoid(x)) * sigmoid(x) ** 2
    return mean(np.where(s == 1, focal(x - h["margin"], True, h["gamma"]), negative))


def splc(h, m, x, s, held, at):
    likely = (s == -1) & (sigmoid(held) > h["tau"])
    flipped = likely if at["clock"].epoch > h["change_epoch"] else np.zeros_like(likely)
    return mean(focal(x - h["margin"] * (s == 1), (s == 1) | flipped, h["gamma"]))


def p_asl(h, m, x, s, held, at):
    known = (s != -1).astype(float)
    one = np.float32(1)  # the authors round the weights of this mode
    normalised = one + one / (one + known.sum(1, keepdims=True, dtype=np.float32))
    weights = {
        "ignore": known,
        "ignore-normalised": known * normalised,
        "negative": np.ones_like(known),
    }[h["mode"]]
    return partial_asymmetric(h, weights, x, s, held)


def csl(h, m, x, s, held, at):
    weights = np.ones(s.shape)
    if h["prior"] and at["clock"].stage == 0:
        weights[s == -1] = 0
        seen = m["seen"] + len(s)
        at["state"] = {"prior": (m["prior"] * m["seen"] + sigmoid(held).sum(0)) / seen}
        at["state"]["seen"] = seen
        return partial_asymmetric(h, weights, x, s, held)
    if h["prior"] and h["prior_threshold"] > 0:
        weights[(s == -1) & (m["prior"] > h["prior_threshold"])] = 0
    places = np.flatnonzero(s == -1)
    order = np.argsort(-held.ravel()[places], kind="stable")  # the largest p has the smallest n
    weights.ravel()[places[order[: h["likelihood_topk"] * len(s)]]] = 0
    return partial_asymmetric(h, weights, x, s, held)


def large_loss(h, m, x, s, held, at, scheme):
    labels = m["labels"][at["rows"]]
    permanent = scheme == "ll-cp" and not h["as_released"]
    share, epoch = h["delta"] / 100, at["clock"].epoch
    k = math.ceil(s.size * (1 - (1 - (epoch - 1) * share)))
    if permanent:
        k = math.ceil(s.size * share) if epoch > 1 else 0
    u = np.where(labels == -1, -log_sigmoid(-held).real, 0)
    threshold = np.sort(u.ravel())[::-1][min(k, s.size) - 1] if k else np.inf
    large = (u >= threshold) & ((labels == -1) | h["as_released"])
    if permanent:
        at["write"] = {"labels": np.where((u > threshold) & (labels == -1), 1, labels)}
    y = labels == 1
    other = 0 if scheme == "ll-r" else entropy(x, ~y)
    return mean(np.where(large, other, entropy(x, y)))


def pal(h, m, x, s, held, at):
    clock, rows = at["clock"], at["rows"]
    fresh = sigmoid(held)
    t = fresh if h["online"] else m["pseudo"][rows]
    at["write"] = {} if h["online"] else {"pseudo": np.where(s == -1, fresh, t)}
    uniform = at["draw"].row_uniform("subset", torch.from_numpy(rows), s.shape[1]).numpy()
    chosen = np.zeros(s.shape, bool)
    for i in range(len(s)):
        unknown = np.flatnonzero(s[i] == -1)
        size = math.floor(Fraction(str(h["q"])) * len(unknown) + Fraction(1, 2))
        chosen[i, unknown[np.argsort(uniform[i, unknown])[: max(size, 1)]]] = True
    total = s.size if h["total"] == "all" else max((s != -1).sum(), 1)
    beta = max((s == 1).sum() / total, h["floor"]) if h["weights"] else 1
    alpha = 1 - beta if h["weights"] else 1
    later = (clock.epoch + h["margin"] - clock.epochs) / clock.epochs
    d = math.exp(later) if h["schedule"] else 1

    def terms(y, mask, a, b):
        return row_mean(a * y * log_sigmoid(x) + b * (1 - y) * log_sigmoid(-x), mask)

    even = (0.5, 0.5) if h["even_unknown"] else (alpha, beta)
    penalty = np.where(h["penalty"] & (fresh.max(1) <= h["threshold"]), 2, 1)
    image = terms(s == 1, s != -1, alpha, beta) + d * terms(t, chosen, *even)
    return -(penalty * image).mean(-1)


SINGLE_POSITIVE = (an, an_ls, wan, epr, role, iu, iun)
OTHERS = (partial_bce, pseudo_label, em, hill, splc, p_asl, csl, pal)
LAWS = {law.__name__.replace("_", "-"): law for law in SINGLE_POSITIVE + OTHERS} | {"em-apl": em}
LAWS |= {key: partial(large_loss, scheme=key) for key in ("ll-r", "ll-ct", "ll-cp")}

# --------------------------------------------------------- what is drawn

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
SETTINGS = {
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
# Of positives, negatives and unknown labels.
SHARES = ((0.2, 0.4, 0.4), (0.2, 0.0, 0.8), (0.0, 0.3, 0.7), (0.3, 0.7, 0.0), (0.0, 0.0, 1.0))


def drawn_problem(numbers, method):
    classes = int(numbers.choice([1, 2, 6]))
    share = numbers.choice(SHARES)
    observed = numbers.choice([1, 0, -1], size=(IMAGES, classes), p=share)
    observed[0] = numbers.choice([observed[0], np.full(classes, -1)])
    observed[:, -1] = numbers.choice([observed[:, -1], np.minimum(observed[:, -1], 0)])
    truth = np.where(observed == -1, numbers.integers(0, 2, observed.shape), observed)
    values = {"true_labels": torch.from_numpy(truth), "expected_positives": 2.9}
    labels = torch.from_numpy(observed.astype(np.int8))
    return Problem(LabelTable.of(labels), classes, "pal", 5, Oracle(values, method.oracle()))


def drawn_logits(numbers, shape):
    """Representable in float32; some of them 50 or -50."""
    logits = numbers.normal(size=shape) * numbers.choice([0.5, 3.0, 8.0])
    extreme = numbers.random(shape) < numbers.choice([0.0, 0.3, 1.0], p=[0.6, 0.3, 0.1])
    signed = np.where(numbers.random(shape) < numbers.choice([0.0, 0.5]), 50.0, -50.0)
    return np.where(extreme, signed, logits.clip(-12, 12)).astype(np.float32).astype(float)


def complex_steps(law, leaf):
    """Value, and gradient with respect to every entry of a real array, of law([K, ...]) -> [K]."""
    steps = np.concatenate([np.zeros((1, leaf.size)), np.eye(leaf.size)]) * 1e-30
    values = law(leaf + 1j * steps.reshape(-1, *leaf.shape))
    return values[0].real, values[1:].imag.reshape(leaf.shape) / 1e-30


def assert_equal(got, wanted, dtype, what):
    relative, least = (1e-9, 1e-12) if dtype == torch.float64 else (1e-5, 1e-6)
    got = got.detach().double() if got.is_floating_point() else got
    wanted = torch.as_tensor(wanted).to(got.dtype)
    torch.testing.assert_close(
        got, wanted, rtol=relative, atol=least, msg=lambda text: f"{what}: {text}"
    )


def started(method, problem, seed, dtype):
    """A stack of one run in `dtype` whose head is the identity: its features are its logits."""
    setup = method.setup(problem, Draw(seed).at(0, 0))
    classes = problem.num_classes
    setup.params |= {"head.weight": torch.eye(classes), "head.bias": torch.zeros(classes)}
    parts = (setup.params, setup.state, setup.memory, setup.constants)
    cast = [
        {n: t.to(dtype) if t.is_floating_point() else t for n, t in part.items()} for part in parts
    ]
    return Stack.of([method], [seed], [Setup(*cast)])


def blank(observed):
    """What the second implementation keeps, for all methods."""
    return {
        "pseudo": np.where(observed == -1, 0.5, observed),
        "marked": np.zeros(observed.shape, bool),
        "soft": np.zeros(observed.shape),
        "labels": observed.astype(int),
        "prior": np.zeros(observed.shape[1]),
        "seen": 0,
    }


def assert_step(law, stack, s, logits, at, dtype, where):
    """Value and gradients of a step, which is returned."""
    leaf = torch.from_numpy(logits).to(dtype).requires_grad_()
    leaves = [leaf]
    theta = stack.params.get("estimator.logits")
    if theta is not None:
        leaves.append(theta.requires_grad_())
        wide = theta.detach().double().numpy()
        at["theta"] = wide[at["rows"]].astype(complex)
    rows = torch.from_numpy(at["rows"])
    out = stack.step(at["clock"], rows, leaf, torch.from_numpy(s).to(torch.int8))
    slopes = torch.autograd.grad(out.loss, leaves)
    value, slope = complex_steps(lambda x: law(x, s, logits, at), logits)
    assert out.loss.dtype == dtype
    assert_equal(out.loss, value, dtype, ("loss", where))
    assert_equal(slopes[0], slope, dtype, ("gradient", where))
    if theta is not None:

        def of_theta(x):
            chosen = x[:, at["rows"]]
            fixed = np.broadcast_to(logits, chosen.shape).astype(complex)
            return law(fixed, s, logits, at | {"theta": chosen})

        assert_equal(slopes[1], complex_steps(of_theta, wide)[1], dtype, ("estimator", where))
        stack.params["estimator.logits"] = theta.detach() - 9 * slopes[1]
    return out


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("key", LAWS)
def test_every_step_equals_the_equations(key, seed, dtype):
    numbers = generator(seed, f"fuzz/{key}")
    h = {n: v[numbers.integers(len(v))] for n, v in SETTINGS.get(key, {}).items()}
    kind = registry.get(key)
    method = kind(kind.Hyper(**h))
    problem = drawn_problem(numbers, method)
    observed = problem.observed.numpy()
    stack, memory = started(method, problem, seed, dtype), blank(observed)
    for stage, epoch in itertools.product(range(len(method.stages())), range(1, 6)):
        table = drawn_logits(numbers, observed.shape)
        features, clock = torch.from_numpy(table).to(dtype), Clock(stage, epoch, 5, 0, 2)
        draw = Draw(seed).at(stage, epoch)
        stack.write(0, method.epoch_start(stack.run(0), problem, features, clock, draw))
        if key == "em-apl":
            mark_lowest(h, memory, table, observed, clock)
        for step in range(2):
            rows = numbers.integers(0, IMAGES, numbers.choice([1, 5]))
            logits = table[rows] if step else drawn_logits(numbers, observed[rows].shape)
            at = {"clock": Clock(stage, epoch, 5, step, 2), "rows": rows, "state": {}, "write": {}}
            at |= {"draw": Draw(seed).at(stage, epoch, step), "oracle": problem.oracle}
            law, where = partial(LAWS[key], h, memory), (h, stage, epoch, step, rows, logits)
            out = assert_step(law, stack, observed[rows], logits, at, dtype, where)
            stack.apply(out, torch.from_numpy(rows))
            for name, values in at["write"].items():
                for row, new in zip(rows, values, strict=True):  # the last occurrence stays
                    memory[name][row] = new
            memory |= at["state"]
            for name, kept in (stack.memory | stack.state).items():
                assert_equal(kept, memory[name], dtype, (name, where))
