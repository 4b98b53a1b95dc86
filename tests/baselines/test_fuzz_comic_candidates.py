"""COMIC and the candidate-label methods through several steps in float64, against NumPy.

Hyperparameters, labels, features and batches are drawn; state is carried on as the trainer does it.
The references take complex parameters: the imaginary part of a loss after an imaginary step is its
derivative in that direction, exact to rounding. `real` is what carries no gradient.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from baselines.comic_parts import losses
from baselines.comic_parts.branch import BranchHyper
from baselines.core import Clock, LabelTable, Method, Oracle, Problem, registry
from benchkit.base.draw import Draw
from benchkit.training.stack import Stack

EXACT = dict(rel=1e-9, abs=1e-9)
Arrays = dict[str, Any]
real = np.real


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def bce(z, y):
    above = np.where(real(z) > 0, z, 0)
    return above - y * z + np.log1p(np.exp(z - 2 * above))


def softmax(z):
    e = np.exp(z - real(z).max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def ratio(a, b):
    """a / b, zero where b is."""
    return np.where(b == 0, 0, a / np.where(b == 0, 1, b))


def normalised(rows):
    return ratio(rows, rows.sum(1, keepdims=True))


def within(z, s):
    """Softmax over the candidates alone."""
    return softmax(np.where(s > 0, z, -1e3)) * s


# ------------------------------------------------------------------------------ COMIC


def head_tail(n, power):
    n = np.maximum(n, 1)
    return (1 - np.log(n / n.max())) ** power


def context(y, together):
    """What co-occurrence expects of an image with these positives."""
    return normalised(y @ ratio(together, together.sum(0)))


def multi_focal(z, y, w, v, h, expected=None, relief=1.2):
    """w: factor of a class, v: its part of the exponent of negatives."""
    p, q = sigmoid(z), sigmoid(-z) + h.mfm_clip
    q, missed = np.where(real(q) < 1, q, 1), sigmoid(-z)
    if expected is not None:
        p, missed = p * (1 - expected), missed + p * expected
        q = np.where(expected > 0, np.where(real(relief * q) < 1, relief * q, 1), q)
    on = real(missed) ** h.mfm_gamma_positive * np.log(np.where(real(p) > 1e-8, p, 1e-8))
    off = (1 - real(q)) ** (h.mfm_gamma_negative + v) * np.log(np.where(real(q) > 1e-8, q, 1e-8))
    return -(w * (y * on + (1 - y) * off)).sum()


def modified(h, z, y, n, power, together):
    if h.mfm_kind == "bce":
        return bce(z, y).sum()
    if h.mfm_kind == "focal":
        return ((y * sigmoid(-z) + (1 - y) * sigmoid(z)) ** 2 * bce(z, y)).sum()
    if h.mfm_kind == "asl":
        fixed = BranchHyper(mfm_gamma_negative=4.0, mfm_gamma_positive=0.0, mfm_clip=0.05)
        return multi_focal(z, y, 1.0, 0.0, fixed)
    w = head_tail(n, power)
    expected = context(y, together) if h.mfm_kind == "pfm" and together is not None else None
    factor = w if h.mfm_head_tail and h.mfm_class_weight else 1.0
    return multi_focal(z, y, factor, w * h.mfm_head_tail, h, expected)


def cosine(f, w, scale=16.0, e=None, shift=0.0, floor=1 / 32):
    f = f / np.sqrt((f * f).sum(1, keepdims=True))
    if e is not None and np.any(e):
        c = e / np.sqrt((e * e).sum())
        f = f + shift * (f @ c)[:, None] * c
    return scale * f @ (w / (np.sqrt((w * w).sum(0)) + floor))


def balancer(zb, zh, zt, loss, alpha):
    powers = [loss(z) ** alpha for z in (zh, zt)]
    of = [loss(softmax(real(z)) * softmax(zb)) for z in (zh, zt)]
    return (powers[0] * of[0] + powers[1] * of[1]) / sum(powers)


class Reference:
    """A method on one problem: `carried` holds its state and memory under their names."""

    def __init__(self, hyper: Any, observed: np.ndarray, oracle: Arrays, features: np.ndarray):
        self.h, self.observed, self.oracle, self.x = hyper, observed, oracle, features
        self.s = (observed != 0) * 1.0
        self.carried: Arrays = {}
        self.start()

    def start(self) -> None:
        """Fill `carried`."""

    def epoch(self, clock: Clock) -> None:
        """What happens before an epoch."""


class SingleBranch(Reference):
    names: tuple[str, ...] = ("single",)

    def start(self):
        y = (self.observed == 1) * 1.0
        self.n, self.together = np.maximum(y.sum(0), 1), y.T @ y

    def project(self, p, name, rows):
        f = self.x[rows] @ p[f"{name}.projection.weight"] + p[f"{name}.projection.bias"]
        return np.log(softmax(f)) if self.h.projection_activation == "log_softmax" else f

    def classify(self, p, name, f, *shift):
        w = p[f"{name}.classifier.weight"]
        return f @ w if self.h.classifier == "linear" else cosine(f, w, self.h.scale, *shift)

    def mfm(self, z, y):
        return modified(self.h, z, y, self.n, self.h.mfm_power, self.together)

    def step(self, p, rows, clock, draw):
        z = self.classify(p, "single", self.project(p, "single", rows))
        return self.mfm(z, (self.observed[rows] == 1) * 1.0) / z.size, {}


class Comic(SingleBranch):
    def start(self):
        super().start()
        self.names = ("balanced", "head_branch", "tail_branch")[: len(self.h.branches)]
        for name in self.names:
            self.carried[f"{name}.counts"] = self.n
            self.carried[f"{name}.probability"] = -np.ones_like(self.n)
        for name in self.names[1:]:
            self.carried[f"{name}.direction"] = np.zeros(min(self.h.width, self.x.shape[1]))

    def correct(self, name, z, observed, clock):
        h, y = self.h, (observed == 1) * 1.0
        s = z - h.rlc_margin * y
        mean, before = sigmoid(real(s)).mean(0), self.carried[f"{name}.probability"]
        level = h.rlc_momentum * before + (1 - h.rlc_momentum) * mean
        level = np.where(before < 0, mean, level)
        found = (sigmoid(real(s)) > np.maximum(h.rlc_tau, level)) & (observed == -1)
        counts = found.sum(0) + (self.carried[f"{name}.counts"] if clock.step else self.n)
        loss = modified(h, s, y + found, counts, h.rlc_power, None)
        state = {f"{name}.counts": counts, f"{name}.probability": level}
        return len(z) / max(1, y.sum() + found.sum()) * loss, y + found, state

    def step(self, p, rows, clock, draw):
        h, observed = self.h, self.observed[rows]
        y, written = (observed == 1) * 1.0, {}
        f = {name: self.project(p, name, rows) for name in self.names}
        if len(f) == 3:
            keys = [real(f[name]) for name in self.names[1:]]
            query, key, score = (p[f"attention.{k}.weight"] for k in ("query", "key", "score"))
            hidden = [np.tanh(f["balanced"] @ query + k @ key) @ score for k in keys]
            a = softmax(np.hstack(hidden)) / (1 - h.attention_dropout)
            a = a * (draw.uniform("attention/dropout", len(rows), 2).numpy() >= h.attention_dropout)
            fused = a[:, :1] * keys[0] + a[:, 1:] * keys[1]
            f["balanced"] = f["balanced"] + h.fusion * fused
        plain = {name: self.classify(p, name, f[name]) for name in f}
        moved = dict(plain)
        for name, shift in zip(self.names[1:], (h.shift_head, h.shift_tail), strict=False):
            e = h.shift_momentum * self.carried[f"{name}.direction"] + real(f[name]).mean(0)
            written[f"{name}.direction"] = e
            moved[name] = self.classify(p, name, f[name], e, shift)
        loss, labels = 0.0, dict.fromkeys(f, y)
        if clock.epoch >= h.rlc_start_epoch:
            for name in f:
                extra, found, state = self.correct(name, moved[name], observed, clock)
                loss, written = loss + h.rlc_weight * extra, written | state
                labels[name] = found if h.mfm_targets == "corrected" else y
        loss = loss + sum(self.mfm(plain[name], labels[name]) for name in f)
        if len(f) == 3:
            b, head, tail = moved["balanced"], *(real(moved[name]) for name in self.names[1:])
            loss = loss + h.htb_weight * balancer(
                b, head, tail, lambda z: self.mfm(z, y), h.htb_alpha
            )
        return loss / y.size, written


# ------------------------------------------------------------------------------ NDLP


class NDLP(Reference):
    """The released steps (1) to (8) and their candidate-faithful variant."""

    def elements(self, z, y, n):
        """DB-Focal with hard or soft labels."""
        h, n = self.h, np.maximum(n, 1)
        share = (y / n).sum(1, keepdims=True)
        r = np.where(share > 0, ratio(1 / n, share), np.inf)
        weight = h.alpha + sigmoid(h.beta * (np.minimum(r, 70) - h.mu))
        weight = weight * ((1 - y) / h.neg_scale + y)
        e = bce((z + self.shift(n)) * ((1 - y) * h.neg_scale + y), y)
        return 2 * (-np.expm1(-e)) ** 2 * weight * e

    def shift(self, n):
        n = np.maximum(n, 1)
        return -self.h.kappa / self.h.neg_scale * np.log(np.maximum(len(self.s) - n, 1) / n)

    def start(self):
        own = "true" if self.h.variant == "repository" else "pseudo"
        self.prior = own if self.h.prior == "auto" else self.h.prior
        rate = self.oracle["noise_rate"] if self.h.rho == "given" else self.s.mean(0).min()
        n = np.maximum(len(self.s) * (self.s.mean(0) - rate) / (1 - rate), 1)
        n = self.oracle["true_counts"].numpy() * 1.0 if self.prior == "true" else n
        even = np.full(self.s.shape[1], 1 / self.s.shape[1])
        self.carried |= {"bank": normalised(self.s), "quota": even, "counts": n}
        if self.h.quota and self.h.quota_rule == "inverse-ema":
            share = normalised(self.s).sum(0) / normalised(self.s).sum()
            self.carried |= {"share": share, "quota": self.inverse(share)}

    @staticmethod
    def inverse(share):
        inverse = ratio(1.0 * (share > 0), share + 1e-8)
        return inverse / inverse.sum()

    def labels(self):
        bank = self.carried["bank"]
        soft = normalised(bank**self.h.sharpen)
        return soft, soft > ratio(bank.sum(0), (bank != 0).sum(0)) * (1 + 1e-13)

    def epoch(self, clock):
        if "share" not in self.carried:
            self.carried["quota"] = np.full(self.s.shape[1], 1 / self.s.shape[1])
        if clock.epoch > 1 and self.prior == "pseudo":
            self.carried["counts"] = np.maximum(self.labels()[1].sum(0), 1.0)

    def chosen(self, scores, t, wanted):
        picked: set[int] = set()
        for k in range(t.shape[1]):
            members = np.flatnonzero(t[:, k])
            best = members[np.argsort(scores[members], kind="stable")]
            picked |= set(best[: max(1, int(np.ceil(wanted[k] - 1e-12)))].tolist())
        return sorted(picked)

    def step(self, p, rows, clock, draw):
        z, s = self.x[rows] @ p["head.weight"] + p["head.bias"], self.s[rows]
        h, c, ramp = self.h, self.carried, (clock.epoch - 1) / clock.epochs
        bank, (soft, t), n = c["bank"][rows], (part[rows] for part in self.labels()), c["counts"]
        elements = self.elements(z, t, n)
        loss = elements.mean()
        ratios = h.ratio_start + (h.ratio_end - h.ratio_start) * ramp
        scores = np.array([float(f"{v:.11g}") for v in real(elements).mean(1)])  # ties stay ties
        one = self.chosen(scores, t, c["quota"] * len(z) * ratios)
        if h.selection and ramp and one:
            order = draw.permutation("ndlp/pairs", len(z)).tolist()
            other = [i for i in order if i in one]
            share = np.median(draw.uniform("ndlp/share", 7).double().numpy())
            share = max(share, 1 - share)
            x = share * self.x[rows][one] + (1 - share) * self.x[rows][other]
            y = share * soft[one] + (1 - share) * soft[other]
            mixed = self.elements(x @ p["head.weight"] + p["head.bias"], y, n)
            loss = loss + h.mixup_weight * ramp * mixed.mean()
        moved = (1 - h.bank_rate) * bank + h.bank_rate * within(real(z) + self.shift(n), s)
        return loss, {"bank": moved} | (self.quota(bank) if h.quota else {})

    def quota(self, bank):
        quota, eps = self.carried["quota"], ratio(bank.sum(0), bank.sum())
        if "share" in self.carried:
            rate = self.h.bank_rate if bank.sum() else 0
            share = (1 - rate) * self.carried["share"] + rate * eps
            return {"share": share, "quota": self.inverse(share)}
        quota = quota / (np.where(eps > 0, eps, quota) + 1e-8)
        return {"quota": quota / quota.sum()}


# ------------------------------------------------------------------------------ runs

REFERENCES = {"comic": Comic, "comic-head": SingleBranch, "comic-tail": SingleBranch, "ndlp": NDLP}
CASES = {"comic": 40, "comic-head": 10, "comic-tail": 10, "ndlp": 30}
SMALL = {"width": (2, 3, 4)}  # of four features


def drawn(kind: type, numbers: np.random.Generator) -> Any:
    """Hyperparameters from their choices and search ranges, some of them left as they are."""
    values = {}
    for field in dataclasses.fields(kind):
        about = field.metadata["baselines.hyper"]
        some = about["choices"] or SMALL.get(field.name) or about["search"] or (True, False)
        if numbers.random() < 0.4:
            continue
        if isinstance(field.default, float) and numbers.random() < 0.8:
            values[field.name] = float(numbers.uniform(some[0], some[-1]))
        else:
            values[field.name] = some[numbers.integers(len(some))]
    return kind(**values)


def labels(numbers: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Observed and true, int8 [N, C]: row 0 is negative, row 1 unknown, classes may be empty."""
    shape = int(numbers.integers(8, 24)), int(numbers.integers(2, 7))
    true = numbers.random(shape) < np.linspace(0.7, 0.1, shape[1])
    unknown, false = numbers.random((2, *shape)) < numbers.choice([0.0, 0.3, 0.6], (2, 1, 1))
    observed = np.where(unknown, -1, true | false)
    observed[0], observed[1] = 0, -1
    if numbers.random() < 0.5:
        observed[:, -1] = np.minimum(observed[:, -1], 0)
    return observed.astype(np.int8), true.astype(np.int8)


