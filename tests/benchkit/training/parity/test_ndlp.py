"""NDLP with candidate labels against a plain loop, as released and without clean labels."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from plain_training import (
    BATCH,
    CLASSES,
    EPOCHS,
    IMAGES,
    SEEDS,
    STEPS,
    ClassAwareSampler,
    PlainRun,
    assert_equal_runs,
    plain_recipe,
    positive_lists,
    training_set,
)
from torch import Tensor

from baselines.ndlp import NDLP

SHARPEN, RATE, ETA, RATIO_START, RATIO_END, PER_CLASS = 3.0, 0.1, 0.9, 0.4, 0.8, 5
ALPHA, BETA, MU, LAMBDA, KAPPA = 0.1, 10.0, 0.3, 5.0, 0.05


class PlainNDLP(PlainRun):
    """One step after the other, as in the released code.

    Attributes:
        repository: whether clean labels give the class counts and the lists of the sampler.
        candidates: s [N, K].
        bank: Q [N, K].
        quota: u [K].
        counts: n_k [K] of the DB loss.
        mixed: the number of selected images that were mixed so far.
        absent: the number of classes without candidates in their batch so far.
    """

    def __init__(self, *args: Any, repository: bool) -> None:
        super().__init__(*args)
        self.repository = repository
        true = args[1].true.whole()
        self.true_lists = positive_lists(true)
        self.candidates = (self.z == 1).double()
        sizes = self.candidates.sum(1, keepdim=True)
        self.bank = self.candidates / sizes.clamp(min=1)
        if repository:
            self.counts = (true == 1).sum(0).double()
        else:
            frequency = self.candidates.mean(0)
            noise = frequency.min()
            self.counts = (IMAGES * (frequency - noise) / (1 - noise)).clamp(min=1.0)
        self.quota = torch.full((CLASSES,), 1 / CLASSES)
        self.mixed, self.absent = 0, 0
        self.sampler = ClassAwareSampler(self.true_lists, PER_CLASS, self.seed)

    def memory(self) -> dict[str, Tensor]:
        return {"bank": self.bank, "quota": self.quota, "counts": self.counts}

    def sharpened(self, rows: Tensor) -> Tensor:
        powers = rows**SHARPEN
        return powers / powers.sum(1, keepdim=True).clamp(min=1e-300)

    def binary_labels(self, rows: Tensor) -> Tensor:
        thresholds = [self.bank[:, k].sum() / (self.bank[:, k] != 0).sum() for k in range(CLASSES)]
        return self.sharpened(rows) > torch.stack(thresholds)

    # ------------------------------------------------------------------------- epochs

    def start_epoch(self) -> None:
        self.quota = torch.full((CLASSES,), 1 / CLASSES, dtype=torch.float64)
        if self.epoch > 1 and not self.repository:
            self.counts = self.binary_labels(self.bank).sum(0).double().clamp(min=1.0)

    def order(self) -> list[int]:
        if self.repository:
            return self.sampler.epoch(STEPS * BATCH)
        if self.epoch == 1:
            return super().order()
        # The lists are new in every epoch. The sequence over them goes on where the last epoch
        # stopped, as if they had always been the same.
        lists = positive_lists(self.binary_labels(self.bank).long())
        sampler = ClassAwareSampler(lists, PER_CLASS, self.seed)
        for _ in range(self.epoch - 1):
            sampler.epoch(STEPS * BATCH)
        return sampler.epoch(STEPS * BATCH)

    # ------------------------------------------------------------------------- one step

    def class_bias(self) -> Tensor:
        """The nu_k that DB loss adds to the logits; a clean count of 0 counts as 1."""
        n = self.counts.clamp(min=1.0)
        return -torch.log((IMAGES / n - 1).clamp(min=1 / n)) * KAPPA / LAMBDA

    def db(self, z: Tensor, y: Tensor) -> Tensor:
        """The DB loss [B, K] of hard or soft labels, not reduced."""
        inverse = 1 / self.counts.clamp(min=1.0)
        ratio = inverse / (y * inverse).sum(1, keepdim=True)  # infinite for a row without labels
        weight = torch.sigmoid(BETA * (ratio - MU)) + ALPHA
        logits = (z + self.class_bias()) * ((1 - y) * LAMBDA + y)
        weight = weight * ((1 - y) / LAMBDA + y)
        entropy = F.binary_cross_entropy_with_logits(logits, y, reduction="none")
        return 2 * (1 - torch.exp(-entropy)) ** 2 * weight * entropy

    def select(
        self, losses: list[float], labels: Tensor, rows: list[int], ratio: float
    ) -> list[int]:
        """The images of smallest loss in each class, up to the quota of the class."""
        selected: set[int] = set()
        for k in range(CLASSES):
            members = [i for i in range(len(rows)) if labels[i, k]]
            if not members:
                continue
            number = max(1, min(math.ceil(self.quota[k] * len(rows) * ratio), len(members)))
            # A repeated image has equal losses, of which the first comes first.
            members.sort(key=lambda i: losses[rows.index(rows[i])])
            selected.update(members[:number])
        return sorted(selected)

    def loss(self, rows: Tensor, x: Tensor) -> Tensor:
        e = self.epoch - 1
        ramp = min(1.0, e / EPOCHS)
        q = self.bank[rows]
        sharp, t = self.sharpened(q), self.binary_labels(q)

        z = self.logits(x)
        elements = self.db(z, t.double())
        loss = elements.mean()
        ratio = RATIO_START + (RATIO_END - RATIO_START) * ramp
        selected = self.select(elements.mean(1).tolist(), t, rows.tolist(), ratio)
        if e >= 1 and selected:
            shuffled = self.draw_of_step().permutation("ndlp/pairs", len(rows)).tolist()
            partners = [i for i in shuffled if i in selected]
            beta = sorted(self.draw_of_step().uniform("ndlp/share", 7).tolist())[3]  # Beta(4, 4)
            lam = max(beta, 1 - beta)
            mixed_x = lam * x[selected] + (1 - lam) * x[partners]
            mixed_y = lam * sharp[selected] + (1 - lam) * sharp[partners]
            loss = loss + ETA * ramp * self.db(self.logits(mixed_x), mixed_y).mean()
            self.mixed += len(selected)

        shares = q.sum(0) / q.sum()
        self.absent += int((shares == 0).sum())
        shares = torch.where(shares == 0, self.quota, shares)
        quota = self.quota / (shares + 1e-8)
        self.quota = quota / quota.sum()

        with torch.no_grad():
            biased = z + self.class_bias()
            for b, i in enumerate(rows.tolist()):  # of a repeated image, the last one counts
                own = torch.softmax(biased[b], 0) * self.candidates[i]
                if own.sum() > 0:
                    self.bank[i] = (1 - RATE) * q[b] + RATE * own / own.sum()
        return loss


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize(
    ("variant", "regime"),
    [
        ("candidate-faithful", "candidates:0.3"),
        ("candidate-faithful", "candidates:0.05"),
        ("repository", "candidates:0.05"),
    ],
)
def test_ndlp_equals_a_plain_loop(variant: str, regime: str, seeds: list[int]) -> None:
    hyper = NDLP.Hyper(
        variant=variant,
        prior="auto",
        rho="estimated",
        sharpen=SHARPEN,
        bank_rate=RATE,
        mixup_weight=ETA,
        ratio_start=RATIO_START,
        ratio_end=RATIO_END,
        alpha=ALPHA,
        beta=BETA,
        mu=MU,
        neg_scale=LAMBDA,
        kappa=KAPPA,
        selection=True,
        quota=True,
        quota_rule="product",
        length="images",
        per_class=PER_CLASS,
    )
    recipe = plain_recipe(optimiser="sgd", lr=0.3, lr_scale="classes", weight_decay=1e-4)
    # The package keeps the first bank and the inverted counts in float32.
    runs = assert_equal_runs(
        NDLP,
        hyper,
        PlainNDLP,
        training_set(regime),
        recipe,
        seeds,
        tolerance=1e-6,
        repository=variant == "repository",
    )
    for run in runs:
        assert run.mixed > 20
        assert (run.absent > 0) == (regime == "candidates:0.05")
