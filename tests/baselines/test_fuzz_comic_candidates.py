"""COMIC and NDLP through several steps in float64, against NumPy.

Hyperparameters, labels, features and batches are drawn; state is carried on as the trainer does it.
The references accept complex parameters: a complex step gives the derivative in a direction to the
last digits. The real part of a quantity enters where no gradient flows.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from baselines.core import Clock, LabelTable, Method, Oracle, Problem, registry
from baselines.shared import comic_losses as losses
from baselines.shared.comic_branch import BranchHyper
from benchkit.base.draw import Draw
from benchkit.training.stack import Stack

Arrays = dict[str, Any]
real = np.real
FLOOR = 1e-15  # rounding error of a sum whose terms are of order one and cancel


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def bce(logits, target):
    above = np.where(real(logits) > 0, logits, 0)
    return above - target * logits + np.log1p(np.exp(logits - 2 * above))


def softmax(logits):
    exponentials = np.exp(logits - real(logits).max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


def ratio(numerator, denominator):
    """numerator / denominator, 0 where the denominator is 0."""
    is_zero = denominator == 0
    return np.where(is_zero, 0, numerator / np.where(is_zero, 1, denominator))


def normalised(rows):
    return ratio(rows, rows.sum(1, keepdims=True))


# ------------------------------------------------------------------------------ COMIC: MFM, HTB


def head_tail_weight(class_counts, power):
    """w_c = (1 - log(n_c / max n))^a."""
    class_counts = np.maximum(class_counts, 1)
    return (1 - np.log(class_counts / class_counts.max())) ** power


def context(target, cooccurrence):
    """a_bc: what the co-occurrence with the positives of an image makes of class c, sum 1."""
    return normalised(target @ ratio(cooccurrence, cooccurrence.sum(0)))


def multi_focal(logits, target, factor, exponent, hyper, expected=None, relief=1.2):
    """-factor [y log p (1 - p)^g+ + (1 - y) log q (1 - q)^(g- + exponent)]; the sum.

    q = min(1 - p + clip, 1). With co-occurrence, p is multiplied by 1 - a and, where a > 0,
    q by `relief`, up to 1. The powers carry no gradient.
    """
    right, wrong = sigmoid(logits), sigmoid(-logits)
    negative_right = wrong + hyper.mfm_clip
    negative_right = np.where(real(negative_right) < 1, negative_right, 1)
    if expected is not None:
        right, wrong = right * (1 - expected), wrong + right * expected
        relieved = relief * negative_right
        relieved = np.where(real(relieved) < 1, relieved, 1)
        negative_right = np.where(expected > 0, relieved, negative_right)
    positive_power = real(wrong) ** hyper.mfm_gamma_positive
    negative_power = (1 - real(negative_right)) ** (hyper.mfm_gamma_negative + exponent)
    positive_terms = positive_power * np.log(np.where(real(right) > 1e-8, right, 1e-8))
    negative_right = np.where(real(negative_right) > 1e-8, negative_right, 1e-8)
    negative_terms = negative_power * np.log(negative_right)
    return -(factor * (target * positive_terms + (1 - target) * negative_terms)).sum()


def modified(hyper, logits, target, class_counts, power, cooccurrence):
    """MFM or PFM, or the loss that replaces it; the sum."""
    if hyper.mfm_kind == "bce":
        return bce(logits, target).sum()
    if hyper.mfm_kind == "focal":
        wrong = target * sigmoid(-logits) + (1 - target) * sigmoid(logits)
        return (wrong**2 * bce(logits, target)).sum()
    if hyper.mfm_kind == "asl":
        asl = BranchHyper(mfm_gamma_negative=4.0, mfm_gamma_positive=0.0, mfm_clip=0.05)
        return multi_focal(logits, target, 1.0, 0.0, asl)
    weight = head_tail_weight(class_counts, power)
    with_context = hyper.mfm_kind == "pfm" and cooccurrence is not None
    expected = context(target, cooccurrence) if with_context else None
    factor = weight if hyper.mfm_head_tail and hyper.mfm_class_weight else 1.0
    return multi_focal(logits, target, factor, weight * hyper.mfm_head_tail, hyper, expected)


def cosine_logits(features, weight, scale=16.0, direction=None, shift=0.0, floor=1 / 32):
    """rho (f + s cos(f, c) c) . w / (|w| + floor), f and c of length one; c the `direction`."""
    features = features / np.sqrt((features * features).sum(1, keepdims=True))
    if direction is not None and np.any(direction):
        unit = direction / np.sqrt((direction * direction).sum())
        features = features + shift * (features @ unit)[:, None] * unit
    return scale * features @ (weight / (np.sqrt((weight * weight).sum(0)) + floor))


def balancer(balanced, head, tail, loss, alpha):
    """sum_k kappa_k L(softmax(z_k) softmax(z_b)), kappa_k = L(z_k)^alpha / sum_j L(z_j)^alpha."""
    powers = [loss(logits) ** alpha for logits in (head, tail)]
    of_products = [loss(softmax(real(logits)) * softmax(balanced)) for logits in (head, tail)]
    return (powers[0] * of_products[0] + powers[1] * of_products[1]) / sum(powers)


# ------------------------------------------------------------------------------ COMIC: methods


class Reference:
    """A method on one problem: `carried` holds its state and memory under their names."""

    def __init__(self, hyper: Any, observed: np.ndarray, oracle: Arrays, features: np.ndarray):
        self.hyper, self.observed, self.oracle = hyper, observed, oracle
        self.features = features
        self.candidates = (observed != 0) * 1.0
        self.carried: Arrays = {}
        self.start()

    def start(self) -> None:
        """Fill `carried`."""

    def epoch(self, clock: Clock) -> None:
        """Change `carried` at the start of an epoch."""

    def step(self, params: Arrays, rows: np.ndarray, clock: Clock, draw: Any) -> Any:
        """The loss, and the state and memory that the step writes."""
        raise NotImplementedError


class SingleBranch(Reference):
    """One branch, trained with MFM or PFM."""

    def start(self):
        positive = (self.observed == 1) * 1.0
        self.class_counts = np.maximum(positive.sum(0), 1)
        self.cooccurrence = positive.T @ positive

    def project(self, params, branch, rows):
        weight, bias = (params[f"{branch}.projection.{part}"] for part in ("weight", "bias"))
        projected = self.features[rows] @ weight + bias
        if self.hyper.projection_activation == "log_softmax":
            return np.log(softmax(projected))
        return projected

    def classify(self, params, branch, features, direction=None, shift=0.0):
        weight = params[f"{branch}.classifier.weight"]
        if self.hyper.classifier == "linear":
            return features @ weight
        return cosine_logits(features, weight, self.hyper.scale, direction, shift)

    def mfm(self, logits, target):
        power = self.hyper.mfm_power
        return modified(self.hyper, logits, target, self.class_counts, power, self.cooccurrence)

    def step(self, params, rows, clock, draw):
        logits = self.classify(params, "single", self.project(params, "single", rows))
        return self.mfm(logits, (self.observed[rows] == 1) * 1.0) / logits.size, {}


class Comic(SingleBranch):
    def start(self):
        super().start()
        self.branches = ("balanced", "head_branch", "tail_branch")[: len(self.hyper.branches)]
        self.side_branches = self.branches[1:]
        for branch in self.branches:
            self.carried[f"{branch}.counts"] = self.class_counts
            self.carried[f"{branch}.probability"] = -np.ones_like(self.class_counts)
        width = min(self.hyper.width, self.features.shape[1])
        for branch in self.side_branches:
            self.carried[f"{branch}.direction"] = np.zeros(width)

    def correct(self, branch, logits, observed, clock):
        """RLC: B / N times MFM with y = 1 where p > max(tau, P_c) and the label is unknown."""
        hyper, positive = self.hyper, (observed == 1) * 1.0
        logits = logits - hyper.rlc_margin * positive
        probability, before = sigmoid(real(logits)), self.carried[f"{branch}.probability"]
        batch_mean, momentum = probability.mean(0), hyper.rlc_momentum
        running_mean = momentum * before + (1 - momentum) * batch_mean
        running_mean = np.where(before < 0, batch_mean, running_mean)  # below 0: not started
        confident = probability > np.maximum(hyper.rlc_tau, running_mean)
        corrected = confident & (observed == -1)
        counts = self.carried[f"{branch}.counts"] if clock.step else self.class_counts
        counts = counts + corrected.sum(0)
        target = positive + corrected
        loss = modified(hyper, logits, target, counts, hyper.rlc_power, None)
        state = {f"{branch}.counts": counts, f"{branch}.probability": running_mean}
        return len(logits) / max(1, target.sum()) * loss, target, state

    def fuse(self, params, features, draw):
        """f_b + fusion times the attention's mean of the head and tail features, held constant."""
        keys = [real(features[branch]) for branch in self.side_branches]
        query, key, score = (params[f"attention.{k}.weight"] for k in ("query", "key", "score"))
        scores = [np.tanh(features["balanced"] @ query + k @ key) @ score for k in keys]
        rate = self.hyper.attention_dropout
        kept = draw.uniform("attention/dropout", len(keys[0]), 2).numpy() >= rate
        attention = softmax(np.hstack(scores)) / (1 - rate) * kept
        fused = attention[:, :1] * keys[0] + attention[:, 1:] * keys[1]
        return features["balanced"] + self.hyper.fusion * fused

    def step(self, params, rows, clock, draw):
        hyper, observed = self.hyper, self.observed[rows]
        positive, written = (observed == 1) * 1.0, {}
        features = {branch: self.project(params, branch, rows) for branch in self.branches}
        if self.side_branches:
            features["balanced"] = self.fuse(params, features, draw)
        plain = {branch: self.classify(params, branch, f) for branch, f in features.items()}
        shifted = dict(plain)
        shifts = (hyper.shift_head, hyper.shift_tail)
        for branch, shift in zip(self.side_branches, shifts, strict=False):
            name = f"{branch}.direction"
            batch_mean = real(features[branch]).mean(0)
            written[name] = hyper.shift_momentum * self.carried[name] + batch_mean
            shifted[branch] = self.classify(params, branch, features[branch], written[name], shift)
        loss, targets = 0.0, dict.fromkeys(features, positive)
        if clock.epoch >= hyper.rlc_start_epoch:
            for branch in features:
                correction, corrected, state = self.correct(
                    branch, shifted[branch], observed, clock
                )
                loss, written = loss + hyper.rlc_weight * correction, written | state
                if hyper.mfm_targets == "corrected":
                    targets[branch] = corrected
        loss = loss + sum(self.mfm(plain[branch], targets[branch]) for branch in features)
        if self.side_branches:
            head, tail = (real(shifted[branch]) for branch in self.side_branches)
            balance = balancer(
                shifted["balanced"], head, tail, lambda z: self.mfm(z, positive), hyper.htb_alpha
            )
            loss = loss + hyper.htb_weight * balance
        return loss / positive.size, written


