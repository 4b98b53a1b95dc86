"""COMIC and its single branches through several steps in float64, against NumPy.

The references accept complex parameters, as `assert_steps` asks of them. The real part of a
quantity enters where no gradient flows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from baselines.shared.comic_branch import BranchHyper

real = np.real


def sigmoid(x):
    above = real(x) > 0
    small = np.exp(np.where(above, -x, x))  # does not overflow
    return np.where(above, 1, small) / (1 + small)


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


# ------------------------------------------------------------------------------ the methods


class SingleBranch:
    """One branch, trained with MFM or PFM; `carried` is its state."""

    def __init__(self, hyper, observed, oracle, features):
        self.hyper, self.observed, self.features = hyper, observed, features
        positive = (observed == 1) * 1.0
        self.class_counts = np.maximum(positive.sum(0), 1)
        self.cooccurrence = positive.T @ positive
        shares = ratio(self.cooccurrence, self.cooccurrence.sum(0))
        self.constants = {"counts": self.class_counts, "shares": shares}
        self.carried: dict[str, Any] = {}

    def epoch(self, clock):
        """Nothing changes at the start of an epoch."""

    def project(self, params, branch, rows):
        weight, bias = (params[f"{branch}.projection.{part}"] for part in ("weight", "bias"))
        projected = self.features[rows] @ weight + bias
        if self.hyper.projection_activation == "log_softmax":
            lowered = projected - real(projected).max(1, keepdims=True)
            return lowered - np.log(np.exp(lowered).sum(1, keepdims=True))
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
    """The balanced branch with or without the head and tail branch."""

    def __init__(self, hyper, observed, oracle, features):
        super().__init__(hyper, observed, oracle, features)
        self.branches = ("balanced", "head_branch", "tail_branch")[: len(hyper.branches)]
        self.side_branches = self.branches[1:]
        for branch in self.branches:
            self.carried[f"{branch}.counts"] = self.class_counts
            self.carried[f"{branch}.probability"] = -np.ones_like(self.class_counts)
        for branch in self.side_branches:
            self.carried[f"{branch}.direction"] = np.zeros(hyper.width)

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


@pytest.mark.parametrize("seed", range(40))
def test_comic_steps_equal_the_equations(assert_steps, seed):
    assert_steps("comic", Comic, seed)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("key", ["comic-head", "comic-tail"])
def test_single_branch_steps_equal_the_equations(assert_steps, key, seed):
    assert_steps(key, SingleBranch, seed)
