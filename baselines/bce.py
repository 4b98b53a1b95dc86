"""BCE: binary cross-entropy with every label that is not positive taken as negative."""

from __future__ import annotations

from torch import Tensor

from baselines.core import Batch, Clock, Draw, Method, MethodInfo, Run, positives
from baselines.core.losses import bce_terms


def bce(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy, the mean over all B*C entries of softplus(z) - y z.

    Args:
        logits: [B, C].
        target: [B, C] in [0, 1].

    Returns:
        A scalar.
    """
    return bce_terms(logits, target).mean()


class BCE(Method):
    """Empirical risk minimisation; unknown labels count as negative."""

    info = MethodInfo(
        key="bce",
        title="BCE",
        paper="textbook; the ERM row of Wu et al., Distribution-Balanced Loss, ECCV 2020",
        year=2020,
        equation="L = mean_{b,c} [ softplus(z) - y z ],  unknown -> y = 0",
        unknown="negative",
        source="authors' code",
        reference="wutong16/DistributionBalancedLoss@14460d0, "
        "mllt/models/losses/resample_loss.py; Alibaba-MIIL/ASL@8c9e0bd",
        tolerance="1e-9",
        evidence=(
            "tests/baselines/test_bce.py::test_equals_the_distribution_balanced_code",
            "tests/baselines/test_bce.py::test_sum_form_is_asl_without_its_factors",
            "tests/baselines/test_bce.py::test_unknown_counts_as_negative",
        ),
    )

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """The equation above."""
        return bce(logits, positives(batch.observed, logits.dtype))
