"""PRODEN-ML: weights of candidates that follow the classifier, in a bank with a row per image.

There are two forms. The simplex form is the published one, for one true label per image: the
weights of the candidates sum to one. The EM form stores a moving mean of the posterior that each
candidate is true; if the mean is replaced in every step, the method is CC-PML.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.core import Batch, Clock, Draw, MethodInfo, Problem, Run, Setup, Step, hyper
from baselines.shared.binary_cross_entropy import bce
from baselines.shared.candidate_bank import initial_bank, update_bank
from baselines.shared.candidate_labels import REGIMES, candidates_of, corrections
from baselines.shared.noise_rate import Rated, RateHyper


def posterior(logits: Tensor, candidates: Tensor, rho: Tensor) -> Tensor:
    """The posterior probability that a candidate is true.

        q = s p / (p + rho (1 - p)),   p = sigmoid(z)

    Args:
        logits: z [B, C].
        candidates: s [B, C], 0 or 1.
        rho: a scalar tensor in [0, 1].

    Returns:
        [B, C]; binary cross-entropy with this constant target has the gradient of CC-PML.

    Source: Bayes' rule.
    """
    # q = 1 / (1 + rho e^-z) = sigmoid(z - log rho), which is finite for all z and rho.
    return candidates * torch.sigmoid(logits - torch.log(rho))


def simplex_cross_entropy(logits: Tensor, weights: Tensor) -> Tensor:
    """-mean_b sum_c q_c log softmax_c(z), the loss of PRODEN.

    Args:
        logits: z [B, C].
        weights: q [B, C]; rows sum to one, or to zero for an image without candidates.

    Returns:
        A scalar.

    Source: Lv et al., ICML 2020.
    """
    return -(weights * torch.log_softmax(logits, 1)).sum(1).mean()


@dataclass(frozen=True)
class Hyper(RateHyper):
    """Hyperparameters of PRODEN-ML."""

    form: str = hyper(
        "em",
        "em: a posterior per candidate; simplex: the published weights that sum to one",
        choices=("em", "simplex"),
    )
    bank_rate: float = hyper(
        0.1,
        "EM form: step size of the bank towards the posterior; 1 is CC-PML. The simplex form "
        "replaces the rows, as published",
        search=(0.02, 1.0),
        low=0.0,
        high=1.0,
    )


class ProdenML(Rated):
    """Progressive identification: simplex form [from public code], EM form [reconstruction]."""

    info = MethodInfo(
        key="proden-ml",
        title="PRODEN-ML",
        paper="Lv et al., Progressive Identification of True Labels for Partial-Label Learning, "
        "ICML 2020; EM form derived here",
        year=2020,
        equation="em: q = s p/(p + rho (1-p)), Q <- (1-mu) Q + mu q, Q_0 = s;  L = mean BCE(z, Q);"
        "\nsimplex: L = -mean_b sum_c Q log softmax(z), then Q <- s softmax(z) / sum, "
        "Q_0 = s/|S|;  s = 0 only for known negatives",
        unknown="estimated",
        regimes=REGIMES,
        needs=("memory per image", "noise rate"),
        family="candidates",
        summary="progressive identification of true labels, as EM or on the simplex",
    )
    Hyper = Hyper

    def _simplex(self) -> bool:
        return bool(self.hyper.form == "simplex")

    def oracle(self) -> tuple[str, ...]:
        """The noise rate, if it is given and used."""
        return () if self._simplex() else super().oracle()

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """Create the head, the bank [N, C] and, for the EM form, the noise rate."""
        observed = problem.observed
        if self._simplex():
            params = self.head.init(problem.feature_dim, problem.num_classes, draw)
            return Setup(params, memory={"bank": initial_bank(observed)})
        setup = super().setup(problem, draw)
        setup.memory["bank"] = candidates_of(observed)
        return setup

    def step(self, run: Run, batch: Batch, clock: Clock, draw: Draw) -> Step:
        """Read the bank, then write it (simplex form), or write it, then read it (EM form)."""
        logits = self.logits(run, batch.features)
        seen = logits.detach()
        rows = run.memory["bank"][batch.rows]
        candidates = candidates_of(batch.observed)
        if self._simplex():
            target, moved = rows, update_bank(rows, seen, candidates, 1.0)
            loss = simplex_cross_entropy(logits, target)
        else:
            rate = self.hyper.bank_rate
            fresh = posterior(seen, candidates, run.constants["noise_rate"])
            target = moved = (1.0 - rate) * rows + rate * fresh
            loss = bce(logits, target)
        return Step(loss, memory={"bank": moved}, corrected=corrections(batch.observed, target))
