"""LDAM: a margin on positives that is larger for rarer classes, in a proposed multi-label form.

The paper treats one label per image. Tables of multi-label papers have an LDAM row, but no code for
it was published; this is the closest form with one sigmoid per class.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from baselines.core import Batch, Clock, Draw, MethodInfo, Run, hyper, positives
from baselines.core.losses import bce_terms, reduced
from baselines.shared.class_aware import Counting, CountsHyper


def class_margin(class_counts: Tensor, max_margin: float | Tensor) -> Tensor:
    """The margin of each class, Delta_c = m n_c^(-1/4) / max_j n_j^(-1/4).

    A class without positives counts as one with a single positive.

    Args:
        class_counts: floating [C], positives per class, n_c.
        max_margin: m, the margin of the rarest class.

    Returns:
        [C].

    Source: Cao et al., NeurIPS 2019, equation 13 and the authors' code.
    """
    root = class_counts.clamp(min=1.0) ** -0.25
    return max_margin * root / root.amax()


def ldam_loss(
    logits: Tensor,
    target: Tensor,
    class_counts: Tensor,
    *,
    max_margin: float | Tensor = 0.5,
    scale: float | Tensor = 1.0,
    reduction: str = "mean",
) -> Tensor:
    """Binary cross-entropy with a class-dependent margin on positives, a proposed form.

        z' = s (z - Delta_c y),   element = softplus(z') - y z'

    With m = 0 and s = 1 this is binary cross-entropy.

    Args:
        logits: [B, C]; raw scores, which are also the scores at test time.
        target: [B, C] in [0, 1].
        class_counts: [C], positives per class of the training set.
        max_margin: m, see `class_margin`.
        scale: s, above 0; 1 for a linear head, 30 for cosines.
        reduction: "mean" over all B*C entries, "sum", or "none" for [B, C].

    Returns:
        A scalar, or [B, C].

    Raises:
        ValueError: an unknown `reduction`.

    Source: Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss,
    NeurIPS 2019, adapted to several labels per image. The original subtracts Delta from the logit
    of the target in a softmax over s times the cosines.
    """
    target = target.to(logits.dtype)
    margin = class_margin(class_counts.to(logits.dtype), max_margin)
    return reduced(bce_terms(scale * (logits - margin * target), target), reduction)


@dataclass(frozen=True)
class Hyper(CountsHyper):
    """Hyperparameters of LDAM; multi-label papers state none."""

    max_margin: float = hyper(
        0.5,
        "margin of the rarest class",
        search=(0.1, 2.0),
        paper={"cifar10-lt": 0.5, "cifar100-lt": 0.5},
        low=0.0,
    )
    scale: float = hyper(
        1.0,
        "factor on the logits; 30 in the original, on cosines",
        search=(1.0, 5.0),
        paper={"cifar10-lt": 30.0, "cifar100-lt": 30.0},
        low=1e-3,
    )


class LDAM(Counting):
    """Label-distribution-aware margins on shuffled rows; unknown labels count as negative."""

    info = MethodInfo(
        key="ldam",
        title="LDAM (proposed multi-label form)",
        paper="Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss, "
        "NeurIPS 2019",
        year=2019,
        equation="Delta_c = m n_c^(-1/4) / max_j n_j^(-1/4);  z' = s (z - Delta_c y);\n"
        "L = mean_{b,c} [ softplus(z') - y z' ],  unknown -> y = 0",
        unknown="negative",
        needs=("class counts",),
        family="long-tailed",
        summary="margins for rare classes, in a proposed multi-label form",
    )
    Hyper = Hyper

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Apply `ldam_loss` to the batch."""
        return ldam_loss(
            logits,
            positives(batch.observed, logits.dtype),
            run.constants["class_counts"],
            max_margin=self.hyper.max_margin,
            scale=self.hyper.scale,
        )
