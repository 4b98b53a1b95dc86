"""Partial BCE: known labels alone, weighted by how many of an image's labels are known."""

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

    An image without known labels contributes zero and stays in the mean. a = 1, b = 0, gamma = -1
    is the mean over an image's known labels; a = 0, b = 1 is the sum over them divided by C.

    Args:
        logits: [B, C].
        observed: [B, C], 1 positive, 0 negative, -1 unknown.
        a: slope of the weight.
        b: its value at r = 0; g(1) = 1 where a + b = 1.
        gamma: exponent of the share.

    Returns:
        A scalar, the mean over images.

    Source: Durand, Mehrasa and Mori, Learning a Deep ConvNet for Multi-label Classification with
    Partial Labels, CVPR 2019, equations 1 and 2; the default weight is five where a tenth of the
    labels is known. No code was published.
    """
    known = (observed != -1).to(logits.dtype)
    share = known.mean(1).clamp(min=1.0 / logits.shape[1])  # of no known label: any finite weight
    weight = a * share**gamma + b
    terms = known * bce_terms(logits, positives(observed, logits.dtype))
    return (weight * terms.mean(1)).mean()


def known_bce(logits: Tensor, observed: Tensor) -> Tensor:
    """The mean of binary cross-entropy over all known labels of a batch; zero without any.

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
        "weight where nothing is known; 1 - a gives complete labels the weight 1",
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
        "weigh each image by its share of known labels, or take the mean over a batch's known ones",
        search=("image", "batch"),
        choices=("image", "batch"),
    )


class PartialBCE(Method):
    """Partial BCE; unknown labels do not exist for it.

    Meant where negatives are observed: with positives alone the loss is least where every label of
    every image is predicted.
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
        differs="No code was published; images without known labels, where g may be infinite, "
        "contribute zero. normalise=batch is the loss of the HCP code base instead: one mean over "
        "all known labels of the batch.",
        source="equations",
        reference="Durand et al., CVPR 2019, eq. 1-2; normalise=batch: the authors' code "
        "HCPLab-SYSU/HCP-MLR-PL@d9fd300, loss/SST.py: BCELoss",
        tolerance="1e-9; step 1e-6 in float32",
        evidence=(
            "tests/baselines/test_partial_label_vectors.py::test_equals_the_authors_code",
            "tests/baselines/test_partial_bce.py::test_numpy_reference",
            "tests/baselines/test_partial_bce.py::test_method",
        ),
    )
    Hyper = Hyper

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """The equation of `partial_bce`, or of `known_bce`."""
        if self.hyper.normalise == "batch":
            return known_bce(logits, batch.observed)
        a, b, gamma = self.hyper.a, self.hyper.b, self.hyper.gamma
        return partial_bce(logits, batch.observed, a=a, b=b, gamma=gamma)
