"""tau-norm: plain training; at evaluation each classifier is divided by a power of its norm.

The normalisation scales and shifts the logits of a class by constants, so it does not change any
average precision. It only changes the predictions at a threshold on the logits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.core import Batch, Clock, Draw, MethodInfo, Run, Step, hyper
from baselines.shared.binary_cross_entropy import BinaryCrossEntropy


def normalised(params: dict[str, Tensor], tau: float | Tensor) -> dict[str, Tensor]:
    """The parameters of a head with w_c <- w_c / ||w_c||_2^tau and without bias.

    Args:
        params: with `head.weight` [D, C] and `head.bias` [C]; others are unchanged.
        tau: 0 keeps the weights, 1 normalises them.

    Returns:
        New parameters; zero weights of a class remain zero.
    """
    weight = params["head.weight"]
    norm = torch.linalg.vector_norm(weight, dim=-2, keepdim=True)
    norm = torch.where(norm > 0, norm, 1.0)
    bias = torch.zeros_like(params["head.bias"])
    return params | {"head.weight": weight / norm**tau, "head.bias": bias}


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters of tau-norm."""

    tau: float = hyper(
        1.0,
        "power of the norm; the paper selects from 0, 0.1, ..., 2 on validation data",
        search=(0.0, 2.0),
        low=0.0,
    )


class TauNorm(BinaryCrossEntropy):
    """tau-normalised classifiers after plain training; unknown labels count as negative."""

    info = MethodInfo(
        key="tau-norm",
        title="tau-norm",
        paper="Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition, "
        "ICLR 2020",
        year=2020,
        equation="training: L = mean_{b,c} [ softplus(z) - y z ],  z = w x + b;\n"
        "evaluation: z_c = (w_c / ||w_c||^tau) x,  unknown -> y = 0",
        unknown="negative",
        family="long-tailed",
        summary="weights divided by a power of their norm, in evaluation only",
        finding="Its average precision equals that of BCE by construction: a positive scale per "
        "class changes no ranking of images.",
    )
    Hyper = Hyper

    def logits(self, run: Run, features: Tensor) -> Tensor:
        """Scores for evaluation, from the normalised classifiers."""
        return self.head.apply(normalised(run.params, self.hyper.tau), features)

    def step(self, run: Run, batch: Batch, clock: Clock, draw: Draw) -> Step:
        """Run a step of plain training, without normalisation."""
        logits = self.head.apply(run.params, batch.features)
        return Step(self.loss(run, logits, batch, clock, draw))
