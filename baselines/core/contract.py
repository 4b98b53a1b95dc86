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

`step` runs under `torch.func.vmap` with a leading axis of runs that the method never sees. A method
must follow four rules, which `benchkit.check_method` tests: no data-dependent shapes; no `.item()`
and no Python branch on a tensor's value; memory per image is read and written by rows; random
numbers come only from `draw`. Numeric (float) hyperparameters may be tensors in `step`, one value
per run; integers, booleans and strings are always plain Python values.
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
from baselines.core.info import ORACLES, MethodInfo
from baselines.core.labels import LabelTable


class Oracle:
    """The ground truth behind the observed labels; a method reads only what it declares.

    Names: `true_labels` (a `LabelTable`), `true_counts` [C], `noise_rate` (rho of the candidates
    regime), `expected_positives` (mean true positives per training image).
    """

    NAMES = ORACLES

    def __init__(self, values: Mapping[str, Any], allowed: tuple[str, ...]) -> None:
        self._values, self._allowed = values, allowed

    def __getitem__(self, name: str) -> Any:
        if name not in self._allowed:
            raise MethodError(
                f"the method reads the oracle '{name}' without declaring it; "
                f"return it from oracle(), which returns {list(self._allowed)}"
            )
        if name not in self._values:
            raise MethodError(
                f"the oracle '{name}' does not exist for this split; it has {sorted(self._values)}"
            )
        value = self._values[name]
        return LabelTable.of(value) if name == "true_labels" else value


@dataclass(frozen=True)
class Problem:
    """The training set, as far as a method may know it before the first step.

    Attributes:
        labels: the observed labels [N, C]: 1 positive (or candidate), 0 negative, -1 unknown. The
            table gives counts, rows and positions without a dense matrix; `observed` is the dense
            matrix.
        feature_dim: D.
        regime: the kind of labels, e.g. full, pal, ppl, spl, missing or candidates.
        epochs: the recipe's number of epochs; a stage may have its own.
        oracle: the ground truth that the method declares.
        class_embeddings: float [C, E], one row per class in the split's class order, or None.
    """

    labels: LabelTable
    feature_dim: int
    regime: str
    epochs: int
    oracle: Oracle
    class_embeddings: Tensor | None = None

    @property
    def observed(self) -> Tensor:
        """All of `labels` as one int8 tensor [N, C], for a method that stores a value per label.

        Raises:
            MethodError: there are more labels than fit in memory.
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
    """The initial tensors of a run; runs share none of them.

    Attributes:
        params: trained by the optimiser; may have one row per training image.
        state: carried from step to step and replaced by `Step.state`: class counts, moving means.
        memory: one row per training image, written by `Step.memory` for the rows of the batch.
        constants: never change: class weights, an adjacency matrix.
    """

    params: dict[str, Tensor]
    state: dict[str, Tensor] = field(default_factory=dict)
    memory: dict[str, Tensor] = field(default_factory=dict)
    constants: dict[str, Tensor] = field(default_factory=dict)


# During training a run has the same four parts.
Run = Setup


@dataclass(frozen=True)
class Batch:
    """One step's images.

    Attributes:
        rows: int64 [B], indices into the training set; an index may occur twice.
        features: float32 [B, D] (or images [B, 3, H, W] for an image model).
        observed: int8 [B, C].
    """

    rows: Tensor
    features: Tensor
    observed: Tensor


@dataclass(frozen=True)
class Clock:
    """The progress of training: plain Python numbers, the same for all stacked runs.

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
    """The result of one step.

    Attributes:
        loss: scalar; the optimiser follows its gradient with respect to `run.params`.
        state: new values of some entries of `run.state`.
        memory: name -> [B, ...]: new values of the batch's rows. If a row occurs twice in the
            batch, its last occurrence is kept.
        corrected: bool [B, C] or None: unknown labels (or candidates) that the method treats as the
            opposite of their observed value in this step. The trainer counts how many are right.
    """

    loss: Tensor
    state: dict[str, Tensor] = field(default_factory=dict)
    memory: dict[str, Tensor] = field(default_factory=dict)
    corrected: Tensor | None = None


@dataclass(frozen=True)
class Rate:
    """How the learning rate of a group of parameters deviates from the recipe.

    Attributes:
        multiplier: factor on the recipe's learning rate.
        step_every: multiply the rate by `step_factor` every `step_every` epochs instead of
            following the recipe's schedule; None follows the recipe.
        step_factor: see above.
        schedule_epochs: the length in epochs of the training that `step_every` refers to. A stage
            of another length decays at the same shares of its length. 0 counts the epochs of the
            stage itself.
        decay: factor on the recipe's weight decay.
    """

    multiplier: float = 1.0
    step_every: int | None = None
    step_factor: float = 0.1
    schedule_epochs: int = 0
    decay: float = 1.0

    def steps_down(self, epoch: int, epochs: int) -> int:
        """How often the rate has been multiplied by `step_factor`; 0 without a step schedule.

            floor(e / step_every),   e = epoch, or epoch * schedule_epochs / epochs

        Args:
            epoch: the epoch of the stage, from 1.
            epochs: the number of epochs of the stage.
        """
        if self.step_every is None:
            return 0
        if self.schedule_epochs == 0:
            return epoch // self.step_every
        return epoch * self.schedule_epochs // (epochs * self.step_every)


