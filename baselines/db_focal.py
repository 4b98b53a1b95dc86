"""DB-Focal: the distribution-balanced loss with its focal factor.

All parts of the loss use the number of positives per class. With partial labels only the observed
positives are known. True counts are an option, marked as oracle, and so is a sampler that lists
images by their true classes.
"""

from __future__ import annotations

from baselines.core import MethodInfo
from baselines.shared.distribution_balanced import DistributionBalanced, DistributionBalancedHyper
from baselines.shared.distribution_balanced import class_bias as class_bias
from baselines.shared.distribution_balanced import (
    distribution_balanced_loss as distribution_balanced_loss,
)
from baselines.shared.distribution_balanced import rebalanced_weight as rebalanced_weight

Hyper = DistributionBalancedHyper


class DBFocal(DistributionBalanced):
    """Distribution-balanced loss with class-aware sampling; unknown labels count as negative."""

    info = MethodInfo(
        key="db-focal",
        title="DB-Focal",
        paper="Wu et al., Distribution-Balanced Loss for Multi-Label Classification in Long-Tailed "
        "Datasets, ECCV 2020",
        year=2020,
        equation="r = (1/n_c) / sum_j y_j/n_j;  w = alpha + sigmoid(beta (r - mu));\n"
        "v = (kappa/lambda) log(N/n_c - 1);\n"
        "y=1: z' = z - v, w' = w;  y=0: z' = lambda (z - v), w' = w/lambda;\n"
        "L = mean_{b,c} [ balance (1 - exp(-e))^gamma w' e ],  e = BCE(z', y),  unknown -> y = 0",
        unknown="negative",
        needs=("class counts", "class-aware sampling"),
        family="long-tailed",
        summary="`db` with focal factors",
    )