def started(method: Method, problem: Problem, reference: Any, numbers: Any) -> Stack:
    """The run in float64: large weights, and starts that are not rounded to float32."""
    setup = method.setup(problem, Draw(0).at(0, 0))
    for name, value in setup.params.items():
        size = numbers.choice([0.3, 1.0, 4.0])
        setup.params[name] = torch.from_numpy(size * numbers.normal(size=value.shape))
    for part in (setup.state, setup.memory):
        assert set(part) <= set(reference.carried)
        for name in part:
            np.testing.assert_allclose(part[name], reference.carried[name], rtol=1e-6)
            part[name] = torch.from_numpy(reference.carried[name].astype(np.float64))
    for name, value in setup.constants.items():
        exact = losses.column_shares(torch.from_numpy(reference.together))
        setup.constants[name] = value.double() if name == "counts" else exact
    return Stack.of([method], [0], [setup])


def take(stack: Stack, reference: Any, rows: np.ndarray, clock: Clock, numbers: Any) -> None:
    """One step of both: loss, its derivative in a random direction, and what is carried on."""
    draw, before = Draw(torch.tensor(0)).at(0, clock.epoch, clock.step), stack.params
    p = {name: value.numpy() for name, value in before.items()}
    way = {name: numbers.normal(size=value.shape) for name, value in p.items()}
    expected, written = reference.step(p, rows, clock, draw)
    bent = {name: value + 1e-30j * way[name] for name, value in p.items()}
    slope = np.imag(reference.step(bent, rows, clock, draw)[0]) / 1e-30

    stack.params = {name: value.clone().requires_grad_() for name, value in before.items()}
    index = torch.from_numpy(rows)
    x, observed = (torch.from_numpy(part)[index] for part in (reference.x, reference.observed))
    step = stack.step(clock, index, x, observed)
    assert step.loss.item() == pytest.approx(expected, **EXACT)
    found = torch.autograd.grad(step.loss, list(stack.params.values()), allow_unused=True)
    pairs = zip(found, way.values(), strict=True)
    along = sum((g.numpy() * direction).sum() for g, direction in pairs if g is not None)
    assert along == pytest.approx(slope, **EXACT)

    stack.params = before
    stack.apply(step, index)
    for name, value in written.items():
        if name in stack.memory:
            reference.carried[name] = reference.carried[name].copy()
            for row, new in zip(rows, value, strict=True):  # the last occurrence stays
                reference.carried[name][row] = new
        else:
            reference.carried[name] = value
    for name, value in (stack.state | stack.memory).items():
        np.testing.assert_allclose(value, reference.carried[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("key", "seed"),
    [(key, seed) for key, count in CASES.items() for seed in range(count)],
)
def test_steps_equal_the_equations(key, seed):
    numbers = np.random.default_rng([seed, len(key)])
    kind = registry.get(key)
    method = kind(drawn(kind.Hyper, numbers))
    observed, true = labels(numbers)
    x = numbers.normal(size=(len(observed), 4)) * numbers.choice([0.3, 1.0, 5.0])
    oracle = {"true_labels": true, "true_counts": true.sum(0), "noise_rate": 0.3}
    oracle = {k: torch.from_numpy(v) if k != "noise_rate" else v for k, v in oracle.items()}
    table, hidden = LabelTable.of(torch.from_numpy(observed)), Oracle(oracle, method.oracle())
    problem = Problem(table, 4, "candidates", 5, hidden)
    reference = REFERENCES[key](method.hyper, observed, oracle, x)
    stack = started(method, problem, reference, numbers)
    for epoch in (1, 2, 4):
        for number in range(2):
            clock = Clock(0, epoch, 5, number, 2)
            if number == 0:
                given = problem, torch.from_numpy(x), clock, Draw(0)
                stack.write(0, method.epoch_start(stack.run(0), *given))
                reference.epoch(clock)
            rows = numbers.integers(0, len(x), numbers.choice([1, 2, 7]))
            rows[0] = numbers.choice([0, 1, rows[0]])
            take(stack, reference, rows, clock, numbers)
            for value in stack.params.values():
                value *= 1 + 0.1 * numbers.normal()
