"""The losses of COMIC (Zhang et al., ICCV 2023): modification, correction and balance.

`class_counts` are the observed positives per class of the training set.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from baselines.core.losses import positives
from baselines.shared.comic_branch import BranchHyper, modified_loss
from baselines.shared.comic_losses import (
    balancer_loss,
    column_shares,
    correct,
    correction_loss,
    expected_classes,
    multi_focal_loss,
)
from baselines.shared.comic_losses import class_weight as head_tail_weight
from benchkit.losses.checks import averaged, check_batch, check_classes, check_pairs


def multi_focal_modifier_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    class_counts: Tensor,
    cooccurrence: Tensor | None = None,
    gamma_negative: float | Tensor = 3.0,
    gamma_positive: float | Tensor = 0.0,
    clip: float | Tensor = 0.05,
    power: float | Tensor = 1 / 3,
    head_tail: bool = True,
    class_weight: bool = True,
    reduction: str = "mean",
) -> Tensor:
    """Multi-focal modifier loss (MFM) of COMIC; unknown labels count as negative.

        p = sigmoid(z),   q = min(1 - p + m, 1),   w_c = (1 - ln(n_c / max n))^a
        element = -w_c [ y (1-p)^g+ ln max(p, 1e-8) + (1-y) (1-q)^(g- + w_c) ln max(q, 1e-8) ]

    With `cooccurrence` it is the prior focal modifier of the authors' code: the classes that occur
    with an image's positives are expected, and their negatives weakened.

    Args:
        logits: float [B, C], z.
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        class_counts: [C], n_c; a count below 1 is taken as 1.
        cooccurrence: [C, C], images in which both classes are positive, `y.T @ y` of the
            training set with `y = (labels == 1).float()`, or None.
        gamma_negative: g-, at least 0.
        gamma_positive: g+, at least 0.
        clip: m, the probability margin of negatives.
        power: a, the exponent of the head-tail weight.
        head_tail: False leaves w_c out altogether.
        class_weight: False leaves out the factor w_c and keeps the exponent, as in the paper.
        reduction: "mean" over all B*C entries, "sum" (the authors' code) or "none".

    Returns:
        A scalar, or [B, C] with "none".

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `reduction`.

    Source: Zhang et al., Learning in Imperfect Environment: Multi-Label Classification with
    Long-Tailed Distribution and Partial Labels, ICCV 2023, section 3.2, in the form of the authors'
    code.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, 0, -1], [0, 1, 0]])
        >>> multi_focal_modifier_loss(logits, labels, class_counts=torch.tensor([64, 16, 4]))
        tensor(0.2863)
    """
    check_batch(logits, labels)
    check_classes(logits, class_counts=class_counts)
    target = positives(labels, logits.dtype)
    weight = head_tail_weight(class_counts.to(logits.dtype), power)
    entries = [
        logits,
        target,
        weight if head_tail and class_weight else torch.ones_like(weight),
        weight if head_tail else torch.zeros_like(weight),
    ]
    if cooccurrence is not None:
        check_pairs(logits, cooccurrence=cooccurrence)
        entries.append(expected_classes(target, column_shares(cooccurrence.to(logits.dtype))))

    def mean(
        logits: Tensor, target: Tensor, weight: Tensor, exponent: Tensor, *expected: Tensor
    ) -> Tensor:
        total = multi_focal_loss(
            logits,
            target,
            weight=weight,
            exponent=exponent,
            gamma_negative=gamma_negative,
            gamma_positive=gamma_positive,
            clip=clip,
            expected=expected[0] if expected else None,
        )
        return total / logits.numel()

    return averaged(mean, reduction, *entries)


def reflective_label_correction_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    class_counts: Tensor,
    mean_probability: Tensor,
    tau: float | Tensor = 0.7,
    margin: float | Tensor = 1.0,
    momentum: float | Tensor = 0.9,
    power: float | Tensor = 1 / 6,
    gamma_negative: float | Tensor = 3.0,
    gamma_positive: float | Tensor = 0.0,
    clip: float | Tensor = 0.05,
    head_tail: bool = True,
    class_weight: bool = True,
) -> Tensor:
    """Reflective label correction (RLC) of COMIC: confident unknown labels count as positive.

        s = z - margin on observed positives, else z;   p = sigmoid(s)
        P <- momentum P + (1 - momentum) mean_b p
        y = 1 on observed positives and on unknown labels with p > tau and p > P
        L = 1 / (C max(1, sum_{b,c} y)) sum_{b,c} MFM(s, y)

    The n_c of MFM are `class_counts` plus the corrections of this batch.

    The caller keeps P and repeats its update after the step. Observed negatives are never
    corrected. COMIC adds this loss to `multi_focal_modifier_loss` with the weight 0.2.

    Args:
        logits: float [B, C], z.
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        class_counts: [C], observed positives, plus the corrections that this epoch made so far; a
            count below 1 is taken as 1.
        mean_probability: float [C], P before this batch; negative where there is none yet.
        tau: the least confidence of a correction.
        margin: see above.
        momentum: of P; 0 takes the batch's own mean, as the authors' code does.
        power: exponent of the head-tail weight.
        gamma_negative: this and all that follow: see `multi_focal_modifier_loss`.
        gamma_positive: see there.
        clip: see there.
        head_tail: see there.
        class_weight: see there.

    Returns:
        A scalar. Its divisor couples the images of a batch, so there is no `reduction`.

    Raises:
        ValueError: wrong shapes, or labels of an unsigned dtype.

    Source: Zhang et al., Learning in Imperfect Environment, ICCV 2023, section 3.1, in the form of
    the authors' code.

    Example:
        >>> logits, labels = torch.eye(2, 3), torch.tensor([[1, 0, -1], [0, 1, -1]])
        >>> state = {"class_counts": torch.tensor([64, 16, 4]), "mean_probability": -torch.ones(3)}
        >>> reflective_label_correction_loss(logits, labels, **state)
        tensor(0.2657)
    """
    check_batch(logits, labels)
    check_classes(logits, class_counts=class_counts, mean_probability=mean_probability)
    hyper = _hyper(gamma_negative, gamma_positive, clip, head_tail, class_weight)
    correction = correct(
        logits,
        labels,
        mean_probability.to(logits.dtype),
        class_counts.to(logits.dtype).clamp(min=1.0),
        tau=tau,
        margin=margin,
        momentum=momentum,
    )
    loss = correction_loss(correction, lambda z, y, n: modified_loss(hyper, z, y, n, power))
    return loss / logits.numel()


def head_tail_balancer(
    logits: Tensor,
    labels: Tensor,
    *,
    head_logits: Tensor,
    tail_logits: Tensor,
    class_counts: Tensor,
    alpha: float | Tensor = 2.0,
    power: float | Tensor = 1 / 3,
    gamma_negative: float | Tensor = 3.0,
    gamma_positive: float | Tensor = 0.0,
    clip: float | Tensor = 0.05,
    head_tail: bool = True,
    class_weight: bool = True,
) -> Tensor:
    """Head-tail balancer (HTB) of COMIC: a model learns from a head and a tail model.

        k = L(z_h)^alpha / (L(z_h)^alpha + L(z_t)^alpha)
        L_htb = k L(softmax(z_h) softmax(z)) + (1 - k) L(softmax(z_t) softmax(z))

    L is `multi_focal_modifier_loss`, so unknown labels count as negative. Head and tail logits and
    k carry no gradient.

    Args:
        logits: float [B, C], z, of the balanced model.
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        head_logits: float [B, C], z_h.
        tail_logits: float [B, C], z_t.
        class_counts: [C], n_c; a count below 1 is taken as 1.
        alpha: power of the losses in k.
        power: exponent of the head-tail weight.
        gamma_negative: this and all that follow: see `multi_focal_modifier_loss`.
        gamma_positive: see there.
        clip: see there.
        head_tail: see there.
        class_weight: see there.

    Returns:
        A scalar, divided by B*C. k couples the images of a batch, so there is no `reduction`.

    Raises:
        ValueError: wrong shapes, or labels of an unsigned dtype.

    Source: Zhang et al., Learning in Imperfect Environment, ICCV 2023, section 3.3; the order of
    softmax and product is that of the authors' code.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, 0, -1], [0, 1, 0]])
        >>> models = {"head_logits": torch.ones(2, 3), "tail_logits": -torch.ones(2, 3)}
        >>> head_tail_balancer(logits, labels, **models, class_counts=torch.tensor([64, 16, 4]))
        tensor(0.2720)
    """
    check_batch(logits, labels, head_logits=head_logits, tail_logits=tail_logits)
    check_classes(logits, class_counts=class_counts)
    hyper = _hyper(gamma_negative, gamma_positive, clip, head_tail, class_weight)
    counts, target = class_counts.to(logits.dtype), positives(labels, logits.dtype)
    loss = balancer_loss(
        logits,
        head_logits,
        tail_logits,
        lambda z: modified_loss(hyper, z, target, counts, power),
        alpha=alpha,
    )
    return loss / logits.numel()


def _hyper(
    gamma_negative: float | Tensor,
    gamma_positive: float | Tensor,
    clip: float | Tensor,
    head_tail: bool,
    class_weight: bool,
) -> BranchHyper:
    """The hyperparameters of the modifier loss, as `modified_loss` reads them."""
    values: dict[str, Any] = dict(
        mfm_gamma_negative=gamma_negative,
        mfm_gamma_positive=gamma_positive,
        mfm_clip=clip,
        mfm_head_tail=head_tail,
        mfm_class_weight=class_weight,
    )
    return BranchHyper(**values)
