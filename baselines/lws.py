"""LWS: after plain training, one learned scale per class on class-balanced rows.

A positive scale leaves the ranking of the images within a class as it was, and with it every
average precision: what this method can change is what a threshold on the logit cuts off.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.core import Draw, MethodInfo, Problem, Run, Setup, Stage, hyper
from baselines.crt import BalancedHyper, Decoupled


@dataclass(frozen=True)
class Hyper(BalancedHyper):
    """The second stage; the first is the recipe's."""

    scale_epochs: int = hyper(
        5,
        "epochs of the class-aware second stage",
        search=(2, 5, 10),
        paper={"imagenet-lt": 5},
        low=1,
    )


class LWS(Decoupled):
    """Learnable weight scaling: logit_c = f_c (w_c x + b_c), f alone trained in a second stage.

    Both stages minimise L = mean_{b,c} [softplus(z) - y z]; they differ in what learns and in the
    rows they visit. f starts at 1 and scales the bias too.
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
        needs=("observed positives per class (sampler)", "two stages"),
        differs="Published for one label per image with softmax cross-entropy, where scales change "
        "the winner; with a sigmoid per class and f > 0 no average precision changes. Their code "
        "lets the batch normalisation statistics of the frozen backbone move and gives the second "
        "stage an optimiser of its own (learning rate 0.2, cosine, weight decay 5e-4, which pulls "
        "f towards 0); here frozen is frozen and the recipe's optimiser starts afresh.",
        source="equations",
        reference="the scaled head of Kang et al., ICLR 2020; "
        "facebookresearch/classifier-balancing@22370c6, read and not run",
        tolerance="1e-6 in float32; stages and rows exact",
        evidence=(
            "tests/baselines/test_lws_tau_norm.py::test_lws_scales_the_head",
            "tests/baselines/test_lws_tau_norm.py::test_lws_stages",
            "tests/baselines/test_lws_tau_norm.py::test_training_is_plain",
        ),
    )
    Hyper = Hyper

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """The head and a scale of 1 for each class."""
        setup = super().setup(problem, draw)
        setup.params["scale"] = torch.ones(problem.num_classes)
        return setup

    def stages(self) -> tuple[Stage, ...]:
        """The whole model, then the scales alone."""
        return (
            Stage("representation", train=("neck", "head")),
            Stage("scales", epochs=self.hyper.scale_epochs, train=("scale",)),
        )

    def logits(self, run: Run, features: Tensor) -> Tensor:
        """The head's logits, each class times its scale."""
        return run.params["scale"] * self.head.apply(run.params, features)
