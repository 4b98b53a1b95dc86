"""The losses of COMIC: modification (MFM), correction (RLC) and balance (HTB)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from baselines.core import positives


def class_weight(counts: Tensor, power: float | Tensor) -> Tensor:
    """The head-tail weight w_c = (1 - ln(n_c / max_k n_k))^a, 1 for the most frequent class.

    Args:
        counts: n [C]; values below 1 count as 1.
        power: a.

    Returns:
        [C], at least 1.

    Source: the authors' code, where a is 1/3 for MFM and 1/6 for RLC.
    """
    counts = counts.clamp(min=1.0)
    return (1.0 - torch.log(counts / counts.max())) ** power


def column_shares(together: Tensor) -> Tensor:
    """T_ij = M_ij / sum_k M_kj, [C, C]; the column of a class without images is zero."""
    tiny = torch.finfo(together.dtype).tiny
    return together / together.sum(0, keepdim=True).clamp(min=tiny)


def expected_classes(target: Tensor, shares: Tensor) -> Tensor:
    """How strongly the positives of an image suggest each class.

        a_b = normalised to sum 1 ( mean over the positives i of image b of T_i )

    Args:
        target: [B, C], 1 for positives, else 0.
        shares: T [C, C], see `column_shares`.

    Returns:
        a [B, C]; zero for an image without positives.

    Source: the authors' `PriorFocalModifierLoss`, which yields NaN where nothing is positive.
    """
    spoken = target @ shares  # the mean's divisor cancels
    return spoken / spoken.sum(1, keepdim=True).clamp(min=torch.finfo(spoken.dtype).tiny)


def multi_focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    weight: Tensor,
    exponent: Tensor,
    gamma_negative: float | Tensor = 3.0,
    gamma_positive: float | Tensor = 0.0,
    clip: float | Tensor = 0.05,
    expected: Tensor | None = None,
    relief: float = 1.2,
    eps: float = 1e-8,
) -> Tensor:
    """The multi-focal modifier loss (MFM), summed over B*C.

        p = sigmoid(z),   q = min(1 - p + m, 1)
        L = - sum_bc w_c [ y (1-p)^g+ ln max(p, eps) + (1-y) (1-q)^(g- + v_c) ln max(q, eps) ]

    Powers carry no gradient. With `expected` (the prior focal modifier, PFM) both probabilities
    change before they enter logarithms and powers:

        p := p (1 - a),   q := min(relief q, 1) where a > 0

    Args:
        logits: z [B, C].
        target: y [B, C], 1 for positives, 0 for negative and unknown.
        weight: w [C], the factor of a class; ones for the paper's equation.
        exponent: v [C], the head-tail part of the negative exponent; zeros for none.
        gamma_negative: g-, at least 0.
        gamma_positive: g+, at least 0.
        clip: m, the probability margin of negatives.
        expected: a [B, C], from `expected_classes`, or None.
        relief: factor on the probability that an expected class is absent.
        eps: lower bound of a probability inside the logarithm.

    Returns:
        A scalar.

    Source: Zhang et al., ICCV 2023, section 3.2, in the form of the authors' code
    (`MultiGrainedFocalLoss`; with `expected`, `PriorFocalModifierLoss`): the class weight is a
    factor, which the paper does not have, and an exponent of negatives only.
    """
    present, complement = torch.sigmoid(logits), torch.sigmoid(-logits)
    absent = (complement + clip).clamp(max=1.0)
    if expected is not None:
        complement = complement + present * expected
        present = present * (1.0 - expected)
        absent = torch.where(expected > 0, (relief * absent).clamp(max=1.0), absent)
    tiny = torch.finfo(logits.dtype).tiny
    power_positive = complement.clamp(min=tiny) ** gamma_positive
    power_negative = (1.0 - absent).clamp(min=tiny) ** (gamma_negative + exponent)
    of_positive = target * power_positive.detach() * torch.log(present.clamp(min=eps))
    of_negative = (1.0 - target) * power_negative.detach() * torch.log(absent.clamp(min=eps))
    return -(weight * (of_positive + of_negative)).sum()


class Correction(NamedTuple):
    """The corrected labels of a batch.

    Attributes:
        logits: [B, C], reduced by the margin at observed positives.
        labels: [B, C], 1 for observed and corrected positives, else 0.
        corrected: bool [B, C].
        probability: the next P [C].
        counts: the next D [C].
    """

    logits: Tensor
    labels: Tensor
    corrected: Tensor
    probability: Tensor
    counts: Tensor


def correct(
    logits: Tensor,
    observed: Tensor,
    probability: Tensor,
    counts: Tensor,
    *,
    tau: float | Tensor = 0.7,
    margin: float | Tensor = 1.0,
    momentum: float | Tensor = 0.9,
) -> Correction:
    """Reflective label correction (RLC): confident unknown labels become positive.

        s = z - margin where a label is observed positive, else z;   p = sigmoid(s)
        P <- momentum P + (1 - momentum) mean_b p
        label_bc = 1  where  p_bc > tau, p_bc > P_c and the label is unknown
        D_c <- D_c + corrected labels of c

    An observed negative is never corrected.

    Args:
        logits: z [B, C].
        observed: [B, C], 1 positive, 0 negative, -1 unknown.
        probability: P [C], the running mean; a negative entry is not yet set.
        counts: D [C], observed positives plus the corrections of this epoch so far.
        tau: smallest confidence of a correction.
        margin: see above.
        momentum: of P; 0 uses only the mean of the batch.

    Returns:
        The corrected batch and the next state; only the logits have gradients.

    Source: Zhang et al., ICCV 2023, section 3.1, with the margin, the D of each epoch (which the
    caller resets) and the observed positives inside the mean as in `ReflectiveLabelCorrectorLoss`.
    The P of the code is the mean of the batch, that of the paper an average over past data.
    """
    label = positives(observed, logits.dtype)
    shifted = logits - margin * label
    present = torch.sigmoid(shifted.detach())
    mean = present.mean(0)
    moved = momentum * probability + (1.0 - momentum) * mean
    following = torch.where(probability < 0, mean, moved)
    corrected = (present > tau) & (present > following) & (observed == -1)
    additions = corrected.to(logits.dtype)
    return Correction(shifted, label + additions, corrected, following, counts + additions.sum(0))


def correction_loss(
    correction: Correction,
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    batch_size: int | None = None,
) -> Tensor:
    """L_rlc = (B / N) L(s, labels; D), N the positives after correction, at least 1.

    Args:
        correction: the result of `correct`.
        loss: (logits [B, C], target [B, C], counts D [C]) -> scalar, a sum over B*C.
        batch_size: B; None for the size of the batch.

    Returns:
        A scalar.

    Source: `ReflectiveLabelCorrectorLoss`, where B is the constant 32. The paper's N counts
    corrected labels only and can be zero.
    """
    size = correction.logits.shape[0] if batch_size is None else batch_size
    factor = size / correction.labels.sum().clamp(min=1.0)
    return factor * loss(correction.logits, correction.labels, correction.counts)


def balancer_loss(
    balanced: Tensor,
    head: Tensor,
    tail: Tensor,
    loss: Callable[[Tensor], Tensor],
    *,
    alpha: float | Tensor = 2.0,
    detach: bool = True,
) -> Tensor:
    """The head-tail balancer (HTB).

        kappa_h = L(z_h)^alpha / (L(z_h)^alpha + L(z_t)^alpha),   kappa_t = 1 - kappa_h
        L_htb = kappa_h L(softmax(z_h) softmax(z_b)) + kappa_t L(softmax(z_t) softmax(z_b))

    The product of two softmaxes takes the place of a logit. The softmaxes of head and tail carry no
    gradient.

    Args:
        balanced: z_b [B, C].
        head: z_h [B, C], with the moving vector's shift.
        tail: z_t [B, C], likewise.
        loss: logits [B, C] -> scalar.
        alpha: see above.
        detach: whether kappa is held constant; otherwise its gradient moves head and tail.

    Returns:
        A scalar.

    Source: Zhang et al., ICCV 2023, section 3.3; softmax and product are in the order of
    `HeadTailBalancerLoss`, which does not detach kappa.
    """
    if detach:
        head, tail = head.detach(), tail.detach()
    tiny = torch.finfo(balanced.dtype).tiny
    ratio = torch.log(loss(head).clamp(min=tiny)) - torch.log(loss(tail).clamp(min=tiny))
    kappa = torch.sigmoid(alpha * ratio)  # from logarithms, because a power of a sum may overflow
    own = torch.softmax(balanced, 1)
    of_head = loss(torch.softmax(head, 1).detach() * own)
    of_tail = loss(torch.softmax(tail, 1).detach() * own)
    return kappa * of_head + (1.0 - kappa) * of_tail
