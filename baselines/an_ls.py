"""AN-LS: unknown labels assumed negative, and every target smoothed."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from baselines.core import Batch, Clock, Draw, Method, MethodInfo, Run, hyper, positives
from baselines.role import guarded_cross_entropy


def smoothed_assume_negative(
    logits: Tensor, positive: Tensor, smoothing: float | Tensor = 0.1
) -> Tensor:
    """Binary cross-entropy against targets that stop short of 0 and 1.

        L = mean_{b,c} [ t nl(p) + (1 - t) nl(1 - p) ],   t = z (1 - e) + (1 - z) e
        nl(a) = -log(a + 1e-5),   p = sigmoid(x)

    Args:
        logits: [B, C], x.
        positive: [B, C], z: 1 or true where a label is positive, else 0.
        smoothing: e; the targets are 1 - e and e.

    Returns:
        A scalar, the mean over all B*C entries.

    Source: Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021. Smoothing over
    two classes usually moves a target by e / 2; the authors' code moves it by e, which is followed.
    """
    label = positive.to(logits.dtype)
    target = label * (1.0 - smoothing) + (1.0 - label) * smoothing
    return guarded_cross_entropy(logits, target).mean()


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters of AN-LS."""

    smoothing: float = hyper(
        0.1,
        "how far every target stands from 0 or 1",
        search=(0.0, 0.3),
        paper={"voc": 0.1, "coco": 0.1, "nus": 0.1, "cub": 0.1},
        low=0.0,
        high=0.5,
    )


class ANLS(Method):
    """Assume negative with label smoothing.

    Meant for labels of which some are unknown, and for complete ones, where it is the BCE-LS of the
    same paper. Candidates are left out: none of their labels is unknown.
    """

    info = MethodInfo(
        key="an-ls",
        title="AN-LS",
        paper="Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021",
        year=2021,
        equation="L = mean_{b,c} [ t nl(p) + (1-t) nl(1-p) ],  t = z (1-e) + (1-z) e,  "
        "nl(a) = -log(a + 1e-5),  unknown -> z = 0",
        unknown="negative",
        regimes=("full", "pal", "ppl", "spl", "missing"),
        differs="The authors' code smooths by e, where two classes usually take e/2; so does this. "
        "The guard 1e-5 is theirs too. Observed negatives, which their data do not hold, are what "
        "unknown labels are.",
        version="2",
        source="authors' code",
        reference="elijahcole/single-positive-multi-label@89152d5, losses.py: loss_an_ls",
        tolerance="1e-9; step 1e-5 in float32",
        evidence=(
            "tests/baselines/test_partial_label_vectors.py::test_equals_the_authors_code",
            "tests/baselines/test_spml.py::test_numpy_reference",
            "tests/baselines/test_fuzz_partial_labels.py::test_every_step_equals_the_equations",
        ),
    )
    Hyper = Hyper

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """The equation of `smoothed_assume_negative`."""
        known = positives(batch.observed)
        return smoothed_assume_negative(logits, known, self.hyper.smoothing)
