"""Losses for labels that are partly unknown, positives as well as negatives."""

from __future__ import annotations

from torch import Tensor

from baselines.csl import selective_weights
from baselines.pal import pal_loss as _pal_loss
from baselines.partial_bce import known_bce
from baselines.partial_bce import partial_bce as _partial_bce
from baselines.pseudo_label import pseudo_label_loss as _pseudo_label_loss
from baselines.shared.partial_asymmetric import mode_weights
from baselines.shared.partial_asymmetric import partial_asymmetric_loss as _partial_asymmetric_loss
from benchkit.losses.checks import check_batch, check_choice, check_classes


def partial_bce(
    logits: Tensor,
    labels: Tensor,
    *,
    a: float | Tensor = -4.45,
    b: float | Tensor = 5.45,
    gamma: float | Tensor = 1.0,
    normalise: str = "image",
) -> Tensor:
    """Partial binary cross-entropy; unknown labels are ignored.

        L = mean_b [ g(r_b) / C  sum_{c known} (-y log p - (1 - y) log(1 - p)) ]
        g(r) = a r^gamma + b,   r_b the share of image b's labels that are known

    Args:
        logits: float [B, C].
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        a: slope of the weight g.
        b: the weight at r = 0; a + b = 1 gives complete labels the weight 1.
        gamma: exponent of the share r.
        normalise: "image" as above, or "batch" for the mean over all known labels of the batch,
            which does not use a, b and gamma.

    Returns:
        A scalar. Images without known labels contribute zero.

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `normalise`.

    Source: Durand, Mehrasa and Mori, Learning a Deep ConvNet for Multi-label Classification with
    Partial Labels, CVPR 2019, equations 1 and 2.

    Example:
        >>> logits, labels = torch.zeros(2, 4), torch.tensor([[1, 0, -1, -1], [0, 1, 0, -1]])
        >>> partial_bce(logits, labels)
        tensor(1.1080)
    """
    check_batch(logits, labels)
    check_choice("normalise", normalise, ("image", "batch"))
    if normalise == "batch":
        return known_bce(logits, labels)
    return _partial_bce(logits, labels, a=a, b=b, gamma=gamma)


def partial_asymmetric_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    mode: str = "ignore",
    gamma_positive: float | Tensor = 0.0,
    gamma_negative: float | Tensor = 1.0,
    gamma_unknown: float | Tensor = 4.0,
    alpha_positive: float | Tensor = 1.0,
    alpha_negative: float | Tensor = 1.0,
    alpha_unknown: float | Tensor = 1.0,
    clip: float | Tensor = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """Partial asymmetric loss (P-ASL); unknown labels are ignored, or weaker negatives.

        p = sigmoid(z),   n = min(1 - p + m, 1)
        positive:  -W a+ (1 - p)^g+ log max(p, 1e-8)
        negative:  -W a- (1 - n)^g- log max(n, 1e-8)
        unknown:   -W au (1 - n)^gu log max(n, 1e-8)

        W = 1 on known labels, 0 on unknown ones                             mode = "ignore"
        W = 1 + 1 / (1 + known labels of the image), 0 on unknown labels     "ignore-normalised"
        W = 1                                                                mode = "negative"

    The powers carry no gradient.

    Args:
        logits: float [B, C], z.
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        mode: see above.
        gamma_positive: g+, at least 0.
        gamma_negative: g-, at least 0.
        gamma_unknown: gu, at least 0.
        alpha_positive: a+.
        alpha_negative: a-.
        alpha_unknown: au.
        clip: m, the probability margin below which negative and unknown labels are dropped.
        reduction: "mean" over all B*C entries, "sum" (the authors' code) or "none".

    Returns:
        A scalar, or [B, C] with "none".

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `mode` or `reduction`.

    Source: Ben-Baruch et al., Multi-label Classification with Partial Annotations using Class-aware
    Selective Loss, CVPR 2022; the exponents are those of the authors' COCO commands.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, 0, -1], [0, 1, 0]])
        >>> partial_asymmetric_loss(logits, labels)
        tensor(0.4043)
    """
    check_batch(logits, labels)
    return _partial_asymmetric_loss(
        logits,
        labels,
        mode_weights(labels, mode, logits.dtype),
        gamma_positive=gamma_positive,
        gamma_negative=gamma_negative,
        gamma_unknown=gamma_unknown,
        alpha_positive=alpha_positive,
        alpha_negative=alpha_negative,
        alpha_unknown=alpha_unknown,
        clip=clip,
        reduction=reduction,
    )


