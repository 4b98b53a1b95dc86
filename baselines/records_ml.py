"""RECORDS-ML: soft labels from logits without the class bias, which is estimated during training.

Under a long tail, a classifier prefers head classes for any input. Its prediction for the mean
feature measures this bias. The bias is subtracted only where soft labels are computed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.core import Batch, Clock, Draw, Method, MethodInfo, Problem, Run, Setup, Step, hyper
from baselines.shared.binary_cross_entropy import bce
from baselines.shared.candidate_labels import REGIMES, candidates_of, corrections


def rebalanced_logits(logits: Tensor, bias: Tensor, tau: float | Tensor) -> Tensor:
    """Subtract the class bias from logits.

        zr_k = z_k - tau (log b_k - mean_j log b_j),   b = sigmoid(bias)

    Args:
        logits: z [B, C].
        bias: [C], the logits of the mean feature.
        tau: fraction of the bias that is subtracted.

    Returns:
        [B, C]; the mean of the logits of an image does not change.
    """
    level = F.logsigmoid(bias)
    return logits - tau * (level - level.mean())


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters of RECORDS-ML."""

    tau: float = hyper(
        1.0, "fraction of the class bias that is subtracted", search=(0.0, 2.0), low=0.0
    )
    feature_rate: float = hyper(
        0.1, "step size of the mean feature", search=(0.01, 0.5), low=0.0, high=1.0
    )
    warmup: int = hyper(
        1, "epochs of BCE on all candidates before the bank is used", search=(0, 1, 2, 5), low=0
    )


class RecordsML(Method):
    """Dynamic rebalancing of soft labels in a multi-label form [reconstruction]."""

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
        family="candidates",
        summary="soft labels without the class bias of the mean feature",
    )
    Hyper = Hyper

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """Create the head, the bank [N, C] and the mean feature [D]."""
        setup = super().setup(problem, draw)
        setup.memory["bank"] = candidates_of(problem.observed)
        setup.state["mean_feature"] = setup.memory["bank"].new_zeros(problem.feature_dim)
        return setup

    def step(self, run: Run, batch: Batch, clock: Clock, draw: Draw) -> Step:
        """Apply `bce` to the bank (in the warm-up to s), then update mean feature and bank."""
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
