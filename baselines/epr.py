"""EPR: the observed positives, and a penalty that holds a batch to its expected positives.

The expected number of positives per image is knowledge of the complete labels, so every run of
this method is marked as oracle.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
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
    hyper,
    positives,
)
from baselines.role import guarded_cross_entropy


def expected_positive_loss(
    logits: Tensor, positive: Tensor, expected_positives: float | Tensor
) -> Tensor:
    """Expected positive regularisation.

        L = mean_{b,c} [ z nl(p) ] + ((mean_i sum_c p - k) / C)^2
        nl(a) = -log(a + 1e-5),   p = sigmoid(x)

    The first mean is over all B*C entries. The second term is a statistic of the batch: the
    gradient of an image depends on the images beside it, and labels that are not observed positive
    feel nothing else.

    Args:
        logits: [B, C], x.
        positive: [B, C], z: 1 or true where a label is observed positive, else 0.
        expected_positives: k, true positives per image to be expected.

    Returns:
        A scalar.

    Source: Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021, with the guard
    1e-5 of the authors' code; the penalty has no weight of its own there.
    """
    label = positive.to(logits.dtype)
    excess = (torch.sigmoid(logits).sum(1).mean() - expected_positives) / logits.shape[1]
    return (label * guarded_cross_entropy(logits, label)).mean() + excess**2


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters of EPR."""

    expected_positives: float = hyper(
        0.0,
        "true positives per image to be expected; 0 takes the mean of the complete labels. "
        "Oracle knowledge either way",
        search=(1.0, 8.0),
        paper={"voc": 1.5, "coco": 2.9, "nus": 1.9, "cub": 31.4},
        low=0.0,
    )


class EPR(Method):
    """Expected positive regularisation.

    Meant where some labels are unknown; complete labels and candidates leave nothing to expect.
    """

    info = MethodInfo(
        key="epr",
        title="EPR",
        paper="Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021",
        year=2021,
        equation="L = mean_{b,c} [ z nl(p) ] + ((mean_i sum_c p - k)/C)^2,  "
        "nl(a) = -log(a + 1e-5);  z = 1 on observed positives",
        unknown="estimated",
        regimes=("pal", "ppl", "spl", "missing"),
        needs=("expected positives per image",),
        differs="The authors' code adds 1e-5 inside the logarithm, and so does this. Their data "
        "hold no observed negatives; here those are unused, as unknown labels are. Their k is a "
        "number per data set; the default here is the mean of the complete training labels.",
        version="2",
        source="authors' code",
        reference="elijahcole/single-positive-multi-label@89152d5, losses.py: loss_epr",
        tolerance="1e-9; step 1e-6 in float32",
        evidence=(
            "tests/baselines/test_partial_label_vectors.py::test_equals_the_authors_code",
            "tests/baselines/test_spml.py::test_numpy_reference",
            "tests/baselines/test_spml.py::test_expected_positives_are_an_oracle_even_if_given",
        ),
    )
    Hyper = Hyper

    def oracle(self) -> tuple[str, ...]:
        """The expected number of positives, also where the user gives it as a number."""
        return ("expected_positives",)

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """The head and k."""
        setup = super().setup(problem, draw)
        expected = self.hyper.expected_positives or problem.oracle["expected_positives"]
        setup.constants["expected_positives"] = torch.tensor(float(expected), dtype=torch.float64)
        return setup

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """The equation of `expected_positive_loss`."""
        expected = run.constants["expected_positives"].to(logits.dtype)
        return expected_positive_loss(logits, positives(batch.observed), expected)