# ------------------------------------------------------------------------------ NDLP


class NDLP(Reference):
    """The released steps (1) to (8) and their candidate-faithful variant."""

    def start(self):
        hyper, candidates = self.hyper, self.candidates
        prior_of_variant = "true" if hyper.variant == "repository" else "pseudo"
        self.prior = prior_of_variant if hyper.prior == "auto" else hyper.prior
        images, classes = candidates.shape
        frequency = candidates.mean(0)
        rate = self.oracle["noise_rate"] if hyper.rho == "given" else frequency.min()
        counts = np.maximum(images * (frequency - rate) / (1 - rate), 1)
        if self.prior == "true":
            counts = self.oracle["true_counts"].numpy() * 1.0
        bank = normalised(candidates)
        self.uniform_quota = np.full(classes, 1 / classes)
        self.carried |= {"bank": bank, "quota": self.uniform_quota, "counts": counts}
        if hyper.quota and hyper.quota_rule == "inverse-ema":
            share = bank.sum(0) / bank.sum()
            self.carried |= {"share": share, "quota": self.inverse_quota(share)}

    @staticmethod
    def inverse_quota(share):
        inverse = ratio(1.0 * (share > 0), share + 1e-8)
        return inverse / inverse.sum()

    def class_bias(self, counts):
        """nu_c = -kappa / lambda log(N / n_c - 1)."""
        log_odds = np.log(np.maximum(len(self.candidates) - counts, 1) / counts)
        return -self.hyper.kappa / self.hyper.neg_scale * log_odds

    def elements(self, logits, target, counts):
        """DB-Focal with hard or soft labels, 2 (1 - exp(-l))^2 w l, [B, C]."""
        hyper, counts = self.hyper, np.maximum(counts, 1)
        repeats = (target / counts).sum(1, keepdims=True)
        rebalancing = np.where(repeats > 0, ratio(1 / counts, repeats), np.inf)
        rebalancing = np.minimum(rebalancing, 70)  # the sigmoid is 1 and its exponential finite
        weight = hyper.alpha + sigmoid(hyper.beta * (rebalancing - hyper.mu))
        weight = weight * ((1 - target) / hyper.neg_scale + target)
        scale = (1 - target) * hyper.neg_scale + target
        entropy = bce((logits + self.class_bias(counts)) * scale, target)
        return 2 * (-np.expm1(-entropy)) ** 2 * weight * entropy

    def labels(self):
        """(2) the sharpened bank and (3) the binary labels above (1) the class thresholds."""
        bank = self.carried["bank"]
        soft = normalised(bank**self.hyper.sharpen)
        threshold = ratio(bank.sum(0), (bank != 0).sum(0))
        return soft, soft > threshold * (1 + 1e-13)

    def epoch(self, clock):
        if "share" not in self.carried:
            self.carried["quota"] = self.uniform_quota
        if clock.epoch > 1 and self.prior == "pseudo":
            self.carried["counts"] = np.maximum(self.labels()[1].sum(0), 1.0)

    def selected(self, scores, hard, quota):
        """(5) of each class the images of smallest score, as many as its quota, at least one."""
        images: set[int] = set()
        for c in range(hard.shape[1]):
            members = np.flatnonzero(hard[:, c])
            ranked = members[np.argsort(scores[members], kind="stable")]
            images |= set(ranked[: max(1, int(np.ceil(quota[c] - 1e-12)))].tolist())
        return sorted(images)

    def mixup_loss(self, params, rows, images, soft, counts, draw):
        """(6) the mean loss of pairs of selected images, mixed by one Beta(4, 4) share."""
        order = draw.permutation("ndlp/pairs", len(rows)).tolist()
        partners = [image for image in order if image in images]
        share = np.median(draw.uniform("ndlp/share", 7).double().numpy())
        share = max(share, 1 - share)
        features = self.features[rows]
        mixed = share * features[images] + (1 - share) * features[partners]
        target = share * soft[images] + (1 - share) * soft[partners]
        return self.elements(self.logits(params, mixed), target, counts).mean()

    @staticmethod
    def logits(params, features):
        return features @ params["head.weight"] + params["head.bias"]

    def step(self, params, rows, clock, draw):
        hyper, carried, ramp = self.hyper, self.carried, (clock.epoch - 1) / clock.epochs
        logits, counts = self.logits(params, self.features[rows]), carried["counts"]
        bank, (soft, hard) = carried["bank"][rows], (part[rows] for part in self.labels())
        elements = self.elements(logits, hard, counts)
        loss = elements.mean()
        clean_share = hyper.ratio_start + (hyper.ratio_end - hyper.ratio_start) * ramp
        # Eleven digits, so that images of equal score stay equal.
        scores = np.array([float(f"{score:.11g}") for score in real(elements).mean(1)])
        images = self.selected(scores, hard, carried["quota"] * len(rows) * clean_share)
        if hyper.selection and ramp and images:
            mixed = self.mixup_loss(params, rows, images, soft, counts, draw)
            loss = loss + hyper.mixup_weight * ramp * mixed
        candidates = self.candidates[rows]
        seen = np.where(candidates > 0, real(logits) + self.class_bias(np.maximum(counts, 1)), -1e3)
        moved = (1 - hyper.bank_rate) * bank + hyper.bank_rate * softmax(seen) * candidates
        return loss, {"bank": moved} | (self.next_quota(bank) if hyper.quota else {})

    def next_quota(self, bank):
        """(7) u_c / eps_c, normalised, or the inverse of the moving mean of eps."""
        quota, batch_share = self.carried["quota"], ratio(bank.sum(0), bank.sum())
        if "share" in self.carried:
            rate = self.hyper.bank_rate if bank.sum() else 0
            share = (1 - rate) * self.carried["share"] + rate * batch_share
            return {"share": share, "quota": self.inverse_quota(share)}
        quota = quota / (np.where(batch_share > 0, batch_share, quota) + 1e-8)
        return {"quota": quota / quota.sum()}


