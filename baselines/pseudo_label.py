"""Pseudo-label: unknown labels are replaced by the predictions of the previous epoch."""

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
    """Cross-entropy with observed labels, and with pseudo labels where none is observed.

        L = mean_i [ mean_{E_i} H(y, p) + mean_{U_i} H(t, p) ]
        H(y, p) = -y log p - (1 - y) log(1 - p)

    E_i are the observed labels of image i, and U_i the unknown ones; the mean over an empty set is
    zero.

    Args:
        logits: [B, C].
        observed: [B, C], 1 positive, 0 negative, -1 unknown.
        pseudo: t [B, C] in [0, 1]; read only where a label is unknown, without gradient.

    Returns:
        A scalar, the mean over images.

    Source: Zhang et al., arXiv:2308.00166, equation 7, the baseline "PL" in the tables.
    """
    hidden = unknowns(observed, logits.dtype)
    of_known = bce_terms(logits, positives(observed, logits.dtype))
    of_unknown = bce_terms(logits, pseudo.detach().to(logits.dtype))
    return (masked_mean(of_known, 1.0 - hidden, 1) + masked_mean(of_unknown, hidden, 1)).mean()


class PseudoLabel(Method):
    """Soft pseudo labels, stored per image and updated at every visit.

    Intended for partial labels.
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
        family="partial",
        summary="unknown labels take the predictions of the previous epoch",
    )

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """Create the head and the pseudo labels: 0.5 if unknown, else the label."""
        setup = super().setup(problem, draw)
        observed = problem.observed.to(torch.float32)
        setup.memory["pseudo"] = torch.where(problem.observed == -1, 0.5, observed)
        return setup

    def step(self, run: Run, batch: Batch, clock: Clock, draw: Draw) -> Step:
        """Apply `pseudo_label_loss`, then update the pseudo labels of the batch."""
        logits = self.logits(run, batch.features)
        unknown = batch.observed == -1
        pseudo = run.memory["pseudo"][batch.rows]
        loss = pseudo_label_loss(logits, batch.observed, pseudo)
        fresh = torch.where(unknown, torch.sigmoid(logits).detach(), pseudo)
        return Step(loss, memory={"pseudo": fresh}, corrected=unknown & (pseudo > 0.5))
