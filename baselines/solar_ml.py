"""SoLar-ML: soft labels by optimal transport to a class prior that is estimated during training.

Predictions within the candidate sets are normalised by rows and columns in turn, until the classes
have the shares of the prior. Images with a small loss on these labels train on them and on
mixtures; the others train on their renormalised predictions of the previous visit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from baselines.core import (
    Batch,
    Clock,
    Draw,
    Method,
    MethodInfo,
    Problem,
    Run,
    Setup,
    Step,
    hyper,
    masked_mean,
)
from baselines.core.losses import bce_terms
from baselines.shared.candidate_bank import (
    initial_bank,
    mixing_share,
    pairs,
    ramps,
    select,
    update_bank,
)
from baselines.shared.candidate_labels import REGIMES, candidates_of, corrections

_ROWS = 8192  # rows of the training set per block


def relative(rows: Tensor) -> Tensor:
    """A distribution read as several labels: y_ik = q_ik / max_j q_ij; zero rows remain zero."""
    return rows / rows.amax(1, keepdim=True).clamp(min=torch.finfo(rows.dtype).tiny)


def sharpened(table: Tensor, exponent: float | Tensor) -> Tensor:
    """The kernel of the transport, T^exponent with columns divided by their maximum.

    Factors of columns cancel in the transport. Without them powers of small numbers would underflow
    in float32.

    Args:
        table: T [n, C], non-negative.
        exponent: above 0.

    Returns:
        [n, C] in [0, 1]; the column of a class without predictions remains zero.
    """
    return (table / table.amax(0).clamp(min=torch.finfo(table.dtype).tiny)) ** exponent


def sinkhorn(kernel: Tensor, prior: Tensor, iterations: int) -> Tensor:
    """Transport with row sums 1 and column sums proportional to a prior.

        repeat: T_ik <- T_ik prior_k / sum_i T_ik,   T_ik <- T_ik / sum_k T_ik

    The matrix itself is scaled instead of two vectors, so entries remain in [0, 1] also if no
    transport with these sums exists.

    Args:
        kernel: [n, C], non-negative; a zero row remains zero and has no influence.
        prior: [C], sums to 1.
        iterations: number of iterations.

    Returns:
        [n, C]; zero where the kernel is zero.

    Source: Cuturi, NeurIPS 2013, as SoLar uses it.
    """
    tiny = torch.finfo(kernel.dtype).tiny
    plan = kernel
    for _ in range(iterations):
        plan = plan * (prior / plan.sum(0).clamp(min=tiny))
        plan = plan / plan.sum(1, keepdim=True).clamp(min=tiny)
    return plan


def label_shares(rows: Tensor) -> Tensor:
    """The share of each class in the labels above half of their row's maximum, [C]."""
    counts = (relative(rows) > 0.5).to(rows.dtype).sum(0)
    return counts / counts.sum().clamp(min=1.0)


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters of SoLar-ML."""

    sharpen: float = hyper(
        3.0, "exponent of predictions before the transport", search=(1.0, 5.0), low=0.1
    )
    ratio_start: float = hyper(
        0.2, "fraction of a batch to select at the beginning", search=(0.1, 0.5), low=0.0, high=1.0
    )
    ratio_end: float = hyper(
        0.6, "fraction of a batch to select at the end", search=(0.4, 0.9), low=0.0, high=1.0
    )
    weight: float = hyper(
        0.9, "final weight of the selected images", search=(0.5, 1.0), low=0.0, high=1.0
    )
    confidence: float = hyper(
        0.99,
        "agreement of label and prediction above which an image is always selected",
        search=(0.9, 1.0),
        low=0.0,
        high=1.0,
    )
    prior_rate: float = hyper(
        0.01, "step size of the class prior per epoch", search=(0.001, 0.1), low=0.0, high=1.0
    )
    iterations: int = hyper(50, "iterations of the transport", search=(20, 50, 100), low=1)
    queue: int = hyper(
        512,
        "number of recent predictions that the transport uses besides the batch",
        search=(256, 512, 1024),
        low=1,
    )


class SoLarML(Method):
    """Sinkhorn label refinery with class-wise selection, multi-label form [reconstruction]."""

    info = MethodInfo(
        key="solar-ml",
        title="SoLar-ML",
        paper="Wang et al., SoLar: Sinkhorn Label Refinery for Imbalanced Partial-Label Learning, "
        "NeurIPS 2022",
        year=2022,
        equation="m = softmax(z) within S;  T = Sinkhorn(m^3; rows 1, columns prior) over batch and"
        " queue;\nl(q) = BCE(z, q / max_k q);  C: the ceil(prior_k b rho_t) smallest l(T) of each "
        "class with T_k/max T > 1/2,\nand where sum_k T m > 0.99;  L = eta_t (mean_C l(T) + "
        "mixup_C) + (1-eta_t) mean_{not C} l(Q),\nthen Q <- m;  prior: moving mean of label "
        "shares;  s = 0 only for known negatives",
        unknown="estimated",
        version="3",
        regimes=REGIMES,
        needs=("memory per image", "predictions on the training set", "second forward pass"),
        family="candidates",
        summary="Sinkhorn refinery, selection by class, mixup",
    )
    Hyper = Hyper

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """Create the head, the bank, a uniform prior and an empty queue."""
        setup = super().setup(problem, draw)
        bank = initial_bank(problem.observed)
        setup.memory["bank"] = bank
        setup.state["prior"] = bank.new_full((problem.num_classes,), 1.0 / problem.num_classes)
        setup.state["queue"] = bank.new_zeros(self.hyper.queue, problem.num_classes)
        return setup

    def epoch_start(
        self, run: Run, problem: Problem, features: Tensor, clock: Clock, draw: Draw
    ) -> Run:
        """From the second epoch on, move the prior towards the shares of predicted labels."""
        if clock.epoch == 1:
            return run
        candidates = candidates_of(problem.observed)
        predicted = torch.cat(
            [
                update_bank(torch.zeros_like(s), self.logits(run, rows), s, 1.0)
                for rows, s in zip(features.split(_ROWS), candidates.split(_ROWS), strict=True)
            ]
        )
        shares, rate = label_shares(predicted), self.hyper.prior_rate
        moved = (1.0 - rate) * run.state["prior"] + rate * shares
        prior = torch.where(shares.sum() > 0, moved, run.state["prior"])
        return replace(run, state=run.state | {"prior": prior})

    def _select(self, plan: Tensor, seen: Tensor, scores: Tensor, run: Run, ratio: float) -> Tensor:
        """Images with a small loss in one of their classes, or with high agreement, bool [B]."""
        labels = relative(plan) > 0.5
        agreed = (plan * seen).sum(1) > self.hyper.confidence
        return select(scores, labels, run.state["prior"], ratio) | agreed

    def _mixed(
        self, run: Run, batch: Batch, target: Tensor, selected: Tensor, draw: Draw
    ) -> Tensor:
        """The loss of mixtures of pairs of selected images."""
        first, second = pairs(selected, draw.permutation("solar/pairs", selected.shape[0]))
        share = mixing_share(draw.uniform("solar/share", 7)).to(target.dtype)
        features = share * batch.features[first] + (1.0 - share) * batch.features[second]
        mixed = share * target[first] + (1.0 - share) * target[second]
        losses = bce_terms(self.logits(run, features), mixed).mean(1)
        return masked_mean(losses, selected[first].to(losses.dtype))

    def step(self, run: Run, batch: Batch, clock: Clock, draw: Draw) -> Step:
        """Transport, select, add the losses of both groups, then update bank and queue.

        The first epoch trains only on the bank, which is still uniform over the candidates.
        """
        epoch, ratios = clock.epoch - 1, (self.hyper.ratio_start, self.hyper.ratio_end)
        weight, ratio = ramps(epoch, clock.epochs, self.hyper.weight, *ratios)
        logits = self.logits(run, batch.features)
        rows = run.memory["bank"][batch.rows]
        candidates = candidates_of(batch.observed)
        seen = update_bank(rows, logits.detach(), candidates, 1.0)
        table = torch.cat([seen, run.state["queue"]])
        written = {"queue": table[: run.state["queue"].shape[0]]}, {"bank": seen}
        before = relative(rows)
        unrefined = bce_terms(logits, before).mean(1)
        if epoch == 0:
            return Step(unrefined.mean(), *written, corrections(batch.observed, before))

        kernel = sharpened(table, self.hyper.sharpen)
        plan = sinkhorn(kernel, run.state["prior"], self.hyper.iterations)[: rows.shape[0]]
        target = relative(plan)
        refined = bce_terms(logits, target).mean(1)
        selected = self._select(plan, seen, refined.detach(), run, ratio)
        inside = selected.to(logits.dtype)
        trusted = masked_mean(refined, inside) + self._mixed(run, batch, target, selected, draw)
        loss = weight * trusted + (1.0 - weight) * masked_mean(unrefined, 1.0 - inside)
        loss = torch.where(selected.any(), loss, unrefined.mean())
        used = torch.where(selected[:, None], target, before)
        return Step(loss, *written, corrections(batch.observed, used))
