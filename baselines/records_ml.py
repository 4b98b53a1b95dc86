"""RECORDS-ML: soft labels from logits whose class bias is taken out, the bias measured in passing.

A classifier under a long tail says head classes whatever it is shown. What it says of the mean
feature is that bias; it is subtracted where soft labels are made, and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.bce import bce
from baselines.bce_candidates import REGIMES
from baselines.candidate_parts.labels import candidates_of
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
)
from baselines.proden_ml import corrections


def rebalanced_logits(logits: Tensor, bias: Tensor, tau: float | Tensor) -> Tensor:
    """Logits without the class bias.

        zr_k = z_k - tau (log b_k - mean_j log b_j),   b = sigmoid(bias)

    Args:
        logits: z [B, C].
        bias: [C], the logits of the mean feature.
        tau: how much of the bias is taken out.

    Returns:
        [B, C]; the mean over classes of an image's logits is unchanged.
    """
    level = F.logsigmoid(bias)
    return logits - tau * (level - level.mean())


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters of RECORDS-ML."""

    tau: float = hyper(1.0, "how much of the class bias is taken out", search=(0.0, 2.0), low=0.0)
    feature_rate: float = hyper(
        0.1, "how far the mean feature moves in a step", search=(0.01, 0.5), low=0.0, high=1.0
    )
    warmup: int = hyper(
        1, "epochs of BCE on all candidates before the bank is used", search=(0, 1, 2, 5), low=0
    )


class RecordsML(Method):
    """Dynamic rebalancing of self-made soft labels in a multi-label form [reconstruction]."""

    info = MethodInfo(
        key="records-ml",
        title="RECORDS-ML",
        paper="Hong et al., Long-Tailed Partial Label Learning via Dynamic Rebalancing, ICLR 2023",
        year=2023,
        equation="L = mean BCE(z, Q), then Q <- s sigmoid(zr), Q_0 = s;\n"
        "zr_k = z_k - tau (log b_k - mean_j log b_j),  b = sigmoid(W h + c),  "
        "h <- 0.9 h + 0.1 mean_b x;\nwarm-up on s;  s = 0 only for known negatives",
        unknown="estimated",
        regimes=REGIMES,
        needs=("memory per image", "moving mean feature"),
        differs="RECORDS has one true label per image: softmax for b and Q, no centring (it "
        "cancels in a softmax), no warm-up, softmax cross-entropy. h starts at zero, as in the "
        "authors' code. It is the mean of the features that enter the head; theirs is that of the "
        "layer before the last, which differs for a head with a hidden layer.",
        source="reconstruction",
        reference="public code of RECORDS, read and not run, by an implementation in NumPy",
        tolerance="1e-9",
        evidence=(
            "tests/baselines/test_candidates_steps.py::test_records_takes_the_bias_out_of_the_labels",
        ),
    )
    Hyper = Hyper

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """The head, the bank [N, C] and the mean feature [D]."""
        setup = super().setup(problem, draw)
        setup.memory["bank"] = candidates_of(problem.observed)
        setup.state["mean_feature"] = setup.memory["bank"].new_zeros(problem.feature_dim)
        return setup

    def step(self, run: Run, batch: Batch, clock: Clock, draw: Draw) -> Step:
        """The loss on the bank's rows (in the warm-up on s); then mean feature and rows move."""
        logits = self.logits(run, batch.features)
        rate = self.hyper.feature_rate
        mean = (1.0 - rate) * run.state["mean_feature"] + rate * batch.features.mean(0)
        bias = self.logits(run, mean[None])[0].detach()
        candidates = candidates_of(batch.observed)
        fresh = torch.sigmoid(rebalanced_logits(logits.detach(), bias, self.hyper.tau))
        warm = clock.epoch <= self.hyper.warmup
        target = candidates if warm else run.memory["bank"][batch.rows]
        return Step(
            bce(logits, target.to(logits.dtype)),
            {"mean_feature": mean},
            {"bank": candidates * fresh},
            corrections(batch.observed, target),
        )