# ------------------------------------------------------------------------------ runs

REFERENCES = {"comic": Comic, "comic-head": SingleBranch, "comic-tail": SingleBranch, "ndlp": NDLP}
CASES = {"comic": 40, "comic-head": 10, "comic-tail": 10, "ndlp": 30}
SMALL = {"width": (2, 3, 4)}  # of four features


def drawn(kind: type, numbers: np.random.Generator) -> Any:
    """Hyperparameters from their choices and search ranges; some keep their defaults."""
    values = {}
    for field in dataclasses.fields(kind):
        about = field.metadata["baselines.hyper"]
        options = about["choices"] or SMALL.get(field.name) or about["search"] or (True, False)
        if numbers.random() < 0.4:
            continue
        if isinstance(field.default, float) and numbers.random() < 0.8:
            values[field.name] = float(numbers.uniform(options[0], options[-1]))
        else:
            values[field.name] = options[numbers.integers(len(options))]
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
    """The run in float64: large weights, and a start that is not rounded to float32."""
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
        exact = losses.column_shares(torch.from_numpy(reference.cooccurrence))
        setup.constants[name] = value.double() if name == "counts" else exact
    return Stack.of([method], [0], [setup])


def carry_on(reference: Any, written: Arrays, memory: Arrays, rows: np.ndarray) -> None:
    """Write the reference's memory by rows and its state as a whole."""
    for name, value in written.items():
        if name in memory:
            reference.carried[name] = reference.carried[name].copy()
            for row, new in zip(rows, value, strict=True):  # the last occurrence stays
                reference.carried[name][row] = new
        else:
            reference.carried[name] = value


