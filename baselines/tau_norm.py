"""tau-norm: plain training; at evaluation each classifier is divided by a power of its norm.

The normalisation scales and shifts the logits of a class by constants, so that it changes no
average precision: what it can change is what a threshold on the logit cuts off.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.bce import BCE
from baselines.core import Batch, Clock, Draw, MethodInfo, Run, Step, hyper


def normalised(params: dict[str, Tensor], tau: float | Tensor) -> dict[str, Tensor]:
    """A head's parameters with w_c <- w_c / ||w_c||_2^tau and without bias.

    Args:
        params: with `head.weight` [D, C] and `head.bias` [C]; others are kept.
        tau: 0 keeps the weights, 1 gives all of them the norm 1.

    Returns:
        New parameters; a class whose weights are all zero keeps them.
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
        "power of the norm; the paper scans 0, 0.1, ..., 2 on its validation part",
        search=(0.0, 2.0),
        low=0.0,
    )


class TauNorm(BCE):
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
        differs="Published for one label per image with softmax, where norms change the winner; "
        "with a sigmoid per class no average precision changes, and dropping the bias, which their "
        "code does and so does this, moves every threshold. They choose tau on validation data; "
        "here it is 1 unless searched.",
        source="equations",
        reference="the normalised weights of Kang et al., ICLR 2020; "
        "facebookresearch/classifier-balancing@22370c6, read and not run",
        tolerance="1e-6 in float32",
        evidence=(
            "tests/baselines/test_lws_tau_norm.py::test_normalised_weights",
            "tests/baselines/test_lws_tau_norm.py::test_training_is_plain",
        ),
    )
    Hyper = Hyper

    def logits(self, run: Run, features: Tensor) -> Tensor:
        """Scores for evaluation, by the normalised classifiers."""
        return self.head.apply(normalised(run.params, self.hyper.tau), features)

    def step(self, run: Run, batch: Batch, clock: Clock, draw: Draw) -> Step:
        """A step of plain training, by the classifiers as they are."""
        logits = self.head.apply(run.params, batch.features)
        return Step(self.loss(run, logits, batch, clock, draw))
