"""BCE: binary cross-entropy; every label that is not positive counts as negative."""

from __future__ import annotations

from baselines.core import MethodInfo
from baselines.shared.binary_cross_entropy import BinaryCrossEntropy
from baselines.shared.binary_cross_entropy import bce as bce


class BCE(BinaryCrossEntropy):
    """Empirical risk minimisation; unknown labels count as negative."""

    info = MethodInfo(
        key="bce",
        title="BCE",
        paper="textbook; the ERM row of Wu et al., Distribution-Balanced Loss, ECCV 2020",
        year=2020,
        equation="L = mean_{b,c} [ softplus(z) - y z ],  unknown -> y = 0",
        unknown="negative",
        family="plain",
        summary="binary cross-entropy",
    )
