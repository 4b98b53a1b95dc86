"""PiCO-bank: a bank of soft labels that moves towards hard guesses; PiCO without prototypes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.core import Batch, Clock, Draw, Method, MethodInfo, Problem, Run, Setup, Step, hyper
from baselines.shared.binary_cross_entropy import bce
from baselines.shared.candidate_bank import class_threshold, initial_bank
from baselines.shared.candidate_labels import REGIMES, candidates_of, corrections


def hard_guess(logits: Tensor, candidates: Tensor, threshold: Tensor) -> Tensor:
    """The candidates with a prediction above the mean of the bank, s 1[p > phi].

    Args:
        logits: z [B, C].
        candidates: s [B, C], 0 or 1.
        threshold: phi [C], the mean of the bank over each class's candidates.

    Returns:
        [B, C], 0 or 1.
    """
    return candidates * (torch.sigmoid(logits) > threshold).to(logits.dtype)


def momentum(epoch: int, epochs: int, start: float | Tensor, end: float | Tensor) -> float | Tensor:
    """The momentum m = start + (end - start) epoch / epochs, with `epoch` from 0."""
    return start + (end - start) * (epoch / epochs)


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters of PiCO-bank."""

    start: str = hyper(
        "ones",
        "initial labels of an image's candidates S: ones; or shares, 1/|S| as in PiCO, which has "
        "one true label per image",
        choices=("ones", "shares"),
    )
    momentum_start: float = hyper(
        0.95, "momentum of the bank at the beginning", search=(0.8, 0.99), low=0.0, high=1.0
    )
    momentum_end: float = hyper(
        0.8, "momentum of the bank at the end", search=(0.5, 0.95), low=0.0, high=1.0
    )


class PiCOBank(Method):
    """PiCO's momentum bank in a multi-label form [reconstruction]."""

    info = MethodInfo(
        key="pico-bank",
        title="PiCO-bank",
        paper="Wang et al., PiCO: Contrastive Label Disambiguation for Partial Label Learning, "
        "ICLR 2022",
        year=2022,
        equation="L = mean BCE(z, Q), then Q <- m Q + (1-m) s 1[p > phi_c];  Q_0 = s,\n"
        "phi_c = mean of Q over the candidates of class c,  m from 0.95 to 0.8;  "
        "s = 0 only for known negatives",
        unknown="estimated",
        version="2",
        regimes=REGIMES,
        needs=("memory per image",),
        family="candidates",
        summary="a bank of soft labels that moves towards guessed labels",
    )
    Hyper = Hyper

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """Create the head and the bank of soft labels [N, C]."""
        setup = super().setup(problem, draw)
        start = candidates_of if self.hyper.start == "ones" else initial_bank
        setup.memory["bank"] = start(problem.observed)
        return setup

    def step(self, run: Run, batch: Batch, clock: Clock, draw: Draw) -> Step:
        """Apply `bce` to the rows of the bank, then move them towards the guess."""
        logits = self.logits(run, batch.features)
        bank = run.memory["bank"]
        rows = bank[batch.rows]
        ends = self.hyper.momentum_start, self.hyper.momentum_end
        keep = momentum(clock.epoch - 1, clock.epochs, *ends)
        candidates = candidates_of(batch.observed)
        guess = hard_guess(logits.detach(), candidates, class_threshold(bank))
        moved = keep * rows + (1.0 - keep) * guess
        loss = bce(logits, rows.to(logits.dtype))
        return Step(loss, memory={"bank": moved}, corrected=corrections(batch.observed, rows))
