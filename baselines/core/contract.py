"""The contract between a method and the trainer, written for ONE run in plain torch.

The trainer calls a method in this order:

    method = SomeMethod(hyper, head)
    setup  = method.setup(problem, draw)             once per run: parameters, state, memory
    for stage in method.stages():                    most methods have one
        for epoch:
            method.epoch_start(...)                  per run: class state, refreshed pseudo labels
            method.sampling(...)                     per run: which rows this epoch visits
            for step:
                method.step(run, batch, clock, draw) the only call inside the hot loop
    method.logits(run, features)                     evaluation

`step` runs under `torch.func.vmap` with a leading axis of runs that the method never sees. That
makes four rules, which `benchkit.check_method` tests: no data-dependent shapes, no `.item()` and no
Python branch on a tensor's value, memory per image only by rows, random numbers only from `draw`.
Numeric (float) hyperparameters may be tensors in `step`, one value per run; integers, booleans and
strings are always plain Python values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from baselines.core.draw import Draw
from baselines.core.errors import MethodError
from baselines.core.heads import Head, LinearHead
from baselines.core.labels import LabelTable

SOURCES = ("authors' code", "equations", "reconstruction")


@dataclass(frozen=True)
class MethodInfo:
    """What the list of methods says of one.

    `source`, `reference`, `tolerance`, `evidence` and `differs` are its row of the verification
    ledger; without evidence the row says "not verified".

    Attributes:
        key: the stable name, as in `--method KEY`.
        title: the name in tables.
        paper: authors, title, venue.
        year: of the paper.
        equation: the loss or rule in one or a few lines of plain text.
        unknown: how unknown labels are treated: "negative", "ignored" or "estimated".
        regimes: the label regimes in which the method is meaningful as its defaults make it; empty
            for all.
        needs: what beyond a batch it uses, in words: "class counts", "memory", ...
        differs: what the authors' code does differently from the paper, and which is the default.
        version: raised when the method's numbers change; part of a run's identity.
        source: where the numbers come from that the tests hold it to: one of `SOURCES`.
        reference: the repository and commit, or the equations, behind `source`.
        tolerance: the relative difference that the tests allow, in float64 unless it says so.
        evidence: the tests, as pytest's node ids without parameters.
    """

    key: str
    title: str
    paper: str
    year: int
    equation: str
    unknown: str
    regimes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    differs: str = ""
    version: str = "1"
    source: str = ""
    reference: str = ""
    tolerance: str = ""
    evidence: tuple[str, ...] = ()


class Oracle:
    """The truth that a training set hides; a method sees only what it declares.

    Names: `true_labels` (a `LabelTable`), `true_counts` [C], `noise_rate` (rho of the candidates
    regime), `expected_positives` (mean true positives per training image).
    """

    NAMES = ("true_labels", "true_counts", "noise_rate", "expected_positives")

    def __init__(self, values: Mapping[str, Any], allowed: tuple[str, ...]) -> None:
        self._values, self._allowed = values, allowed

    def __getitem__(self, name: str) -> Any:
        if name not in self._allowed:
            raise MethodError(
                f"the method reads the oracle '{name}' without declaring it; "
                f"return it from oracle(), which now says {list(self._allowed)}"
            )
        if name not in self._values:
            raise MethodError(
                f"the oracle '{name}' does not exist for this split; known here: "
                f"{sorted(self._values)}"
            )
        value = self._values[name]
        return LabelTable.of(value) if name == "true_labels" else value


@dataclass(frozen=True)
class Problem:
    """The training set as a method may know it before the first step.

    Attributes:
        labels: what is observed, [N, C]: 1 positive (or candidate), 0 negative, -1 unknown. It
            gives counts, rows and places without a matrix in memory; `observed` is that matrix.
        feature_dim: D.
        regime: the kind of labels: full, pal, ppl, spl, missing or candidates.
        epochs: of the recipe (a stage may have its own).
        oracle: the hidden truth, opened only where the method declares it.
        class_embeddings: float [C, E] or None; one row per class, in the split's class order.
    """

    labels: LabelTable
    feature_dim: int
    regime: str
    epochs: int
    oracle: Oracle
    class_embeddings: Tensor | None = None

    @property
    def observed(self) -> Tensor:
        """All of `labels` as one int8 [N, C], for a method that keeps a value for each.

        Raises:
            MethodError: so many do not fit.
        """
        return self.labels.whole()

    @property
    def num_images(self) -> int:
        """N."""
        return self.labels.shape[0]

    @property
    def num_classes(self) -> int:
        """C."""
        return self.labels.shape[1]


@dataclass
class Setup:
    """What a run starts with; every tensor is this run's own.

    Attributes:
        params: trained by the recipe's optimiser; may hold one row per training image.
        state: carried from step to step, replaced by `Step.state`: class counts, moving means.
        memory: one row per training image, written by `Step.memory` for the rows of the batch.
        constants: never change: class weights, adjacency.
    """

    params: dict[str, Tensor]
    state: dict[str, Tensor] = field(default_factory=dict)
    memory: dict[str, Tensor] = field(default_factory=dict)
    constants: dict[str, Tensor] = field(default_factory=dict)


# What a method reads during a run has the same four parts.
Run = Setup


@dataclass(frozen=True)
class Batch:
    """One step's images.

    Attributes:
        rows: int64 [B], positions in the training set; a row may occur twice.
        features: float32 [B, D] (or images [B, 3, H, W] for an image model).
        observed: int8 [B, C].
    """

    rows: Tensor
    features: Tensor
    observed: Tensor


@dataclass(frozen=True)
class Clock:
    """Where training stands: plain Python numbers, the same for all stacked runs.

    Attributes:
        stage: position in `stages()`, from 0.
        epoch: of this stage, from 1.
        epochs: of this stage.
        step: of this epoch, from 0.
        steps: per epoch.
    """

    stage: int
    epoch: int
    epochs: int
    step: int
    steps: int


@dataclass
class Step:
    """What one step returns.

    Attributes:
        loss: scalar; its gradient with respect to `run.params` is what the optimiser follows.
        state: new values of some entries of `run.state`.
        memory: name -> [B, ...]: new values of the batch's rows. Where a row occurs twice in the
            batch, its last occurrence is what is kept.
        corrected: bool [B, C] or None: unknown (or candidate) labels that the method treats
            against their observation in this step; the trainer counts how many are right.
    """

    loss: Tensor
    state: dict[str, Tensor] = field(default_factory=dict)
    memory: dict[str, Tensor] = field(default_factory=dict)
    corrected: Tensor | None = None


@dataclass(frozen=True)
class Rate:
    """How a group of parameters departs from the recipe.

    Attributes:
        multiplier: times the recipe's learning rate.
        step_every: decay this group by `step_factor` every so many epochs instead of following
            the recipe's schedule; None follows the recipe.
        step_factor: see above.
        decay: whether the recipe's weight decay applies.
    """

    multiplier: float = 1.0
    step_every: int | None = None
    step_factor: float = 0.1
    decay: bool = True


@dataclass(frozen=True)
class Stage:
    """One stage of training, with an optimiser of its own.

    Attributes:
        name: for logs and the learning curve.
        epochs: None takes the recipe's.
        train: prefixes of the parameters that learn; empty for all.
        restart: prefixes of the parameters that are drawn anew when the stage begins.
    """

    name: str = "train"
    epochs: int | None = None
    train: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shuffle:
    """Every image once, in random order."""


@dataclass(frozen=True)
class ClassAware:
    """Class-aware sampling: draw a class, then `per_class` of its images (core.sampling).

    Attributes:
        lists: an image stands in the list of every class in which its label is one of `codes`.
        codes: see above; positives unless told otherwise.
        per_class: images per drawn class.
    """

    lists: LabelTable
    codes: tuple[int, ...] = (1,)
    per_class: int = 3

    def sizes(self) -> Tensor:
        """How long the lists are, int64 [C]."""
        return self.lists.count(*self.codes)


Sampling = Shuffle | ClassAware


@dataclass(frozen=True)
class NoHyper:
    """A method without hyperparameters."""


class Method:
    """The base of all methods; the least one overrides is `info` and `loss`."""

    info: ClassVar[MethodInfo]
    Hyper: ClassVar[type] = NoHyper

    def __init__(self, hyper: Any = None, head: Head | None = None) -> None:
        """Keep the hyperparameters; derive nothing from them here, they may become tensors."""
        self.hyper = self.Hyper() if hyper is None else hyper
        self.head: Head = LinearHead() if head is None else head

    def with_hyper(self, **values: Any) -> Method:
        """The same method with some hyperparameters replaced (by one tensor per run)."""
        return type(self)(replace(self.hyper, **values), self.head)

    def oracle(self) -> tuple[str, ...]:
        """Which hidden truths it uses under these hyperparameters; shown in every table."""
        return ()

    def regimes(self) -> tuple[str, ...]:
        """The label regimes in which it is meaningful under these hyperparameters; () for all."""
        return self.info.regimes

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """What the run starts with; the default is the recipe's head and nothing else."""
        return Setup(self.head.init(problem.feature_dim, problem.num_classes, draw))

    def stages(self) -> tuple[Stage, ...]:
        """The stages of training."""
        return (Stage(),)

    def rates(self) -> dict[str, Rate]:
        """Parameter prefix -> how that group departs from the recipe."""
        return {}

    def epoch_length(self, problem: Problem, stage: int) -> int:
        """How many rows an epoch visits; fixed for a stage."""
        return problem.num_images

    def epoch_start(
        self, run: Run, problem: Problem, features: Tensor, clock: Clock, draw: Draw
    ) -> Run:
        """Called for each run at the start of every epoch, outside vmap, without gradients.

        Args:
            run: the run; return it, or one with new `state` or `memory`.
            problem: the training set.
            features: float32 [N, D], all training rows.
            clock: `step` is 0.
            draw: keyed by the epoch.
        """
        return run

    def sampling(self, run: Run, problem: Problem, clock: Clock) -> Sampling:
        """Which rows the coming epoch visits; called for each run after `epoch_start`."""
        return Shuffle()

    def logits(self, run: Run, features: Tensor) -> Tensor:
        """Scores for evaluation: features [B, D] -> [B, C], no dropout, no training-time bias."""
        return self.head.apply(run.params, features)

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """The scalar loss of a batch; enough for a method that only changes the loss."""
        raise NotImplementedError(f"{type(self).__name__} defines neither loss nor step")

    def step(self, run: Run, batch: Batch, clock: Clock, draw: Draw) -> Step:
        """One step: forward pass, loss, and what it writes back."""
        logits = self.logits(run, batch.features)
        return Step(self.loss(run, logits, batch, clock, draw))


def last_write(rows: Tensor, values: Tensor) -> Tensor:
    """Give every occurrence of a row the values of its last occurrence in the batch.

    Writing by index is undefined where an index repeats; after this, all repeats agree.

    Args:
        rows: int64 [B].
        values: [B, ...].
    """
    same = rows[:, None] == rows[None, :]  # [B, B]
    positions = torch.arange(rows.shape[0], device=rows.device)
    last = torch.where(same, positions[None, :], -1).amax(dim=1)
    return values[last]
