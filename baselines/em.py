"""EM: unknown labels neither negative nor positive; their entropy is made large, not small."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.core import Batch, Clock, Draw, Method, MethodInfo, Run, hyper, positives
from baselines.role import guarded_cross_entropy, taught_cross_entropy

ALPHA = {"voc": 0.2, "coco": 0.1, "nus": 0.1, "cub": 0.01}


def entropy_maximisation(
    logits: Tensor,
    observed: Tensor,
    *,
    alpha: float | Tensor,
    soft: Tensor | None = None,
    marked: Tensor | None = None,
    beta: float | Tensor = 1.0,
) -> Tensor:
    """Entropy maximisation on unknown labels, with soft labels on some of them if given.

        positive:         nl(p)
        negative:         nl(1 - p)
        unknown:         -alpha [ p nl(p) + (1 - p) nl(1 - p) ]
        unknown, marked:  beta [ t nl(p) + (1 - t) nl(1 - p) ]
        L = their mean over all B*C entries,   nl(a) = -log(a + 1e-5),   p = sigmoid(x)

    The entropy is differentiated through both of its factors.

    Args:
        logits: [B, C], x.
        observed: [B, C], 1 positive, 0 negative, -1 unknown.
        alpha: weight of the entropy.
        soft: [B, C] in [0, 1], t; read where `marked` is set. No gradient.
        marked: bool [B, C]; ignored where a label is not unknown. Goes with `soft`.
        beta: weight of the marked labels.

    Returns:
        A scalar.

    Source: Zhou et al., Acknowledging the Unknown for Multi-label Learning with Single Positive
    Labels, ECCV 2022, with the guard 1e-5 of the authors' code. There a soft label t is stored as
    -t in the matrix of observed labels, which knows no observed negatives; their term is ours.
    """
    of_known = guarded_cross_entropy(logits, positives(observed, logits.dtype))
    of_unknown = -alpha * taught_cross_entropy(logits, logits)
    if soft is not None and marked is not None:
        of_marked = beta * guarded_cross_entropy(logits, soft.detach().to(logits.dtype))
        of_unknown = torch.where(marked, of_marked, of_unknown)
    return torch.where(observed == -1, of_unknown, of_known).mean()


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters of EM."""

    alpha: float = hyper(
        0.1, "weight of the entropy of unknown labels", search=(0.01, 0.4), paper=ALPHA, low=0.0
    )


class EM(Method):
    """Entropy maximisation: unknown labels get a gradient that is least where p is near 1/2.

    Meant where labels are unknown; complete labels and candidates leave it plain cross-entropy.
    """

    info = MethodInfo(
        key="em",
        title="EM",
        paper="Zhou et al., Acknowledging the Unknown for Multi-label Learning with Single "
        "Positive Labels, ECCV 2022",
        year=2022,
        equation="L = mean_{b,c} [ 1[s=1] nl(p) + 1[s=0] nl(1-p) "
        "- alpha 1[unknown] (p nl(p) + (1-p) nl(1-p)) ],  nl(a) = -log(a + 1e-5)",
        unknown="estimated",
        regimes=("pal", "ppl", "spl", "missing"),
        differs="The authors' code adds 1e-5 inside the logarithm, and so does this. Their data "
        "hold no observed negatives; the term of those is ours. Their training stops at the first "
        "epoch without a better validation mAP, which is the recipe's matter here.",
        version="2",
        source="authors' code",
        reference="Correr-Zhou/SPML-AckTheUnknown@ae1ccaf, losses.py: loss_EM",
        tolerance="1e-9; step 1e-5 in float32",
        evidence=(
            "tests/baselines/test_partial_label_vectors.py::test_equals_the_authors_code",
            "tests/baselines/test_em.py::test_numpy_reference",
            "tests/baselines/test_fuzz_partial_labels.py::test_every_step_equals_the_equations",
        ),
    )
    Hyper = Hyper

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """The equation of `entropy_maximisation`."""
        return entropy_maximisation(logits, batch.observed, alpha=self.hyper.alpha)
