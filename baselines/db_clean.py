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
        source="authors' code",
        reference="as db-focal: it is db-focal on the complete labels",
        tolerance="equal to db-focal, bit for bit",
        evidence=(
            "tests/baselines/test_clean.py::test_equals_the_method_on_complete_labels",
            "tests/baselines/test_clean.py::test_rows_are_visited_by_true_labels",
            "tests/baselines/test_db_focal.py::test_equals_the_authors_code",
        ),
    )

    def oracle(self) -> tuple[str, ...]:
        """True labels and their counts, under all options."""
        return ("true_labels", "true_counts")
