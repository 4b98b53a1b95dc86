"""P-ASL: asymmetric loss with an exponent of its own for unknown labels, and a weight per label.

The weights decide what an unknown label is: ignored, or a negative with another exponent. A third
way, a choice by label, is `baselines.csl`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.asl import asymmetric_loss
from baselines.core import Batch, Clock, Draw, Method, MethodInfo, Run, hyper
from baselines.core.losses import reduced

MODES = ("ignore", "ignore-normalised", "negative")


def partial_asymmetric_loss(
    logits: Tensor,
    observed: Tensor,
    weights: Tensor | float,
    *,
    gamma_positive: float | Tensor = 0.0,
    gamma_negative: float | Tensor = 1.0,
    gamma_unknown: float | Tensor = 2.0,
    alpha_positive: float | Tensor = 1.0,
    alpha_negative: float | Tensor = 1.0,
    alpha_unknown: float | Tensor = 1.0,
    clip: float | Tensor = 0.0,
    reduction: str = "sum",
) -> Tensor:
    """Partial asymmetric loss.

        p = sigmoid(x),   n = min(1 - p + m, 1)
        positive:  -W a+ (1 - p)^g+ log max(p, 1e-8)
        negative:  -W a- (1 - n)^g- log max(n, 1e-8)
        unknown:   -W au (1 - n)^gu log max(n, 1e-8)

    The powers are constants.

    Args:
        logits: [B, C], x.
        observed: [B, C], 1 positive, 0 negative, -1 unknown.
        weights: W, [B, C] or one number; carries no gradient.
        gamma_positive: g+, at least 0.
        gamma_negative: g-.
        gamma_unknown: gu.
        alpha_positive: a+.
        alpha_negative: a-.
        alpha_unknown: au.
        clip: m, the probability margin of negative and unknown labels.
        reduction: "sum" over all B*C entries (the authors' code), "mean" over them, or "none" for
            [B, C].

    Returns:
        A scalar, or [B, C].

    Raises:
        ValueError: an unknown `reduction`.

    Source: Ben-Baruch et al., Multi-label Classification with Partial Annotations using Class-aware
    Selective Loss, CVPR 2022. The authors' code makes W in float32 whatever the logits are.
    """
    positive, unknown = observed == 1, observed == -1
    zero = torch.zeros_like(logits)  # numbers may be tensors: one per run
    terms = asymmetric_loss(
        logits,
        positive,
        gamma_negative=torch.where(unknown, zero + gamma_unknown, zero + gamma_negative),
        gamma_positive=gamma_positive,
        clip=clip,
        reduction="none",
    )
    of_negative = torch.where(unknown, zero + alpha_unknown, zero + alpha_negative)
    factor = torch.where(positive, zero + alpha_positive, of_negative)
    return reduced(weights * factor * terms, reduction)


def mode_weights(observed: Tensor, mode: str, dtype: torch.dtype = torch.float32) -> Tensor:
    """The weights W of the modes that do not look at predictions.

        ignore:             1 on known labels, 0 on unknown ones
        ignore-normalised:  1 + 1 / (1 + number of known labels of the image), and 0
        negative:           1 everywhere

    Args:
        observed: [B, C], 1 positive, 0 negative, -1 unknown.
        mode: one of `MODES`.
        dtype: of the result.

    Returns:
        [B, C].

    Raises:
        ValueError: an unknown mode.

    Source: the authors' code, where the second is called ignore_normalize_classes and is rounded
    to float32, as here.
    """
    if mode not in MODES:
        raise ValueError(f"mode is '{mode}'; it must be one of {', '.join(MODES)}")
    known = (observed != -1).to(dtype)
    if mode == "negative":
        return torch.ones_like(known)
    if mode == "ignore":
        return known
    # In float32 whatever the logits are, as in the authors' code: their numbers have its last bits.
    weight = 1.0 + 1.0 / (1.0 + known.float().sum(1, keepdim=True))
    return known * weight.to(dtype)


@dataclass(frozen=True)
class Factors:
    """Exponents, weights and margin, which P-ASL and CSL share."""

    gamma_positive: float = hyper(
        0.0,
        "focal exponent of positives",
        search=(0.0, 2.0),
        paper={"coco": 0.0},
        low=0.0,
    )
    gamma_negative: float = hyper(
        1.0,
        "focal exponent of observed negatives",
        search=(0.0, 4.0),
        paper={"coco-rps": 1.0, "coco-fpc": 3.0},
        low=0.0,
    )
    gamma_unknown: float = hyper(
        4.0,
        "focal exponent of unknown labels; 2 in the authors' arguments, 4 in their commands",
        search=(0.0, 7.0),
        paper={"coco-rps": 4.0, "coco-fpc": 4.0},
        low=0.0,
    )
    alpha_positive: float = hyper(
        1.0, "weight of positives", search=(0.5, 2.0), paper={"coco": 1.0}, low=0.0
    )
    alpha_negative: float = hyper(
        1.0, "weight of observed negatives", search=(0.5, 2.0), paper={"coco": 1.0}, low=0.0
    )
    alpha_unknown: float = hyper(
        1.0, "weight of unknown labels", search=(0.25, 1.0), paper={"coco": 1.0}, low=0.0
    )
    clip: float = hyper(
        0.0,
        "probability margin below which negative and unknown labels are dropped",
        search=(0.0, 0.2),
        paper={"coco": 0.0},
        low=0.0,
        high=1.0,
    )

    def of_loss(self) -> dict[str, float]:
        """The arguments of `partial_asymmetric_loss`."""
        return {
            "gamma_positive": self.gamma_positive,
            "gamma_negative": self.gamma_negative,
            "gamma_unknown": self.gamma_unknown,
            "alpha_positive": self.alpha_positive,
            "alpha_negative": self.alpha_negative,
            "alpha_unknown": self.alpha_unknown,
            "clip": self.clip,
        }


@dataclass(frozen=True)
class Hyper(Factors):
    """Hyperparameters of P-ASL."""

    mode: str = hyper(
        "ignore",
        "what an unknown label is: ignored, ignored with weights by image, or negative",
        search=MODES,
        choices=MODES,
    )


UNKNOWN_AS_NEGATIVE = ("full", "pal", "ppl", "spl", "missing")


class PASL(Method):
    """Partial asymmetric loss; by default unknown labels are ignored.

    Meant where negatives are observed: with positives alone, ignoring the rest leaves nothing that
    holds a prediction down, and mode=negative is `asl` with another exponent.
    """

    info = MethodInfo(
        key="p-asl",
        title="P-ASL",
        paper="Ben-Baruch et al., Multi-label Classification with Partial Annotations using "
        "Class-aware Selective Loss, CVPR 2022",
        year=2022,
        equation="n = min(1 - p + m, 1);  L = -mean_{b,c} W [ 1[s=1] (1-p)^g+ log p "
        "+ 1[s=0] (1-n)^g- log n + 1[unknown] (1-n)^gu log n ],  powers held constant;\n"
        "W = 0 on unknown labels (ignore), 1 everywhere (negative)",
        unknown="ignored",
        regimes=("full", "pal"),
        differs="The authors' code sums over batch and classes; here the sum is divided by B*C, so "
        "that one learning rate serves all methods. Its mode is negative unless told otherwise. "
        "Exponents are those of the published COCO commands, which set gamma_pos=0 where the "
        "tables name the setting P-ASL(4,1,1).",
        source="authors' code",
        reference="Alibaba-MIIL/PartialLabelingCSL@534f3ce, partial_asymmetric_loss.py; "
        "wannature/COMIC@1de14e5, loss/partial_asymmetric_loss.py",
        tolerance="1e-9",
        evidence=(
            "tests/baselines/test_partial_label_vectors.py::test_partial_asymmetric_loss_equals_the_authors_code",
            "tests/baselines/test_p_asl.py::test_numpy_reference",
            "tests/baselines/test_p_asl.py::test_p_asl_is_the_mean",
        ),
    )
    Hyper = Hyper

    def regimes(self) -> tuple[str, ...]:
        """Also those without observed negatives, where unknown labels are taken as negative."""
        return UNKNOWN_AS_NEGATIVE if self.hyper.mode == "negative" else self.info.regimes

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """The equation of `partial_asymmetric_loss`, its sum divided by B*C."""
        weights = mode_weights(batch.observed, self.hyper.mode, logits.dtype)
        factors = self.hyper.of_loss()
        return partial_asymmetric_loss(logits, batch.observed, weights, reduction="mean", **factors)
