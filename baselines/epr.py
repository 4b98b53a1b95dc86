"""EPR: observed positives, and a penalty on the predicted number of positives per batch.

The expected number of positives per image comes from the complete labels, so every run of this
method is marked as oracle.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    hyper,
    positives,
)
from baselines.shared.guarded import guarded_cross_entropy


def expected_positive_loss(
    logits: Tensor, positive: Tensor, expected_positives: float | Tensor
) -> Tensor:
    """Expected positive regularisation.

        L = mean_{b,c} [ z nl(p) ] + ((mean_i sum_c p - k) / C)^2
        nl(a) = -log(a + 1e-5),   p = sigmoid(x)

    The first mean is over all B*C entries. The second term is a statistic of the batch: the
    gradient of an image depends on the other images, and labels that are not observed positive have
    no other gradient.

    Args:
        logits: [B, C], x.
        positive: [B, C], z: 1 or true where a label is observed positive, else 0.
        expected_positives: k, the expected number of true positives per image.

    Returns:
        A scalar.

    Source: Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021, with the guard
    1e-5 of the authors' code, where the penalty has no weight.
    """
    label = positive.to(logits.dtype)
    excess = (torch.sigmoid(logits).sum(1).mean() - expected_positives) / logits.shape[1]
    return (label * guarded_cross_entropy(logits, label)).mean() + excess**2


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters of EPR."""

    expected_positives: float = hyper(
        0.0,
        "expected true positives per image; 0 uses the mean of the complete labels. Marked as "
        "oracle in both cases",
        search=(1.0, 8.0),
        paper={"voc": 1.5, "coco": 2.9, "nus": 1.9, "cub": 31.4},
        low=0.0,
    )


class EPR(Method):
    """Expected positive regularisation.

    Intended for partial labels; with complete labels or candidates there is nothing to expect.
    """

    info = MethodInfo(
        key="epr",
        title="EPR",
        paper="Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021",
        year=2021,
        equation="L = mean_{b,c} [ z nl(p) ] + ((mean_i sum_c p - k)/C)^2,  "
        "nl(a) = -log(a + 1e-5);  z = 1 on observed positives",
        unknown="estimated",
        regimes=("pal", "ppl", "spl", "missing"),
        version="2",
        oracle=("expected_positives",),
        family="partial",
        summary="observed positives, and a penalty on the expected number of positives",
    )
    Hyper = Hyper

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """Create the head and k."""
        setup = super().setup(problem, draw)
        expected = self.hyper.expected_positives or problem.oracle["expected_positives"]
        setup.constants["expected_positives"] = torch.tensor(float(expected), dtype=torch.float64)
        return setup

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Apply `expected_positive_loss` to the batch."""
        expected = run.constants["expected_positives"].to(logits.dtype)
        return expected_positive_loss(logits, positives(batch.observed), expected)
