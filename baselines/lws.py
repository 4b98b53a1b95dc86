"""LWS: plain training, then one learned scale per class on class-balanced rows.

A positive scale does not change the ranking of the images within a class, nor any average
precision. This method only changes the predictions at a threshold on the logits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.core import Draw, MethodInfo, Problem, Run, Setup, Stage, hyper
from baselines.shared.decoupled import BalancedHyper, Decoupled


@dataclass(frozen=True)
class Hyper(BalancedHyper):
    """Hyperparameters of the second stage; the first follows the recipe."""

    scale_epochs: int = hyper(
        5,
        "epochs of the class-aware second stage",
        search=(2, 5, 10),
        paper={"imagenet-lt": 5},
        low=1,
    )


class LWS(Decoupled):
    """Learnable weight scaling: logit_c = f_c (w_c x + b_c); the second stage trains only f.

    Both stages minimise L = mean_{b,c} [softplus(z) - y z]; they differ in the trained parameters
    and in the rows that they visit. f starts at 1 and also scales the bias.
    """

    info = MethodInfo(
        key="lws",
        title="LWS",
        paper="Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition, "
        "ICLR 2020",
        year=2020,
        version="2",
        equation="stage 1: BCE, every image once; stage 2: z_c = f_c (w_c x + b_c), f = 1 at "
        "first, the same loss, only f learns, class-aware sampling",
        unknown="negative",
        needs=("class counts", "class-aware sampling", "two stages"),
        family="long-tailed",
        summary="learned scales on a frozen head",
        finding="Its average precision equals that of BCE by construction: a positive scale per "
        "class changes no ranking of images.",
    )
    Hyper = Hyper

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """Create the head and a scale of 1 for each class."""
        setup = super().setup(problem, draw)
        setup.params["scale"] = torch.ones(problem.num_classes)
        return setup

    def stages(self) -> tuple[Stage, ...]:
        """Train the whole model, then only the scales."""
        return (
            Stage("representation", train=("neck", "head")),
            Stage("scales", epochs=self.hyper.scale_epochs, train=("scale",)),
        )

    def logits(self, run: Run, features: Tensor) -> Tensor:
        """The logits of the head, multiplied by the scale of each class."""
        return run.params["scale"] * self.head.apply(run.params, features)
