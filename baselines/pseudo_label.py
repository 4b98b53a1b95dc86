"""Pseudo-label: unknown labels replaced by what the model said of the image one epoch earlier."""

from __future__ import annotations

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
    Step,
    masked_mean,
    positives,
    unknowns,
)
from baselines.core.losses import bce_terms


def pseudo_label_loss(logits: Tensor, observed: Tensor, pseudo: Tensor) -> Tensor:
    """Cross-entropy against labels where they are observed and pseudo labels where not.

        L = mean_i [ mean_{E_i} H(y, p) + mean_{U_i} H(t, p) ]
        H(y, p) = -y log p - (1 - y) log(1 - p)

    E_i are the observed labels of image i, U_i the unknown ones; each mean is over its own number
    of labels, and zero over none.

    Args:
        logits: [B, C].
        observed: [B, C], 1 positive, 0 negative, -1 unknown.
        pseudo: [B, C] in [0, 1], t; read only where a label is unknown, no gradient.

    Returns:
        A scalar, the mean over images.

    Source: Zhang et al., arXiv:2308.00166, equation 7, the baseline "PL" of their tables.
    """
    hidden = unknowns(observed, logits.dtype)
    of_known = bce_terms(logits, positives(observed, logits.dtype))
    of_unknown = bce_terms(logits, pseudo.detach().to(logits.dtype))
    return (masked_mean(of_known, 1.0 - hidden, 1) + masked_mean(of_unknown, hidden, 1)).mean()


class PseudoLabel(Method):
    """Soft pseudo labels, kept per image and refreshed at every visit.

    Meant where labels are unknown.
    """

    info = MethodInfo(
        key="pseudo-label",
        title="Pseudo-label",
        paper="the PL row of Zhang, Song, Zuo and Wang, arXiv:2308.00166 (PAL-loss); the idea is "
        "Lee, Pseudo-Label, ICML workshops 2013",
        year=2023,
        equation="L = mean_i [ mean_{observed} H(y,p) + mean_{unknown} H(t,p) ],  "
        "t = sigmoid(x) of the epoch before, 0.5 at first",
        unknown="estimated",
        regimes=("pal", "ppl", "spl", "missing"),
        needs=("memory per image",),
        differs="No code was published, and the paper does not say when pseudo labels change: here "
        "at each visit of an image, to what was predicted just before the step.",
        source="equations",
        reference="arXiv:2308.00166, eq. 7",
        tolerance="1e-9; memory over steps 1e-5 in float32",
        evidence=(
            "tests/baselines/test_pseudo_label.py::test_numpy_reference",
            "tests/baselines/test_pseudo_label.py::test_is_pal_loss_without_its_factors",
            "tests/baselines/test_pseudo_label.py::test_memory_follows_the_predictions",
        ),
    )

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """The head and the pseudo labels: 0.5 on unknown labels, else the label."""
        setup = super().setup(problem, draw)
        observed = problem.observed.to(torch.float32)
        setup.memory["pseudo"] = torch.where(problem.observed == -1, 0.5, observed)
        return setup

    def step(self, run: Run, batch: Batch, clock: Clock, draw: Draw) -> Step:
        """The equation of `pseudo_label_loss`; then the unknown labels are estimated anew."""
        logits = self.logits(run, batch.features)
        unknown = batch.observed == -1
        pseudo = run.memory["pseudo"][batch.rows]
        loss = pseudo_label_loss(logits, batch.observed, pseudo)
        fresh = torch.where(unknown, torch.sigmoid(logits).detach(), pseudo)
        return Step(loss, memory={"pseudo": fresh}, corrected=unknown & (pseudo > 0.5))
