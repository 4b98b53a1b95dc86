"""DB-Focal on candidates, with a choice of class counts.

False candidates are spread evenly over all negatives, so candidate counts are much flatter than the
true counts. There are three priors: the candidate counts, the candidate counts corrected for noise,
and the true counts, an oracle that shows how much a better prior would help.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.core import Batch, ClassAware, Clock, Draw, MethodInfo, Problem, Run, Setup, hyper
from baselines.shared.candidate_labels import CANDIDATE, REGIMES, candidates_of, invert_prior
from baselines.shared.class_aware import Resampled, SamplerHyper
from baselines.shared.distribution_balanced import (
    ToleranceHyper,
    WeightHyper,
    distribution_balanced_loss,
)


@dataclass(frozen=True)
class Hyper(SamplerHyper, ToleranceHyper, WeightHyper):
    """Hyperparameters of DB-Focal on candidates."""

    prior: str = hyper(
        "candidates",
        "class counts: of the candidates, corrected for noise (inverted), or true",
        choices=("candidates", "inverted", "true"),
    )
    rho: str = hyper(
        "estimated",
        "noise rate of the inverted prior: the smallest candidate frequency, or the true rate",
        choices=("estimated", "given"),
    )
    gamma: float = hyper(
        2.0, "focal exponent", search=(0.0, 4.0), paper={"voc-lt": 2.0, "coco-lt": 2.0}, low=0.0
    )
    balance: float = hyper(2.0, "factor on the focal loss", search=(1.0, 2.0), low=0.0)
    focal: bool = hyper(True, "use the focal factor (DB-Focal); without it, DB")


class DBCandidates(Resampled):
    """Distribution-balanced loss with the candidates as labels and a choice of prior [standard]."""

    info = MethodInfo(
        key="db-candidates",
        title="DB-Focal (candidates)",
        paper="Wu et al., Distribution-Balanced Loss, ECCV 2020, with candidate labels",
        year=2020,
        equation="L = mean DB(z, s; n),  s = 0 only for known negatives;  n_c = candidate counts, "
        "or N (f_c - rho)/(1 - rho) with f_c their frequency, or the true counts",
        unknown="estimated",
        regimes=REGIMES,
        needs=("class counts", "class-aware sampling"),
        family="candidates",
        summary="`db-focal` on candidates, with a choice of prior",
    )
    Hyper = Hyper

    def oracle(self) -> tuple[str, ...]:
        """The true counts or the noise rate, if the options ask for them."""
        names: tuple[str, ...] = super().oracle()
        if self.hyper.prior == "true":
            names = ("true_counts", *names)
        if self.hyper.prior == "inverted" and self.hyper.rho == "given":
            names = ("noise_rate", *names)
        return tuple(dict.fromkeys(names))

    def _lists(self, problem: Problem) -> ClassAware:
        if self._sampler_is_oracle():
            return super()._lists(problem)
        return ClassAware(problem.labels, CANDIDATE)

    def _counts(self, problem: Problem) -> Tensor:
        if self.hyper.prior == "true":
            return torch.as_tensor(problem.oracle["true_counts"]).to(torch.float32)
        if self.hyper.prior == "inverted":
            given = self.hyper.rho == "given"
            return invert_prior(problem.labels, problem.oracle["noise_rate"] if given else None)
        return problem.labels.count(*CANDIDATE).to(torch.float32)

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """Create the head, the class counts of the prior, and the number of images."""
        setup = super().setup(problem, draw)
        counts = self._counts(problem).to(problem.labels.device)
        setup.constants["class_counts"] = counts
        setup.constants["num_images"] = counts.new_tensor(problem.num_images)
        return setup

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Apply `distribution_balanced_loss` to the candidates, averaged over all B*C entries."""
        return distribution_balanced_loss(
            logits,
            candidates_of(batch.observed).to(logits.dtype),
            run.constants["class_counts"],
            run.constants["num_images"],
            alpha=self.hyper.alpha,
            beta=self.hyper.beta,
            mu=self.hyper.mu,
            neg_scale=self.hyper.neg_scale,
            kappa=self.hyper.kappa,
            bias=self.hyper.bias,
            focal=self.hyper.focal,
            gamma=self.hyper.gamma,
            balance=self.hyper.balance,
            reduction="mean",
        )
