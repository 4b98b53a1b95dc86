"""DB-Focal on the true labels: the upper bound under a long tail. Every run is marked as oracle."""

from __future__ import annotations

from baselines.core import MethodInfo
from baselines.shared.clean import OnTrueLabels
from baselines.shared.distribution_balanced import DistributionBalanced


class DBClean(OnTrueLabels, DistributionBalanced):
    """Loss, counts and sampler of DB-Focal on the true labels: an upper bound [standard]."""

    info = MethodInfo(
        key="db-clean",
        title="DB-Focal (true labels)",
        paper="Wu et al., Distribution-Balanced Loss, ECCV 2020; upper bound",
        year=2020,
        equation="L = mean DB(z, y; n),  y: the true labels, n: their counts; see db-focal",
        unknown="negative",
        needs=("class counts", "class-aware sampling"),
        oracle=("true_labels", "true_counts"),
        family="long-tailed",
        summary="`db-focal` on the true labels",
    )
