"""DB-Focal on the true labels: the upper bound under a long tail. Every run is an oracle's."""

from __future__ import annotations

from baselines.bce_clean import OnTrueLabels
from baselines.core import MethodInfo
from baselines.db_focal import DBFocal


class DBClean(OnTrueLabels, DBFocal):
    """Loss, counts and sampler of DB-Focal on the true labels: an upper bound [standard]."""

    info = MethodInfo(
        key="db-clean",
        title="DB-Focal (true labels)",
        paper="Wu et al., Distribution-Balanced Loss, ECCV 2020; upper bound",
        year=2020,
        equation="L = mean DB(z, y; n),  y: the true labels, n: their counts; see db-focal",
        unknown="negative",
        needs=("true labels", "class counts", "class-aware sampling"),
        differs="db-focal as it was published, on complete labels: the observed labels "
        "are not read at all, by loss, counts and sampler. `counts` and `sampler_labels` make no "
        "difference here.",
    )

    def oracle(self) -> tuple[str, ...]:
        """True labels and their counts, under all options."""
        return ("true_labels", "true_counts")
