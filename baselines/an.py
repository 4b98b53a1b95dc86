"""AN: every label that is not observed positive is assumed negative."""

from __future__ import annotations

from torch import Tensor

from baselines.core import Batch, Clock, Draw, Method, MethodInfo, Run, positives
from baselines.role import guarded_cross_entropy


def assume_negative(logits: Tensor, positive: Tensor) -> Tensor:
    """Binary cross-entropy against the observed positives, with the authors' guarded logarithm.

        L = mean_{b,c} [ z nl(p) + (1 - z) nl(1 - p) ],   nl(a) = -log(a + 1e-5),   p = sigmoid(x)

    Args:
        logits: [B, C], x.
        positive: [B, C], z: 1 or true where a label is observed positive, else 0.

    Returns:
        A scalar, the mean over all B*C entries.

    Source: Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021. The additive
    guard is that of the authors' code and is not in the paper; it is all that separates this law
    from plain cross-entropy, and it caps an entry at 11.5.
    """
    return guarded_cross_entropy(logits, positive.to(logits.dtype)).mean()


class AN(Method):
    """Assume negative; every missing positive becomes a false negative.

    Meant for labels of which some are unknown, and for complete ones as their upper bound.
    Candidates are left out: none of their labels is unknown, and what is wrong there are the
    positives.
    """

    info = MethodInfo(
        key="an",
        title="AN",
        paper="Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021",
        year=2021,
        equation="L = mean_{b,c} [ z nl(p) + (1-z) nl(1-p) ],  nl(a) = -log(a + 1e-5),  "
        "unknown -> z = 0",
        unknown="negative",
        regimes=("full", "pal", "ppl", "spl", "missing"),
        differs="The authors' code adds 1e-5 inside the logarithm, as is done here; the paper has "
        "no guard. Their data hold no observed negatives, which here are what unknown labels are.",
        version="2",
        source="authors' code",
        reference="elijahcole/single-positive-multi-label@89152d5, losses.py: loss_an",
        tolerance="1e-9; step 1e-5 in float32",
        evidence=(
            "tests/baselines/test_partial_label_vectors.py::test_equals_the_authors_code",
            "tests/baselines/test_spml.py::test_numpy_reference",
            "tests/baselines/test_fuzz_partial_labels.py::test_every_step_equals_the_equations",
        ),
    )

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """The equation of `assume_negative`."""
        return assume_negative(logits, positives(batch.observed))