@pytest.fixture
def compared_step(assert_close):
    """One step of both: loss, its derivative in a random direction, state and memory."""

    def take(stack: Stack, reference: Any, rows: np.ndarray, clock: Clock, numbers: Any) -> None:
        draw, params = Draw(torch.tensor(0)).at(0, clock.epoch, clock.step), stack.params
        values = {name: value.numpy() for name, value in params.items()}
        direction = {name: numbers.normal(size=value.shape) for name, value in values.items()}
        expected, written = reference.step(values, rows, clock, draw)
        moved = {name: value + 1e-30j * direction[name] for name, value in values.items()}
        derivative = np.imag(reference.step(moved, rows, clock, draw)[0]) / 1e-30

        stack.params = {name: value.clone().requires_grad_() for name, value in params.items()}
        index = torch.from_numpy(rows)
        features, observed = (
            torch.from_numpy(part)[index] for part in (reference.features, reference.observed)
        )
        step = stack.step(clock, index, features, observed)
        assert_close(step.loss, expected, floor=FLOOR, name="loss")
        gradient = torch.autograd.grad(step.loss, list(stack.params.values()), allow_unused=True)
        pairs = zip(gradient, direction.values(), strict=True)
        products = [(g.numpy() * d).sum() for g, d in pairs if g is not None]
        assert_close(sum(products), derivative, floor=FLOOR, name="derivative")

        stack.params = params
        stack.apply(step, index)
        carry_on(reference, written, stack.memory, rows)
        for name, value in (stack.state | stack.memory).items():
            assert_close(value, reference.carried[name], name=name)

    return take


