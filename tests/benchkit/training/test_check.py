"""Every method passes every check; a method that breaks the contract fails with a clear message."""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from toy_training import method_info

from baselines.bce import BCE
from baselines.core import (
    Batch,
    Clock,
    Method,
    MethodInfo,
    Run,
    Step,
    hyper,
    negatives,
    positives,
    registry,
)
from baselines.core.draw import Draw
from baselines.core.losses import bce_terms
from benchkit import check_method
from benchkit.training import check


@pytest.mark.parametrize("check", check.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("key", registry.builtin())
def test_every_method_keeps_the_contract(key: str, check: Callable[[type[Method]], None]) -> None:
    check(registry.get(key))


def test_the_example_runs() -> None:
    (example,) = doctest.DocTestFinder(recurse=False).find(
        check_method, "check_method", globs={"check_method": check_method}
    )
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0


# ----------------------------------------------------------------------------- metadata


INFO = method_info("toy")


@dataclass(frozen=True)
class WithoutHelp:
    """A hyperparameter with an empty help text."""

    gamma: float = hyper(1.0, "")


@dataclass
class Mutable:
    """Hyperparameters that can be changed."""

    gamma: float = hyper(1.0, "an exponent")


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"info": replace(INFO, title=" ")}, "info.title is empty; give it a text"),
        ({"info": replace(INFO, key="My Method")}, "info.key is 'My Method'; write it in lower"),
        ({"info": replace(INFO, unknown="maybe")}, "'maybe'; it must be one of negative, ignored"),
        (
            {"info": replace(INFO, regimes=("pal", "pall"))},
            "contains pall; the names are full, pal,",
        ),
        ({"Hyper": int}, "Hyper must be a dataclass"),
        ({"Hyper": Mutable}, "Hyper must be frozen; decorate it"),
        ({"Hyper": WithoutHelp}, "the hyperparameter gamma has no help; declare it with hyper"),
        ({"oracle": lambda self: ("truth",)}, "names truth; the oracles are true_labels,"),
        ({"oracle": lambda self: ("true_counts",)}, r"but info.oracle is \(\); make them equal"),
    ],
)
def test_incomplete_metadata(attributes: dict[str, Any], message: str) -> None:
    method = type("Toy", (BCE,), {"info": INFO, **attributes})
    with pytest.raises(AssertionError, match=message):
        check.check_metadata(method)


# ----------------------------------------------------------------------------- behaviour


class Constant(BCE):
    """A loss that does not depend on the logits."""

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        return logits.sum() * 0.0


class GlobalRandom(BCE):
    """Takes random targets from torch's global generator."""

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        return bce_terms(logits, torch.rand_like(logits)).mean()


class AwareOfStacking(BCE):
    """Adds noise to the logits only if it is stacked."""

    def step(self, run: Run, batch: Batch, clock: Clock, draw: Draw) -> Step:
        stacked = torch._C._functorch.is_batchedtensor(batch.features)
        noise = draw.uniform("noise", 1) if stacked else 0.0
        logits = self.logits(run, batch.features) + noise
        return Step(bce_terms(logits, positives(batch.observed)).mean())


@dataclass(frozen=True)
class Temperature:
    """The temperature of the logits."""

    temperature: float = hyper(1.0, "the divisor of the logits")


class KeepsTheFirstHyperparameters(BCE):
    """Trains every run of a stack with the hyperparameters of the first one."""

    Hyper = Temperature

    def with_hyper(self, **values: Any) -> Method:
        return self

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        return bce_terms(logits / self.hyper.temperature, positives(batch.observed)).mean()


class ReadsAValue(BCE):
    """Branches on the value of a tensor."""

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        loss = bce_terms(logits, positives(batch.observed)).mean()
        return loss if loss.item() > 0 else -loss


class LogOfZero(BCE):
    """log(1 - sigmoid(z)) is -inf in float32 for z > 17."""

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        target = positives(batch.observed)
        probability = logits.sigmoid()
        terms = target * probability.log() + (1 - target) * (1 - probability).log()
        return -terms.mean()


class MeanOverPositives(BCE):
    """Divides by the number of positives, which may be 0."""

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        target = positives(batch.observed)
        return bce_terms(logits, target).sum() / target.sum()


class IgnoresUnknown(BCE):
    """Declares "negative" and ignores unknown labels."""

    info = MethodInfo("liar", "Liar", "none", 2026, "none", unknown="negative")

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        return (bce_terms(logits, positives(batch.observed)) * (batch.observed != -1)).mean()


class UnknownAreNegative(BCE):
    """Declares "ignored" and counts unknown labels as negative."""

    info = MethodInfo("liar", "Liar", "none", 2026, "none", unknown="ignored")


@pytest.mark.parametrize(
    ("method", "failing_check", "message"),
    [
        (Constant, check.check_learning, r"the test mAP is 0\.\d+ after 6 epochs, but must exceed"),
        (GlobalRandom, check.check_repeatability, r"head\.\w+ differs between two runs with the"),
        (AwareOfStacking, check.check_stacking, "differ by .* between stacked and alone"),
        (
            KeepsTheFirstHyperparameters,
            check.check_stacking_of_hyperparameters,
            "differ by .* between stacked and alone",
        ),
        (LogOfZero, check.check_finiteness, "an ordinary batch with features times 500 in epoch 1"),
        (MeanOverPositives, check.check_finiteness, "the loss is inf for a row without positives"),
        (IgnoresUnknown, check.check_unknown_labels, "with negatives in their place; treat both"),
        (UnknownAreNegative, check.check_unknown_labels, "all unknown receives a gradient; leave"),
    ],
)
def test_a_method_that_breaks_the_contract(
    method: type[Method], failing_check: Callable[[type[Method]], None], message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        failing_check(method)


def test_a_method_that_ignores_unknown_labels_passes() -> None:
    class Ignoring(BCE):
        info = MethodInfo("ignoring", "Ignoring", "none", 2026, "none", unknown="ignored")

        def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
            known = positives(batch.observed) + negatives(batch.observed)
            return (bce_terms(logits, positives(batch.observed)) * known).mean()

    check.check_unknown_labels(Ignoring)


# ----------------------------------------------------------------------------- messages


def test_the_message_names_the_method_and_the_check() -> None:
    class Silent(BCE):
        Hyper = WithoutHelp

    message = "bce: check_metadata: the hyperparameter gamma has no help"
    with pytest.raises(AssertionError, match=message):
        check_method(Silent)


def test_an_exception_names_the_method_and_the_check() -> None:
    class Failing(BCE):
        def epoch_length(self, problem: Any, stage: int) -> int:
            raise SystemExit(0)

    message = r"bce: check_learning: the method raises test_check\.py, line \d+: SystemExit: 0"
    with pytest.raises(AssertionError, match=message) as error:
        check_method(Failing)
    assert isinstance(error.value.__cause__, SystemExit)


def test_a_broken_rule_names_the_method_the_file_and_the_line() -> None:
    line = inspect.getsourcelines(ReadsAValue)[1] + 5
    message = rf"bce: check_rules: test_check\.py, line {line}: the step reads a tensor's value"
    with pytest.raises(AssertionError, match=message):
        check_method(ReadsAValue)


def test_regimes_that_contradict_each_other() -> None:
    info = replace(INFO, regimes=("full", "missing"))
    method = type("Toy", (BCE,), {"info": info, "regimes": lambda self: ("full",)})
    with pytest.raises(AssertionError, match=r"info\.regimes contains missing, but regimes"):
        check.check_metadata(method)
