"""CSL: unknown labels are negatives, but for frequent classes and likely labels, which are ignored.

How frequent a class is cannot be counted where labels are missing. It is estimated by a model that
is trained first, ignoring unknown labels, as the mean of all its predictions in training; then the
parameters are drawn anew.
"""

from __future__ import annotations

from dataclasses import dataclass

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
from baselines.p_asl import Factors, mode_weights, partial_asymmetric_loss


def likely_unknown(logits: Tensor, observed: Tensor, count: int) -> Tensor:
    """The unknown labels of a batch that are most likely positive.

    They are those with the largest logits, which have the smallest n = min(1 - p + m, 1) also
    where rounding or the margin makes several n equal; ties fall to the earlier entry.

    Args:
        logits: [B, C].
        observed: [B, C], 1 positive, 0 negative, -1 unknown.
        count: how many of the whole batch; all of them where fewer are unknown.

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

    The second set is chosen among all unknown labels, those of the first included.

    Args:
        logits: [B, C].
        observed: [B, C], 1 positive, 0 negative, -1 unknown.
        likelihood_topk: K.
        prior: [C], estimated frequency of each class; None ignores no class.
        prior_threshold: 0 ignores no class either.

    Returns:
        [B, C], in the dtype of `logits`, no gradient.

    Source: Ben-Baruch et al., CVPR 2022. The paper takes the K most likely labels of each image;
    the authors' code sorts the batch as a whole, which is followed.
    """
    count = likelihood_topk * observed.shape[0]
    ignored = likely_unknown(logits, observed, count)
    if prior is not None:
        frequent = (prior > prior_threshold) & (logits.new_zeros(()) < prior_threshold)
        ignored = ignored | ((observed == -1) & frequent)
    return (~ignored).to(logits.dtype)


@dataclass(frozen=True)
class Hyper(Factors):
    """Hyperparameters of CSL: those of the loss, and the selection."""

    likelihood_topk: int = hyper(
        5,
        "ignored labels per image, on average over a batch",
        search=(1, 5, 10),
        paper={"coco": 5},
        low=0,
    )
    prior_threshold: float = hyper(
        0.5,
        "frequency above which a class's unknown labels are ignored; 0 for none. "
        "0.05 in the authors' arguments, 0.5 in their commands",
        search=(0.05, 0.5),
        paper={"coco": 0.5},
        low=0.0,
        high=1.0,
    )
    prior: bool = hyper(
        True, "train a first model for the class prior; otherwise no class is ignored"
    )


class CSL(Method):
    """Class-aware selective loss, in two stages: the prior, then the model.

    Meant where negatives are observed: with positives alone the first model, which ignores all
    else, finds every class frequent. Complete labels and candidates leave nothing to select.
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
        regimes=("pal",),
        needs=("two stages", "class prior"),
        differs="The authors' code sums over batch and classes; here the sum is divided by B*C, so "
        "that one learning rate serves all methods. It takes the K B likeliest labels of a batch, "
        "the paper K of each image. The prior comes from a separate run and a file, keyed by class "
        "names; here from a first stage of as many epochs. As in the code the mean includes the "
        "epochs of an untrained model.",
        source="authors' code",
        reference="Alibaba-MIIL/PartialLabelingCSL@534f3ce, partial_asymmetric_loss.py; "
        "wannature/COMIC@1de14e5, loss/partial_asymmetric_loss.py; the prior of two stages by "
        "hand",
        tolerance="1e-9; prior 1e-6 in float32",
        evidence=(
            "tests/baselines/test_partial_label_vectors.py::test_partial_asymmetric_loss_equals_the_authors_code",
            "tests/baselines/test_p_asl.py::test_selection",
            "tests/baselines/test_p_asl.py::test_prior_is_the_mean_of_all_predictions_of_the_first_stage",
        ),
    )
    Hyper = Hyper

    def regimes(self) -> tuple[str, ...]:
        """Without a prior, also where no negative is observed: unknown labels then stand for them.

        What is left of the unknown labels after the likeliest are dropped holds predictions down.
        """
        return self.info.regimes if self.hyper.prior else ("pal", "ppl", "spl", "missing")

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """The head and, where a prior is wanted, the mean of no predictions."""
        setup = super().setup(problem, draw)
        if self.hyper.prior:
            setup.state["prior"] = torch.zeros(problem.num_classes)
            setup.state["seen"] = torch.zeros(())
        return setup

    def stages(self) -> tuple[Stage, ...]:
        """The model of the prior, then another from a fresh start."""
        if not self.hyper.prior:
            return (Stage("selective"),)
        return (Stage("prior"), Stage("selective", restart=("head", "neck")))

    def _prior_step(self, run: Run, logits: Tensor, observed: Tensor) -> Step:
        """The loss without unknown labels, and the mean prediction so far."""
        weights = mode_weights(observed, "ignore", logits.dtype)
        factors = self.hyper.of_loss()
        loss = partial_asymmetric_loss(logits, observed, weights, reduction="mean", **factors)
        seen = run.state["seen"] + logits.shape[0]
        change = torch.sigmoid(logits.detach()) - run.state["prior"]
        return Step(loss, state={"prior": run.state["prior"] + change.sum(0) / seen, "seen": seen})

    def step(self, run: Run, batch: Batch, clock: Clock, draw: Draw) -> Step:
        """The equation of `partial_asymmetric_loss` with the stage's weights, divided by B*C."""
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
