"""NDLP through several steps in float64, against NumPy.

The reference accepts complex parameters, as `assert_steps` asks of it. The real part of a quantity
enters where no gradient flows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

real = np.real


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


class NDLP:
    """The released steps (1) to (8) and their candidate-faithful variant.

    `carried` is its state and memory.
    """

    constants: dict[str, Any] = {}

    def __init__(self, hyper, observed, oracle, features):
        self.hyper, self.observed, self.features = hyper, observed, features
        self.candidates = candidates = (observed != 0) * 1.0
        prior_of_variant = "true" if hyper.variant == "repository" else "pseudo"
        self.prior = prior_of_variant if hyper.prior == "auto" else hyper.prior
        images, classes = candidates.shape
        frequency = candidates.mean(0)
        rate = oracle["noise_rate"] if hyper.rho == "given" else frequency.min()
        counts = np.maximum(images * (frequency - rate) / (1 - rate), 1)
        if self.prior == "true":
            counts = oracle["true_counts"].numpy() * 1.0
        bank = normalised(candidates)
        self.uniform_quota = np.full(classes, 1 / classes)
        self.carried = {"bank": bank, "quota": self.uniform_quota, "counts": counts}
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


@pytest.mark.parametrize("seed", range(30))
def test_steps_equal_the_equations(assert_steps, seed):
    assert_steps("ndlp", NDLP, seed)
