"""Losses for candidate labels: a true class is always a candidate, some candidates are false.

Labels of 1 and -1 are candidates, s = 1; only 0, known to be negative, is not, s = 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.cc_pml import forward_corrected_terms
from baselines.cdcr import weighted_cross_entropy
from baselines.cones_nsl import suppression
from baselines.core.losses import bce_terms, reduced
from baselines.gce import generalised_terms
from baselines.proden_ml import simplex_cross_entropy
from baselines.shared.candidate_labels import candidates_of
from baselines.unbiased_pml import non_negative_risk, unbiased_terms
from benchkit.losses.checks import averaged, check_batch, check_choice, scalar


def generalised_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    q: float | Tensor = 0.7,
    terms: str = "candidates",
    reduction: str = "mean",
) -> Tensor:
    """Generalised cross-entropy (GCE), robust to false candidates; unknown labels are candidates.

        element = s (1 - p^q) / q - (1 - s) log(1 - p)                terms = "candidates"
        element = s (1 - p^q) / q + (1 - s) (1 - (1 - p)^q) / q       terms = "both"

    Args:
        logits: float [B, C].
        labels: [B, C]: 1 candidate, 0 negative, -1 unknown.
        q: in (0, 1]: near 0 it is binary cross-entropy, at 1 the mean absolute error.
        terms: see above.
        reduction: "mean" over all B*C entries, "sum" or "none".

    Returns:
        A scalar, or [B, C] with "none".

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `terms` or `reduction`.

    Source: Zhang and Sabuncu, Generalized Cross Entropy Loss for Training Deep Neural Networks with
    Noisy Labels, NeurIPS 2018, for each class on its own.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, 0, 1], [0, 1, 0]])
        >>> generalised_cross_entropy(logits, labels)
        tensor(0.6212)
    """
    check_batch(logits, labels)
    candidates = candidates_of(labels, logits.dtype)
    return reduced(generalised_terms(logits, candidates, q, terms), reduction)


def forward_corrected_loss(
    logits: Tensor, labels: Tensor, *, noise_rate: float | Tensor, reduction: str = "mean"
) -> Tensor:
    """Forward-corrected cross-entropy (CC-PML); unknown labels are candidates.

        pt = rho + (1 - rho) p,   p = sigmoid(z)
        element = -s log pt - (1 - s) log((1 - rho)(1 - p))

    Args:
        logits: float [B, C].
        labels: [B, C]: 1 candidate, 0 negative, -1 unknown.
        noise_rate: rho in [0, 1), the probability that a false class is a candidate. The method
            estimates it by the rarest class, `(labels != 0).float().mean(0).min()` over the
            training set.
        reduction: "mean" over all B*C entries, "sum" or "none".

    Returns:
        A scalar, or [B, C] with "none".

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `reduction`.

    Source: derived; forward correction as in Patrini et al., Making Deep Neural Networks Robust to
    Label Noise, CVPR 2017.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, 0, 1], [0, 1, 0]])
        >>> forward_corrected_loss(logits, labels, noise_rate=0.2)
        tensor(0.7136)
    """
    check_batch(logits, labels)
    rate = scalar(noise_rate, logits)
    candidates = candidates_of(labels, logits.dtype)
    return reduced(forward_corrected_terms(logits, candidates, rate), reduction)


def unbiased_pml_loss(
    logits: Tensor, labels: Tensor, *, noise_rate: float | Tensor, form: str = "non-negative"
) -> Tensor:
    """Unbiased risk of the true labels (Unbiased PML); unknown labels are candidates.

        l1 = -log p,   l0 = -log(1 - p)
        L = mean_{b,c} [ s l1 + (1 - s)(l0 - rho l1) / (1 - rho) ]                 form = "plain"
        L = mean_c [ max(0, E_b[s l1] - rho / (1 - rho) E_b[(1 - s) l1])
                     + E_b[(1 - s) l0] / (1 - rho) ]                        form = "non-negative"

    Args:
        logits: float [B, C].
        labels: [B, C]: 1 candidate, 0 negative, -1 unknown.
        noise_rate: rho in [0, 1), see `forward_corrected_loss`.
        form: see above; the plain form has no lower bound.

    Returns:
        A scalar. The non-negative form couples the images of a batch, so there is no `reduction`.

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `form`.

    Source: Xie and Huang, CCMN: A General Framework for Learning with Class-Conditional Multi-Label
    Noise, arXiv:2105.07338, 2021; non-negative form after Kiryo et al., NeurIPS 2017.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, 0, 1], [0, 1, 0]])
        >>> unbiased_pml_loss(logits, labels, noise_rate=0.2)
        tensor(0.6931)
    """
    check_batch(logits, labels)
    check_choice("form", form, ("non-negative", "plain"))
    rate = scalar(noise_rate, logits)
    risk = unbiased_terms if form == "plain" else non_negative_risk
    return risk(logits, candidates_of(labels, logits.dtype), rate).mean()


def weighted_candidate_loss(
    logits: Tensor, labels: Tensor, *, weights: Tensor, reduction: str = "mean"
) -> Tensor:
    """Cross-entropy on weighted candidates (CDCR); unknown labels are candidates.

        element = w (-s log p - (1 - s) log(1 - p))

    CDCR sets w to 1 on negatives and, before every epoch, to 1[p >= 0.6] on candidates.

    Args:
        logits: float [B, C].
        labels: [B, C]: 1 candidate, 0 negative, -1 unknown.
        weights: float [B, C], w.
        reduction: "mean" over all B*C entries, "sum" or "none".

    Returns:
        A scalar, or [B, C] with "none".

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `reduction`.

    Source: Sun, Xie and Huang, A Deep Model for Partial Multi-Label Image Classification with
    Curriculum Based Disambiguation, 2022.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, 0, 1], [0, 1, 0]])
        >>> weighted_candidate_loss(logits, labels, weights=torch.full((2, 3), 0.5))
        tensor(0.3466)
    """
    check_batch(logits, labels, weights=weights)
    candidates = candidates_of(labels, logits.dtype)
    return averaged(weighted_cross_entropy, reduction, logits, candidates, weights)


def progressive_identification_loss(
    logits: Tensor, labels: Tensor, *, weights: Tensor, form: str = "em"
) -> Tensor:
    """Cross-entropy against weights of the candidates (PRODEN); unknown labels are candidates.

        L = mean_{b,c} [ -q log p - (1 - q) log(1 - p) ]      form = "em"
        L = -mean_b sum_c q log softmax_c(z)                  form = "simplex"

    The weights q follow the classifier. In the simplex form, which is the published one for one
    true label per image, they are `softmax(z)` over the candidates; in the EM form the posterior
    s p / (p + rho (1 - p)) at the noise rate rho, as a moving mean with the rate 0.1.

    Args:
        logits: float [B, C], z.
        labels: [B, C]: 1 candidate, 0 negative, -1 unknown.
        weights: float [B, C] in [0, 1], q, without gradient; weights of negatives are not read.
        form: see above.

    Returns:
        A scalar.

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `form`.

    Source: Lv et al., Progressive Identification of True Labels for Partial-Label Learning, ICML
    2020; the EM form is ours.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, 0, 1], [0, 1, 0]])
        >>> weights = torch.tensor([[0.5, 0.0, 0.5], [0.0, 1.0, 0.0]])
        >>> progressive_identification_loss(logits, labels, weights=weights, form="simplex")
        tensor(1.0986)
    """
    check_batch(logits, labels, weights=weights)
    check_choice("form", form, ("em", "simplex"))
    target = torch.where(labels != 0, weights.detach().to(logits.dtype), 0.0)
    if form == "simplex":
        return simplex_cross_entropy(logits, target)
    return bce_terms(logits, target).mean()


def negative_suppression_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    pseudo_labels: Tensor,
    weight: float | Tensor = 0.1,
    exponent: float | Tensor = 3.0,
    reduction: str = "mean",
) -> Tensor:
    """Negative suppression loss (CoNeS); unknown labels are candidates.

        element = BCE(z, s) + weight a BCE(z, t)
        a = 1 on candidates, else  g_c^{1/(r-1)} / ((C - |S|) (sum_{j not in S} g_j)^{1/(r-1)})
        g = 1 / (-r log(1 - p) + 1e-8),   S the candidates of the image

    Hard negatives have small a, which carries no gradient. CoNeS sets t to 1 where the bank of the
    image's soft labels, a moving mean of its predictions, is above its start 1 / |S|.

    Args:
        logits: float [B, C].
        labels: [B, C]: 1 candidate, 0 negative, -1 unknown.
        pseudo_labels: [B, C], t: 1 or true for the candidates that are believed, else 0.
        weight: of the second term.
        exponent: r, above 1.
        reduction: "mean" over all B*C entries, "sum" or "none".

    Returns:
        A scalar, or [B, C] with "none".

    Raises:
        ValueError: wrong shapes, labels of an unsigned dtype, or an unknown `reduction`.

    Source: Zhong et al., Correlation-Induced Negative Suppression Disambiguation Loss for Partial
    Multi-label Image Classification, TCSVT 2025.

    Example:
        >>> logits, labels = torch.zeros(2, 3), torch.tensor([[1, 0, 1], [0, 1, 0]])
        >>> pseudo_labels = torch.tensor([[1, 0, 0], [0, 1, 0]])
        >>> negative_suppression_loss(logits, labels, pseudo_labels=pseudo_labels)
        tensor(0.7475)
    """
    check_batch(logits, labels, pseudo_labels=pseudo_labels)
    candidates = candidates_of(labels, logits.dtype)
    suppressed = suppression(logits, candidates, exponent)
    first = bce_terms(logits, candidates)
    second = suppressed * bce_terms(logits, pseudo_labels.to(logits.dtype))
    return reduced(first, reduction) + weight * reduced(second, reduction)
