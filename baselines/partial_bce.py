"""Partial BCE: only known labels, weighted by the share of known labels of the image."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from baselines.core import (
    Batch,
    Clock,
    Draw,
    Method,
    MethodInfo,
    Run,
    hyper,
    masked_mean,
    positives,
)
from baselines.core.losses import bce_terms


def partial_bce(
    logits: Tensor,
    observed: Tensor,
    *,
    a: float | Tensor = -4.45,
    b: float | Tensor = 5.45,
    gamma: float | Tensor = 1.0,
) -> Tensor:
    """Partial binary cross-entropy.

        L = mean_i [ g(r_i) / C  sum_{c known} -(y log p + (1 - y) log(1 - p)) ]
        g(r) = a r^gamma + b,   r_i the share of image i's labels that are known

    An image without known labels contributes zero and counts in the mean. With a = 1, b = 0 and
    gamma = -1 this is the mean over the known labels of an image; with a = 0 and b = 1 it is their
    sum divided by C.

    Args:
        logits: [B, C].
        observed: [B, C], 1 positive, 0 negative, -1 unknown.
        a: slope of the weight.
        b: weight at r = 0; g(1) = 1 if a + b = 1.
        gamma: exponent of the share.

    Returns:
        A scalar, the mean over images.

    Source: Durand, Mehrasa and Mori, Learning a Deep ConvNet for Multi-label Classification with
    Partial Labels, CVPR 2019, equations 1 and 2; the default weight is five if a tenth of the
    labels is known. No code was published.
    """
    known = (observed != -1).to(logits.dtype)
    share = known.mean(1).clamp(
        min=1.0 / logits.shape[1]
    )  # without known labels: any finite weight
    weight = a * share**gamma + b
    terms = known * bce_terms(logits, positives(observed, logits.dtype))
    return (weight * terms.mean(1)).mean()


def known_bce(logits: Tensor, observed: Tensor) -> Tensor:
    """The mean of binary cross-entropy over all known labels of a batch; zero if there are none.

    Args:
        logits: [B, C].
        observed: [B, C], 1 positive, 0 negative, -1 unknown.

    Returns:
        A scalar.

    Source: the loss of the HCP code base (Chen et al., Structured Semantic Transfer, AAAI 2022).
    """
    known = (observed != -1).to(logits.dtype)
    return masked_mean(bce_terms(logits, positives(observed, logits.dtype)), known)


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters of partial BCE."""

    a: float = hyper(
        -4.45,
        "slope of the weight g(r) = a r^gamma + b",
        search=(-9.0, 0.0),
        paper={"coco": -4.45},
    )
    b: float = hyper(
        5.45,
        "weight if no label is known; 1 - a gives complete labels the weight 1",
        search=(1.0, 10.0),
        paper={"coco": 5.45},
    )
    gamma: float = hyper(
        1.0,
        "exponent of the share of known labels",
        search=(-1.0, 2.0),
        paper={"coco": 1.0},
    )
    normalise: str = hyper(
        "image",
        "weight images by their share of known labels, or average over all known labels of a batch",
        search=("image", "batch"),
        choices=("image", "batch"),
    )


class PartialBCE(Method):
    """Partial BCE; unknown labels are ignored.

    Intended for labels with observed negatives: with positives alone, the loss is minimal if every
    label of every image is predicted.
    """

    info = MethodInfo(
        key="partial-bce",
        title="Partial BCE",
        paper="Durand, Mehrasa and Mori, Learning a Deep ConvNet for Multi-label Classification "
        "with Partial Labels, CVPR 2019",
        year=2019,
        equation="L = mean_i [ g(r_i)/C sum_{c known} -(y log p + (1-y) log(1-p)) ],  "
        "g(r) = a r^gamma + b,  r_i = share of known labels",
        unknown="ignored",
        regimes=("full", "pal"),
        family="partial",
        summary="BCE on known labels, weighted by their share",
    )
    Hyper = Hyper

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Apply `partial_bce` or `known_bce` to the batch."""
        if self.hyper.normalise == "batch":
            return known_bce(logits, batch.observed)
        a, b, gamma = self.hyper.a, self.hyper.b, self.hyper.gamma
        return partial_bce(logits, batch.observed, a=a, b=b, gamma=gamma)
