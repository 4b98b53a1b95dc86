"""cRT: plain training, then a new classifier on class-balanced rows of the frozen network.

With a linear head, the representation is the features themselves, so only the second stage matters:
a new linear head, trained on class-aware rows. With a hidden head, the first stage trains `neck.*`;
the second freezes it, and reinitialises and trains `head.*`.
"""

from __future__ import annotations

from dataclasses import dataclass

from baselines.core import MethodInfo, Stage, hyper
from baselines.shared.decoupled import BalancedHyper, Decoupled


@dataclass(frozen=True)
class Hyper(BalancedHyper):
    """Hyperparameters of the second stage; the first follows the recipe."""

    classifier_epochs: int = hyper(
        0,
        "epochs of the class-aware second stage; 0 trains it as long as the first",
        search=(0, 10, 20),
        paper={"imagenet-lt": 10},
        low=0,
    )


class CRT(Decoupled):
    """Classifier re-training: the representation from all rows, the classifier from balanced ones.

    Both stages minimise L = mean_{b,c} [softplus(z) - y z]; they differ in the trained parameters
    and in the rows that they visit.
    """

    info = MethodInfo(
        key="crt",
        title="cRT",
        paper="Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition, "
        "ICLR 2020",
        year=2020,
        version="3",
        equation="stage 1: BCE, every image once; stage 2: the same loss, head reinitialised, "
        "the rest frozen, class-aware sampling",
        unknown="negative",
        needs=("class counts", "class-aware sampling", "two stages"),
        family="long-tailed",
        summary="classifier re-training",
        finding="With a linear head on frozen features the first stage has no effect, and the "
        "method is class-aware sampling alone. On validation images of NUS-WIDE it is 2.1 (full "
        "labels), 4.3 (ppl:0.5) and 6.9 mAP (spl) below BCE.",
    )
    Hyper = Hyper

    def stages(self) -> tuple[Stage, ...]:
        """Train the whole model, then a new classifier alone."""
        return (
            Stage("representation"),
            Stage(
                "classifier",
                epochs=self.hyper.classifier_epochs or None,
                train=("head",),
                restart=("head",),
            ),
        )
