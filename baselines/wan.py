"""WAN: unknown labels assumed negative, and negatives weighted down to one positive per image."""

from __future__ import annotations

from torch import Tensor

from baselines.core import Batch, Clock, Draw, Method, MethodInfo, Run, positives
from baselines.role import guarded_cross_entropy


def weak_assume_negative(logits: Tensor, positive: Tensor) -> Tensor:
    """Binary cross-entropy in which the C - 1 assumed negatives weigh as much as one positive.

        L = mean_{b,c} [ z nl(p) + (1 - z) nl(1 - p) / (C - 1) ]
        nl(a) = -log(a + 1e-5),   p = sigmoid(x)

    Args:
        logits: [B, C], x; of a single class the weight is 1.
        positive: [B, C], z: 1 or true where a label is observed positive, else 0.

    Returns:
        A scalar, the mean over all B*C entries.

    Source: Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021, with the guard
    1e-5 of the authors' code, which does not adapt the weight to the number of positives.
    """
    label = positive.to(logits.dtype)
    weight = label + (1.0 - label) / max(logits.shape[-1] - 1, 1)
    return (weight * guarded_cross_entropy(logits, label)).mean()


class WAN(Method):
    """Weak assume negative.

    The weight balances exactly one positive per image. It is kept, as in the authors' code, where
    several are observed; complete labels and candidates are left out, because nothing is assumed
    negative there.
    """

    info = MethodInfo(
        key="wan",
        title="WAN",
        paper="Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021",
        year=2021,
        equation="L = mean_{b,c} [ z nl(p) + (1-z) nl(1-p) / (C-1) ],  nl(a) = -log(a + 1e-5),  "
        "unknown -> z = 0",
        unknown="negative",
        regimes=("pal", "ppl", "spl", "missing"),
        differs="The authors' code adds 1e-5 inside the logarithm, and so does this. Their data "
        "hold no observed negatives; here those weigh 1/(C-1) like the unknown labels.",
        version="2",
        source="authors' code",
        reference="elijahcole/single-positive-multi-label@89152d5, losses.py: loss_wan",
        tolerance="1e-9; step 1e-5 in float32",
        evidence=(
            "tests/baselines/test_partial_label_vectors.py::test_equals_the_authors_code",
            "tests/baselines/test_spml.py::test_numpy_reference",
            "tests/baselines/test_fuzz_partial_labels.py::test_every_step_equals_the_equations",
        ),
    )

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """The equation of `weak_assume_negative`."""
        return weak_assume_negative(logits, positives(batch.observed))