@dataclass(frozen=True)
class Stage:
    """A stage of training, with its own optimiser.

    Attributes:
        name: for logs and the learning curve.
        epochs: number of epochs; None for the recipe's.
        train: prefixes of the parameters that are trained; empty for all.
        restart: prefixes of the parameters that are reinitialised when the stage begins.
    """

    name: str = "train"
    epochs: int | None = None
    train: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shuffle:
    """Visit every image once, in random order."""


@dataclass(frozen=True)
class ClassAware:
    """Class-aware sampling: draw a class, then `per_class` of its images; see `core.sampling`.

    Attributes:
        lists: an image belongs to the list of every class for which its label is one of `codes`.
        codes: see above; positives by default.
        per_class: images per drawn class.
    """

    lists: LabelTable
    codes: tuple[int, ...] = (1,)
    per_class: int = 3

    def sizes(self) -> Tensor:
        """The length of each class's list, int64 [C]."""
        return self.lists.count(*self.codes)


Sampling = Shuffle | ClassAware


@dataclass(frozen=True)
class NoHyper:
    """A method without hyperparameters."""


class Method:
    """The base class of all methods. A minimal method defines `info` and `loss`.

    Example:
        >>> from baselines.core import Method, MethodInfo, positives
        >>> from baselines.core.losses import bce_terms
        >>> class Half(Method):
        ...     info = MethodInfo("half", "Half BCE", "none", 2026, "L = BCE / 2", "negative")
        ...
        ...     def loss(self, run, logits, batch, clock, draw):
        ...         return bce_terms(logits, positives(batch.observed)).mean() / 2
        >>> Half().info.title
        'Half BCE'
    """

    info: ClassVar[MethodInfo]
    Hyper: ClassVar[type] = NoHyper

    def __init__(self, hyper: Any = None, head: Head | None = None) -> None:
        """Store the hyperparameters, which may later be replaced by tensors."""
        self.hyper = self.Hyper() if hyper is None else hyper
        self.head: Head = LinearHead() if head is None else head

    def with_hyper(self, **values: Any) -> Method:
        """The same method with some hyperparameters replaced, e.g. by one tensor per run."""
        return type(self)(replace(self.hyper, **values), self.head)

    @classmethod
    def defaults_for(cls, regime: str) -> dict[str, Any]:
        """The hyperparameters whose defaults are other ones in a label regime.

        `benchkit run` uses these values for hyperparameters that the user does not set, and records
        them. `regimes()` must contain the regime with these values.

        Args:
            regime: one of `baselines.core.info.REGIMES`.

        Returns:
            Name -> value; empty if the defaults of `Hyper` suit the regime.
        """
        return {}

    def oracle(self) -> tuple[str, ...]:
        """The ground truth that the method reads with these hyperparameters; shown in every table.

        A method whose answer depends on its hyperparameters overrides this. With the defaults the
        answer must equal `info.oracle`.
        """
        return self.info.oracle

    def regimes(self) -> tuple[str, ...]:
        """The label regimes for which these hyperparameters are meant; () for all."""
        return self.info.regimes

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """Create the tensors of a run; by default only the parameters of the recipe's head."""
        return Setup(self.head.init(problem.feature_dim, problem.num_classes, draw))

    def stages(self) -> tuple[Stage, ...]:
        """The stages of training."""
        return (Stage(),)

    def rates(self) -> dict[str, Rate]:
        """Parameter prefix -> deviation of that group from the recipe."""
        return {}

    def epoch_length(self, problem: Problem, stage: int) -> int:
        """The number of rows that an epoch visits; fixed for a stage."""
        return problem.num_images

    def epoch_start(
        self, run: Run, problem: Problem, features: Tensor, clock: Clock, draw: Draw
    ) -> Run:
        """Prepare an epoch; called for each run, outside vmap, without gradients.

        Args:
            run: the run; return it, or a copy with new `state` or `memory`.
            problem: the training set.
            features: float32 [N, D], of all training images.
            clock: `step` is 0.
            draw: keyed by the epoch.
        """
        return run

    def sampling(self, run: Run, problem: Problem, clock: Clock) -> Sampling:
        """The rows that the epoch visits; called for each run after `epoch_start`."""
        return Shuffle()

    def logits(self, run: Run, features: Tensor) -> Tensor:
        """Scores for evaluation: features [B, D] -> [B, C], no dropout, no training-time bias."""
        return self.head.apply(run.params, features)

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """The scalar loss of a batch; many methods override nothing else."""
        raise NotImplementedError(f"{type(self).__name__} defines neither loss nor step")

    def step(self, run: Run, batch: Batch, clock: Clock, draw: Draw) -> Step:
        """Run one step: forward pass, loss, and updates of state and memory."""
        logits = self.logits(run, batch.features)
        return Step(self.loss(run, logits, batch, clock, draw))


def last_write(rows: Tensor, values: Tensor) -> Tensor:
    """Give every occurrence of a row the values of its last occurrence in the batch.

    Writing by index is undefined if an index repeats; after this, all repeats agree.

    Args:
        rows: int64 [B].
        values: [B, ...].
    """
    same = rows[:, None] == rows[None, :]  # [B, B]
    positions = torch.arange(rows.shape[0], device=rows.device)
    last = torch.where(same, positions[None, :], -1).amax(dim=1)
    return values[last]
