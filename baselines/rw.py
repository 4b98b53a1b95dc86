"""RW: binary cross-entropy with class weights from the inverse class frequency."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.core import Batch, Clock, Draw, MethodInfo, Run, hyper, positives
from baselines.core.losses import bce_terms, reduced
from baselines.shared.class_aware import Counting, CountsHyper

FORMS = ("inverse-sqrt", "inverse")


def frequency_weight(
    class_counts: Tensor, num_images: int | Tensor, form: str = "inverse-sqrt"
) -> Tensor:
    """The weight of each class.

        s_c = sqrt(N / n_c)      form = "inverse-sqrt"
        s_c = N / n_c            form = "inverse"

    A class without positives counts as one with a single positive.

    Args:
        class_counts: floating [C], positives per class, n_c.
        num_images: N.
        form: see above.

    Returns:
        [C].

    Raises:
        ValueError: an unknown `form`.
    """
    if form not in FORMS:
        raise ValueError(f"form is '{form}'; it must be one of {list(FORMS)}")
    ratio = num_images / class_counts.clamp(min=1.0)
    return torch.sqrt(ratio) if form == "inverse-sqrt" else ratio


def reweighted_bce(
    logits: Tensor,
    target: Tensor,
    class_counts: Tensor,
    num_images: int | Tensor,
    *,
    form: str = "inverse-sqrt",
    reduction: str = "mean",
) -> Tensor:
    """Binary cross-entropy with class weights: element = s_c (softplus(z) - y z).

    The weight multiplies positives and negatives of a class alike and is not normalised: on VOC-LT
        it reaches 16.9 (inverse-sqrt) or 286 (inverse). With equal counts this is a constant times
        binary cross-entropy.

    Args:
        logits: [B, C].
        target: [B, C] in [0, 1].
        class_counts: [C], positives per class of the training set, n_c.
        num_images: N, of the training set.
        form: see `frequency_weight`.
        reduction: "mean" over all B*C entries, "sum", or "none" for [B, C].

    Returns:
        A scalar, or [B, C].

    Raises:
        ValueError: an unknown `form` or `reduction`.

    Source: the RW row of Wu et al., Distribution-Balanced Loss, ECCV 2020, and its code.
    """
    weight = frequency_weight(class_counts.to(logits.dtype), num_images, form)
    return reduced(weight * bce_terms(logits, target.to(logits.dtype)), reduction)


@dataclass(frozen=True)
class Hyper(CountsHyper):
    """Hyperparameters of RW."""

    form: str = hyper(
        "inverse-sqrt",
        "weight of a class: sqrt(N / n_c) or N / n_c",
        search=FORMS,
        paper={"voc-lt": "inverse-sqrt", "coco-lt": "inverse-sqrt"},
        choices=FORMS,
    )


class RW(Counting):
    """Re-weighting on shuffled rows; unknown labels count as negative."""

    info = MethodInfo(
        key="rw",
        title="RW",
        paper="the re-weighting row of Wu et al., Distribution-Balanced Loss, ECCV 2020",
        year=2020,
        equation="L = mean_{b,c} [ s_c (softplus(z) - y z) ],  s_c = sqrt(N/n_c) or N/n_c,  "
        "unknown -> y = 0",
        unknown="negative",
        needs=("class counts",),
        family="long-tailed",
        summary="weights from inverse class frequency",
    )
    Hyper = Hyper

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Apply `reweighted_bce` to the batch."""
        return reweighted_bce(
            logits,
            positives(batch.observed, logits.dtype),
            run.constants["class_counts"],
            run.constants["num_images"],
            form=self.hyper.form,
        )
