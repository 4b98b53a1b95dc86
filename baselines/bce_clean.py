"""BCE on the true labels: the upper bound of what a method may win back. Every run is an oracle's.

`OnTrueLabels` turns any method into its own upper bound by showing it the complete labels.
"""

from __future__ import annotations

from dataclasses import replace

from baselines.bce import BCE
from baselines.core import Batch, Clock, Draw, Method, MethodInfo, Problem, Run, Setup, Step
from baselines.core.contract import Sampling

LABELS = "true_labels"


class OnTrueLabels(Method):
    """The method beside it in the list of bases, with true labels in the place of observed ones."""

    def oracle(self) -> tuple[str, ...]:
        """The true labels, and with them whatever follows from them."""
        return tuple(dict.fromkeys((LABELS, *super().oracle())))

    def _clean(self, problem: Problem) -> Problem:
        return replace(problem, labels=problem.oracle[LABELS], regime="full")

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """What the method starts with on complete labels, and the labels, one row per image."""
        clean = self._clean(problem)
        setup = super().setup(clean, draw)
        setup.memory[LABELS] = clean.observed
        return setup

    def epoch_length(self, problem: Problem, stage: int) -> int:
        """That of the method on complete labels."""
        return super().epoch_length(self._clean(problem), stage)

    def sampling(self, run: Run, problem: Problem, clock: Clock) -> Sampling:
        """That of the method on complete labels."""
        return super().sampling(run, self._clean(problem), clock)

    def step(self, run: Run, batch: Batch, clock: Clock, draw: Draw) -> Step:
        """The method's step on the true labels of the batch."""
        return super().step(
            run, replace(batch, observed=run.memory[LABELS][batch.rows]), clock, draw
        )


class BCEClean(OnTrueLabels, BCE):
    """Empirical risk minimisation on the true labels: an upper bound [standard]."""

    info = MethodInfo(
        key="bce-clean",
        title="BCE (true labels)",
        paper="textbook; upper bound",
        year=2020,
        equation="L = mean_{b,c} [ -y log p - (1-y) log(1-p) ],  y: the true labels",
        unknown="negative",
        needs=("true labels",),
        differs="The observed labels are not read at all. A label that is unknown even in the "
        "complete data counts as negative.",
        source="authors' code",
        reference="as bce: it is bce on the complete labels",
        tolerance="equal to bce, bit for bit",
        evidence=(
            "tests/baselines/test_clean.py::test_equals_the_method_on_complete_labels",
            "tests/baselines/test_bce.py::test_equals_the_distribution_balanced_code",
            "tests/baselines/test_bce.py::test_sum_form_is_asl_without_its_factors",
        ),
    )