@pytest.mark.parametrize(
    ("key", "seed"),
    [(key, seed) for key, count in CASES.items() for seed in range(count)],
)
def test_steps_equal_the_equations(compared_step, key, seed):
    numbers = np.random.default_rng([seed, len(key)])
    kind = registry.get(key)
    method = kind(drawn(kind.Hyper, numbers))
    observed, true = labels(numbers)
    features = numbers.normal(size=(len(observed), 4)) * numbers.choice([0.3, 1.0, 5.0])
    oracle = {
        "true_labels": torch.from_numpy(true),
        "true_counts": torch.from_numpy(true.sum(0)),
        "noise_rate": 0.3,
    }
    table, hidden = LabelTable.of(torch.from_numpy(observed)), Oracle(oracle, method.oracle())
    problem = Problem(table, 4, "candidates", 5, hidden)
    reference = REFERENCES[key](method.hyper, observed, oracle, features)
    stack = started(method, problem, reference, numbers)
    for epoch in (1, 2, 4):
        for number in range(2):
            clock = Clock(0, epoch, 5, number, 2)
            if number == 0:
                inputs = problem, torch.from_numpy(features), clock, Draw(0)
                stack.write(0, method.epoch_start(stack.run(0), *inputs))
                reference.epoch(clock)
            rows = numbers.integers(0, len(features), numbers.choice([1, 2, 7]))
            rows[0] = numbers.choice([0, 1, rows[0]])
            compared_step(stack, reference, rows, clock, numbers)
            for value in stack.params.values():
                value *= 1 + 0.1 * numbers.normal()
