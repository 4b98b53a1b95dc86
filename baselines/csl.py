"""CSL: unknown labels are negative, but those of frequent classes and likely ones are ignored.

With partial labels, class frequencies cannot be counted. A first model, which ignores unknown
labels, estimates them as the mean of all its predictions during training. Then the parameters are
reinitialised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
    Stage,
    Step,
    hyper,
)
from baselines.shared.partial_asymmetric import (
    PartialAsymmetricHyper,
    mode_weights,
    partial_asymmetric_loss,
)


def likely_unknown(logits: Tensor, observed: Tensor, count: int) -> Tensor:
    """The unknown labels of a batch that are most likely positive.

    They have the largest logits, and therefore the smallest n = min(1 - p + m, 1), also if rounding
    or the margin makes several n equal. Ties go to the earlier entry.

    Args:
        logits: [B, C].
        observed: [B, C], 1 positive, 0 negative, -1 unknown.
        count: how many in the batch; if fewer are unknown, all of them.

    Returns:
        bool [B, C].
    """
    unknown = observed == -1
    key = torch.where(unknown, -logits.detach(), torch.inf)
    order = torch.argsort(key.flatten(), stable=True)
    rank = torch.argsort(order, stable=True).reshape(observed.shape)
    return unknown & (rank < count)


def selective_weights(
    logits: Tensor,
    observed: Tensor,
    *,
    likelihood_topk: int = 5,
    prior: Tensor | None = None,
    prior_threshold: float | Tensor = 0.5,
) -> Tensor:
    """The weights W of the selective mode.

        W = 0 on unknown labels of classes with prior > threshold
        W = 0 on the K B unknown labels of the batch with the largest predictions
        W = 1 elsewhere

    The second set is selected from all unknown labels, including those of the first set.

    Args:
        logits: [B, C].
        observed: [B, C], 1 positive, 0 negative, -1 unknown.
        likelihood_topk: K.
        prior: [C], the estimated frequency of each class; None to ignore no class.
        prior_threshold: see above; 0 also ignores no class.

    Returns:
        [B, C], in the dtype of `logits`, no gradient.

    Source: Ben-Baruch et al., CVPR 2022. The paper takes the K most likely labels of each image.
    The authors' code sorts all labels of the batch, and so does this function.
    """
    count = likelihood_topk * observed.shape[0]
    ignored = likely_unknown(logits, observed, count)
    if prior is not None:
        frequent = (prior > prior_threshold) & (logits.new_zeros(()) < prior_threshold)
        ignored = ignored | ((observed == -1) & frequent)
    return (~ignored).to(logits.dtype)


@dataclass(frozen=True)
class Hyper(PartialAsymmetricHyper):
    """Hyperparameters of CSL: those of the loss and those of the selection."""

    likelihood_topk: int = hyper(
        5,
        "ignored labels per image, on average over a batch",
        search=(1, 5, 10),
        paper={"coco": 5},
        low=0,
    )
    prior_threshold: float = hyper(
        0.5,
        "frequency above which the unknown labels of a class are ignored; 0 for none. "
        "0.05 in the authors' arguments, 0.5 in their commands",
        search=(0.05, 0.5),
        paper={"coco": 0.5},
        low=0.0,
        high=1.0,
    )
    prior: bool = hyper(
        True, "train a first model to estimate the class prior; otherwise no class is ignored"
    )


class CSL(Method):
    """Class-aware selective loss, in two stages: the prior, then the model.

    With positives alone, the first model ignores everything else and finds every class frequent. In
    these regimes, no prior is estimated by default, and only the most likely unknown labels are
    ignored, as in the authors' code without a file of priors. With complete labels or candidates
    there is nothing to select.
    """

    info = MethodInfo(
        key="csl",
        title="CSL",
        paper="Ben-Baruch et al., Multi-label Classification with Partial Annotations using "
        "Class-aware Selective Loss, CVPR 2022",
        year=2022,
        version="2",
        equation="L of p-asl with W = 0 on unknown labels of classes with prior > threshold and on "
        "the K B likeliest unknown labels of the batch, else 1;\n"
        "prior = mean of all training predictions of an earlier model with W = 0 on unknown labels",
        unknown="estimated",
        regimes=("pal", "ppl", "spl", "missing"),
        needs=("two stages", "class prior"),
        family="partial",
        summary="`p-asl` that ignores unknown labels that are likely or of frequent classes",
    )
    Hyper = Hyper

    @classmethod
    def defaults_for(cls, regime: str) -> dict[str, Any]:
        """No prior where no negative is observed."""
        return {"prior": False} if regime in ("ppl", "spl", "missing") else {}

    def regimes(self) -> tuple[str, ...]:
        """Without a prior, also the regimes without observed negatives.

        The unknown labels that remain after the most likely ones are dropped then serve as
        negatives.
        """
        return ("pal",) if self.hyper.prior else self.info.regimes

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """Create the head and, if a prior is used, an empty mean of predictions."""
        setup = super().setup(problem, draw)
        if self.hyper.prior:
            setup.state["prior"] = torch.zeros(problem.num_classes)
            setup.state["seen"] = torch.zeros(())
        return setup

    def stages(self) -> tuple[Stage, ...]:
        """Train the model of the prior, then a new model."""
        if not self.hyper.prior:
            return (Stage("selective"),)
        return (Stage("prior"), Stage("selective", restart=("head", "neck")))

    def _prior_step(self, run: Run, logits: Tensor, observed: Tensor) -> Step:
        """The loss that ignores unknown labels, and the mean prediction so far."""
        weights = mode_weights(observed, "ignore", logits.dtype)
        factors = self.hyper.of_loss()
        loss = partial_asymmetric_loss(logits, observed, weights, reduction="mean", **factors)
        seen = run.state["seen"] + logits.shape[0]
        change = torch.sigmoid(logits.detach()) - run.state["prior"]
        return Step(loss, state={"prior": run.state["prior"] + change.sum(0) / seen, "seen": seen})

    def step(self, run: Run, batch: Batch, clock: Clock, draw: Draw) -> Step:
        """Apply `partial_asymmetric_loss` with the weights of the stage, averaged over B*C."""
        logits = self.logits(run, batch.features)
        if self.hyper.prior and clock.stage == 0:
            return self._prior_step(run, logits, batch.observed)
        weights = selective_weights(
            logits,
            batch.observed,
            likelihood_topk=self.hyper.likelihood_topk,
            prior=run.state["prior"] if self.hyper.prior else None,
            prior_threshold=self.hyper.prior_threshold,
        )
        factors = self.hyper.of_loss()
        return Step(
            partial_asymmetric_loss(logits, batch.observed, weights, reduction="mean", **factors)
        )
