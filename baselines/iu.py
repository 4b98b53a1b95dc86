"""IU and IUN: unknown labels ignored; IUN is told all true negatives."""

from __future__ import annotations

from torch import Tensor

from baselines.core import (
    Batch,
    Clock,
    Draw,
    Method,
    MethodInfo,
    Problem,
    Run,
    Setup,
    negatives,
    positives,
)
from baselines.role import guarded_cross_entropy


def ignore_unknown(logits: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Cross-entropy on the known labels, divided by the number of all labels.

        L = mean_{b,c} [ z+ nl(p) + z- nl(1 - p) ],   nl(a) = -log(a + 1e-5),   p = sigmoid(x)

    The mean is over all B*C entries and not over the known ones, so the loss shrinks with the share
    of labels that are known.

    Args:
        logits: [B, C], x.
        positive: [B, C], z+: 1 or true for known positives, else 0.
        negative: [B, C], z-: 1 or true for known negatives, else 0.

    Returns:
        A scalar.

    Source: Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021, with the guard
    1e-5 of the authors' code.
    """
    label, other = positive.to(logits.dtype), negative.to(logits.dtype)
    return ((label + other) * guarded_cross_entropy(logits, label)).mean()


class IU(Method):
    """Ignore unknown.

    Meant where negatives are observed: with positives alone the loss is least where every label of
    every image is predicted.
    """

    info = MethodInfo(
        key="iu",
        title="IU",
        paper="Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021",
        year=2021,
        equation="L = mean_{b,c} [ 1[s=1] nl(p) + 1[s=0] nl(1-p) ],  nl(a) = -log(a + 1e-5)",
        unknown="ignored",
        regimes=("full", "pal"),
        differs="The authors' code adds 1e-5 inside the logarithm and divides by B*C, not by the "
        "number of observed labels; so does this.",
        version="2",
        source="authors' code",
        reference="elijahcole/single-positive-multi-label@89152d5, losses.py: loss_iu",
        tolerance="1e-9; step 1e-5 in float32",
        evidence=(
            "tests/baselines/test_partial_label_vectors.py::test_equals_the_authors_code",
            "tests/baselines/test_spml.py::test_ignore_unknown_divides_by_all_entries",
            "tests/baselines/test_fuzz_partial_labels.py::test_every_step_equals_the_equations",
        ),
    )

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """The equation of `ignore_unknown`."""
        return ignore_unknown(logits, positives(batch.observed), negatives(batch.observed))


class IUN(Method):
    """Ignore unknown positives, with every true negative given: an upper bound.

    Meant where labels are unknown: it tells how much the assumed negatives cost, because only the
    missing positives are missing.
    """

    info = MethodInfo(
        key="iun",
        title="IUN",
        paper="Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021",
        year=2021,
        equation="L = mean_{b,c} [ 1[s=1] nl(p) + 1[y=0] nl(1-p) ],  nl(a) = -log(a + 1e-5),  "
        "y the truth",
        unknown="estimated",
        regimes=("pal", "ppl", "spl", "missing"),
        needs=("true negatives",),
        differs="The authors' code adds 1e-5 inside the logarithm and divides by B*C; so does "
        "this. Unknown labels are neither negative nor ignored but told where they are negative.",
        version="2",
        source="authors' code",
        reference="elijahcole/single-positive-multi-label@89152d5, losses.py: loss_iun",
        tolerance="1e-9; step 1e-6 in float32",
        evidence=(
            "tests/baselines/test_partial_label_vectors.py::test_equals_the_authors_code",
            "tests/baselines/test_spml.py::test_iun_reads_the_truth_of_the_rows",
        ),
    )

    def oracle(self) -> tuple[str, ...]:
        """The complete labels."""
        return ("true_labels",)

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """The head and the true negatives [N, C]."""
        setup = super().setup(problem, draw)
        setup.constants["true_negatives"] = problem.oracle["true_labels"].whole() == 0
        return setup

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """The equation of `ignore_unknown`, negatives from the truth."""
        known = run.constants["true_negatives"][batch.rows]
        return ignore_unknown(logits, positives(batch.observed), known)
