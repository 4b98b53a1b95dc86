"""The losses of the methods as plain functions, for any training loop in PyTorch.

    >>> import torch
    >>> from benchkit.losses import asymmetric_loss
    >>> logits = torch.zeros(2, 3, requires_grad=True)
    >>> labels = torch.tensor([[1, 0, -1], [0, 1, 0]])
    >>> loss = asymmetric_loss(logits, labels)
    >>> loss.backward()

All functions follow the same conventions:

- `logits` is floating [B, C]: raw scores, before any sigmoid.
- `labels` is int8, int64 or floating [B, C]: 1 positive (or candidate), 0 negative, -1 unknown.
  Every docstring says how unknown labels are treated. `check_labels` checks a whole label matrix.
- Statistics of the training set and state that the caller keeps (`class_counts`, `num_images`,
  `shot`, `noise_rate`, `expected_positives`, `pseudo_labels`, `epoch`, ...) are keyword arguments
  without defaults. Vectors are [C], one value per class.
- Hyperparameters are keyword arguments with the defaults of the method in `benchkit methods`.
- `reduction` is "mean" over all B*C entries, as the methods train, "sum" or "none". Losses with
  a mean per image or a term per batch have no `reduction` and return a scalar.
- Wrong shapes and unknown choices raise a ValueError. Values of labels are not checked.

Every function calls the equation in `baselines` that its method trains with, and returns the same
number. All of them work in float32 and float64, under autograd and `torch.func.vmap`, and stay
finite for logits of +-50, rows without positives and rows without known labels.

Methods without a loss of their own:

- rs, crt, lws, tau-norm, ml-gcn: a sampler, two or more stages, or a head; they train with
  `binary_cross_entropy`.
- db, db-candidates: `distribution_balanced_loss`, with `focal=False` for db, and with candidates as
  positives, `(labels != 0).long()`, for db-candidates.
- bce-candidates: `binary_cross_entropy` of `(labels != 0).long()`.
- bce-clean, db-clean: `binary_cross_entropy` and `distribution_balanced_loss` of the true labels.
- iun: `ignore_unknown_loss` with all true negatives filled into the labels.
- comic-head, comic-tail: `multi_focal_modifier_loss`; the two differ in their learning rates.
- comic: the sum of `multi_focal_modifier_loss`, `reflective_label_correction_loss` and
  `head_tail_balancer` over three branches.
- pico-bank, records-ml, plain: cross-entropy against soft labels; their contribution is the rule by
  which these move from step to step.
- ndlp, solar-ml: the same, with `distribution_balanced_loss` or cross-entropy, and a second forward
  pass on mixed features.
"""

from benchkit.losses.candidates import (
    forward_corrected_loss,
    generalised_cross_entropy,
    negative_suppression_loss,
    progressive_identification_loss,
    unbiased_pml_loss,
    weighted_candidate_loss,
)
from benchkit.losses.checks import check_labels
from benchkit.losses.comic import (
    head_tail_balancer,
    multi_focal_modifier_loss,
    reflective_label_correction_loss,
)
from benchkit.losses.long_tailed import (
    class_balanced_focal_loss,
    distribution_balanced_loss,
    ldam_loss,
    negative_tolerant_loss,
    rebalanced_bce,
    reweighted_bce,
)
from benchkit.losses.missing import (
    hill_loss,
    large_loss_correction,
    large_loss_rejection,
    permanent_large_loss_correction,
    splc_loss,
)
from benchkit.losses.partial_labels import (
    class_aware_selective_loss,
    pal_loss,
    partial_asymmetric_loss,
    partial_bce,
    pseudo_label_loss,
)
from benchkit.losses.plain import (
    asymmetric_loss,
    binary_cross_entropy,
    focal_loss,
    smoothed_binary_cross_entropy,
)
from benchkit.losses.probability_guided import (
    adaptive_focal_loss,
    probability_guided_loss,
    probability_rebalancing_loss,
)
from benchkit.losses.single_positive import (
    assume_negative_loss,
    asymmetric_pseudo_label_loss,
    entropy_maximisation_loss,
    expected_positive_regularisation,
    ignore_unknown_loss,
    role_loss,
    smoothed_assume_negative_loss,
    weak_assume_negative_loss,
)

__all__ = [
    "adaptive_focal_loss",
    "assume_negative_loss",
    "asymmetric_loss",
    "asymmetric_pseudo_label_loss",
    "binary_cross_entropy",
    "check_labels",
    "class_aware_selective_loss",
    "class_balanced_focal_loss",
    "distribution_balanced_loss",
    "entropy_maximisation_loss",
    "expected_positive_regularisation",
    "focal_loss",
    "forward_corrected_loss",
    "generalised_cross_entropy",
    "head_tail_balancer",
    "hill_loss",
    "ignore_unknown_loss",
    "large_loss_correction",
    "large_loss_rejection",
    "ldam_loss",
    "multi_focal_modifier_loss",
    "negative_suppression_loss",
    "negative_tolerant_loss",
    "pal_loss",
    "partial_asymmetric_loss",
    "partial_bce",
    "permanent_large_loss_correction",
    "probability_guided_loss",
    "probability_rebalancing_loss",
    "progressive_identification_loss",
    "pseudo_label_loss",
    "rebalanced_bce",
    "reflective_label_correction_loss",
    "reweighted_bce",
    "role_loss",
    "smoothed_assume_negative_loss",
    "smoothed_binary_cross_entropy",
    "splc_loss",
    "unbiased_pml_loss",
    "weak_assume_negative_loss",
    "weighted_candidate_loss",
]
