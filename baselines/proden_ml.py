"""PRODEN-ML: candidates' weights that follow the classifier, kept in a bank of one row per image.

Two forms. The simplex form is the published one, for one true label per image: weights over the
candidates sum to one. The EM form keeps, for every candidate on its own, the posterior that it is
true, and moves it by a moving mean; moved all the way in every step it is CC-PML.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.bce import bce
from baselines.bce_candidates import REGIMES
from baselines.candidate_parts.bank import initial_bank, update_bank
from baselines.candidate_parts.labels import candidates_of
from baselines.cc_pml import Rated, RateHyper
from baselines.core import Batch, Clock, Draw, MethodInfo, Problem, Run, Setup, Step, hyper


def corrections(observed: Tensor, target: Tensor) -> Tensor:
    """Where a target contradicts its label: a candidate below 1/2, an unknown label above.

    Args:
        observed: int8 [B, C].
        target: [B, C] in [0, 1].

    Returns:
        bool [B, C].
    """
    return torch.where(observed == 1, target < 0.5, (observed == -1) & (target > 0.5))


def posterior(logits: Tensor, candidates: Tensor, rho: Tensor) -> Tensor:
    """The probability that a candidate is true, under the candidate law.

        q = s p / (p + rho (1 - p)),   p = sigmoid(z)

    Args:
        logits: z [B, C].
        candidates: s [B, C], 0 or 1.
        rho: a scalar tensor in [0, 1].

    Returns:
        [B, C]; binary cross-entropy with this target, held constant, has the gradient of CC-PML.

    Source: Bayes' rule.
    """
    # q = 1 / (1 + rho e^-z), which neither overflows nor divides zero by zero, whatever z and rho.
    return candidates * torch.sigmoid(logits - torch.log(rho))


def simplex_cross_entropy(logits: Tensor, weights: Tensor) -> Tensor:
    """-mean_b sum_c q_c log softmax_c(z), PRODEN's loss.

    Args:
        logits: z [B, C].
        weights: q [B, C], rows that sum to one, or to zero for an image without candidates.

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
        "a posterior per candidate, or the published weights that sum to one",
        choices=("em", "simplex"),
    )
    bank_rate: float = hyper(
        0.1,
        "EM form: how far the bank moves towards the posterior in a step; 1 is CC-PML. The "
        "simplex form replaces its rows, as published",
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
        "ICML 2020; EM form derived from the candidate law",
        year=2020,
        equation="em: q = s p/(p + rho (1-p)), Q <- (1-mu) Q + mu q, Q_0 = s;  L = mean BCE(z, Q);"
        "\nsimplex: L = -mean_b sum_c Q log softmax(z), then Q <- s softmax(z) / sum, "
        "Q_0 = s/|S|;  s = 0 only for known negatives",
        unknown="estimated",
        regimes=REGIMES,
        needs=("memory per image", "noise rate"),
        differs="Published for one true label per image. form=simplex is that, its scores ranked "
        "per class as they are; form=em, the default, is a reconstruction: the bank moves before "
        "the loss reads it, so that mu = 1 is cc-pml.",
        source="reconstruction",
        reference="form=simplex: public code of RECORDS, read and not run; form=em: derived",
        tolerance="1e-9",
        evidence=(
            "tests/baselines/test_candidates_steps.py::test_proden_em_moves_the_bank_and_trains_on_it",
            "tests/baselines/test_candidates_steps.py::test_proden_simplex_reads_the_bank_then_replaces_it",
            "tests/baselines/test_candidates_losses.py::test_simplex_cross_entropy",
        ),
    )
    Hyper = Hyper

    def _simplex(self) -> bool:
        return bool(self.hyper.form == "simplex")

    def oracle(self) -> tuple[str, ...]:
        """The noise rate, where it is given and used."""
        return () if self._simplex() else super().oracle()

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """The head, the noise rate and the bank [N, C]; the simplex form has no noise rate."""
        observed = problem.observed
        if self._simplex():
            params = self.head.init(problem.feature_dim, problem.num_classes, draw)
            return Setup(params, memory={"bank": initial_bank(observed)})
        setup = super().setup(problem, draw)
        setup.memory["bank"] = candidates_of(observed)
        return setup

    def step(self, run: Run, batch: Batch, clock: Clock, draw: Draw) -> Step:
        """The simplex form reads the bank, then writes it; the EM form the other way round."""
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