def class_aware_selective_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    prior: Tensor | None,
    likelihood_topk: int = 5,
    prior_threshold: float | Tensor = 0.5,
    gamma_positive: float | Tensor = 0.0,
    gamma_negative: float | Tensor = 1.0,
    gamma_unknown: float | Tensor = 4.0,
    alpha_positive: float | Tensor = 1.0,
    alpha_negative: float | Tensor = 1.0,
    alpha_unknown: float | Tensor = 1.0,
    clip: float | Tensor = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """Class-aware selective loss (CSL): unknown labels are negative or, if likely, ignored.

    The loss is `partial_asymmetric_loss` with these weights:

        W = 0 on unknown labels of classes with prior > threshold
        W = 0 on the K B unknown labels of the batch with the largest predictions
        W = 1 elsewhere

    The authors estimate the prior as the mean prediction of a first model, which is trained with
    `partial_asymmetric_loss(mode="ignore")`.

    Args:
        logits: float [B, C], z.
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        prior: float [C] in [0, 1], the estimated frequency of each class; None selects by the
            predictions alone.
        likelihood_topk: K, ignored labels per image, on average over the batch.
        prior_threshold: see above; 0 selects by the predictions alone.
        gamma_positive: this and all that follow: see `partial_asymmetric_loss`.
        gamma_negative: see there.
        gamma_unknown: see there.
        alpha_positive: see there.
        alpha_negative: see there.
        alpha_unknown: see there.
        clip: see there.
        reduction: "mean" over all B*C entries, "sum" (the authors' code) or "none".

    Returns:
        A scalar, or [B, C] with "none".

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `reduction`.

    Source: Ben-Baruch et al., Multi-label Classification with Partial Annotations using Class-aware
    Selective Loss, CVPR 2022. The paper ignores the K most likely labels of each image; the
    authors' code, followed here, the K B most likely ones of the batch.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, 0, -1], [0, 1, -1]])
        >>> prior = torch.tensor([0.6, 0.2, 0.1])
        >>> class_aware_selective_loss(logits, labels, prior=prior, likelihood_topk=0)
        tensor(0.3610)
    """
    check_batch(logits, labels)
    if prior is not None:
        check_classes(logits, prior=prior)
    weights = selective_weights(
        logits,
        labels,
        likelihood_topk=likelihood_topk,
        prior=prior,
        prior_threshold=prior_threshold,
    )
    return _partial_asymmetric_loss(
        logits,
        labels,
        weights,
        gamma_positive=gamma_positive,
        gamma_negative=gamma_negative,
        gamma_unknown=gamma_unknown,
        alpha_positive=alpha_positive,
        alpha_negative=alpha_negative,
        alpha_unknown=alpha_unknown,
        clip=clip,
        reduction=reduction,
    )


def pseudo_label_loss(logits: Tensor, labels: Tensor, *, pseudo_labels: Tensor) -> Tensor:
    """Cross-entropy against known labels and, on unknown ones, soft pseudo labels.

        L = mean_b [ mean_{c known} H(y, p) + mean_{c unknown} H(t, p) ]
        H(y, p) = -y log p - (1 - y) log(1 - p)

    Args:
        logits: float [B, C].
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        pseudo_labels: float [B, C] in [0, 1], t; read where a label is unknown, without gradient.
            The method takes the prediction of the epoch before, and 0.5 at first.

    Returns:
        A scalar; the mean over no label is zero.

    Raises:
        ValueError: wrong shapes, or labels of an unsigned dtype.

    Source: Zhang et al., arXiv:2308.00166, equation 7, the baseline "PL" of their tables.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, 0, -1], [-1, 1, -1]])
        >>> pseudo_label_loss(logits, labels, pseudo_labels=torch.full((2, 3), 0.5))
        tensor(1.3863)
    """
    check_batch(logits, labels, pseudo_labels=pseudo_labels)
    return _pseudo_label_loss(logits, labels, pseudo_labels)


def pal_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    pseudo_labels: Tensor,
    subset: Tensor,
    epoch: int,
    epochs: int,
    margin: float | Tensor = 3.0,
    floor: float | Tensor = 0.05,
    threshold: float | Tensor = 0.1,
    weights: bool = True,
    schedule: bool = True,
    penalty: bool = True,
    total: str = "all",
    even_unknown: bool = False,
) -> Tensor:
    """PAL-loss: known labels and pseudo labels, weighted by batch, epoch and image.

        T_b = alpha [ mean_{E_b}(y log p) + d mean_{S_b}(t log p) ]
            + beta [ mean_{E_b}((1-y) log(1-p)) + d mean_{S_b}((1-t) log(1-p)) ]
        L = -mean_b penalty_b T_b

        beta = max(P / T, floor),  alpha = 1 - beta,   P / T: the share of positives in the batch
        d = exp((e + margin - E) / E)
        penalty_b = 2 if max_c p_bc <= threshold else 1

    E_b are the known labels of image b and S_b a random subset of its unknown ones. The mean over
    no label is zero; the weights carry no gradient.

    Args:
        logits: float [B, C].
        labels: [B, C]: 1 positive, 0 negative, -1 unknown.
        pseudo_labels: float [B, C] in [0, 1], t; read where `subset` is set, without gradient. The
            method takes the prediction of the epoch before, and 0.5 at first.
        subset: bool [B, C], S: a random half of the unknown labels, drawn anew in every step.
        epoch: e, the current epoch, from 1.
        epochs: E.
        margin: known and unknown labels weigh the same in epoch E - margin.
        floor: the least beta.
        threshold: see above.
        weights: False sets alpha and beta to 1.
        schedule: False sets d to 1.
        penalty: False sets all penalties to 1.
        total: T, "all" for B*C or "observed" for the number of known labels.
        even_unknown: weigh both terms of the pseudo labels by 1/2 (not in the paper).

    Returns:
        A scalar.

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `total`.

    Source: Zhang et al., Towards Imbalanced Large Scale Multi-label Classification with Partially
    Annotated Labels, arXiv:2308.00166, equations 8 to 12, with the exponent of d and the penalty
    corrected to the paper's text.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, 0, -1], [-1, 1, -1]])
        >>> state = {"pseudo_labels": torch.full((2, 3), 0.5), "subset": labels == -1}
        >>> pal_loss(logits, labels, **state, epoch=1, epochs=10)
        tensor(0.5945)
    """
    check_batch(logits, labels, pseudo_labels=pseudo_labels, subset=subset)
    return _pal_loss(
        logits,
        labels,
        pseudo_labels,
        subset,
        epoch=epoch,
        epochs=epochs,
        margin=margin,
        floor=floor,
        threshold=threshold,
        weights=weights,
        schedule=schedule,
        penalty=penalty,
        total=total,
        even_unknown=even_unknown,
    )
