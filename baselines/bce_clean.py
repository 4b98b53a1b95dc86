"""BCE on the true labels: an upper bound. Every run is marked as oracle."""

from __future__ import annotations

from baselines.core import MethodInfo
from baselines.shared.binary_cross_entropy import BinaryCrossEntropy
from baselines.shared.clean import OnTrueLabels


class BCEClean(OnTrueLabels, BinaryCrossEntropy):
    """Empirical risk minimisation on the true labels: an upper bound [standard]."""

    info = MethodInfo(
        key="bce-clean",
        title="BCE (true labels)",
        paper="textbook; upper bound",
        year=2020,
        equation="L = mean_{b,c} [ -y log p - (1-y) log(1-p) ],  y: the true labels",
        unknown="negative",
        oracle=("true_labels",),
        family="plain",
        summary="`bce` on the true labels",
    )
