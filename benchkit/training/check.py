"""`check_method`: the public check of a method against the contract of `baselines.core`.

Every check is a function of a method class. It raises AssertionError with a message that says what
is violated and how to fix it. The data are a noisy linear teacher with one rare class, small
enough that all checks of a method take about a second.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from baselines.core import (
    Batch,
    Clock,
    LabelTable,
    Method,
    Oracle,
    Problem,
    Run,
    Setup,
    hyperparameters,
)
from baselines.core.errors import is_interrupt
from baselines.core.hyperparameters import describe
from baselines.core.info import problems
from benchkit.base.draw import Draw
from benchkit.training import rehearsal
from benchkit.training.inputs import TrainingSet
from benchkit.training.recipe import Recipe
from benchkit.training.trainer import Trained, scores, train
from leaderboard import metrics
from splits import regimes
from splits.shots import FEW, MANY, MEDIUM

_TRAIN_IMAGES, _TEST_IMAGES, _FEATURES, _CLASSES = 160, 400, 12, 5
_RECIPE = Recipe(optimiser="adam", epochs=6, batch=16, lr=0.01, weight_decay=0.0, row_norm=0.0)
_LEVELS = {"pal": 0.7, "ppl": 0.3, "missing": 0.3, "candidates": 0.3}
_MINIMUM_GAIN = 0.35  # of the distance between chance and a perfect mAP
# Relative to the largest score, or to 1 if all scores are smaller. Adam amplifies the rounding of
# small gradients: the widest method, `comic`, differs by 2e-5.
_STACKING_TOLERANCE = 1e-4


def check_method(method: type[Method]) -> None:
    """Check a method against the contract.

    The method must have complete metadata, follow the rules of `step`, learn, repeat its numbers
    for the same seed, give the same numbers stacked with other runs as alone, keep losses and
    gradients finite in difficult batches, and treat unknown labels as it declares.

    Args:
        method: a subclass of `Method` with an `info`.

    Raises:
        AssertionError: the method's key, the name of the check, what is violated and how to fix
            it.

    Example:
        >>> from baselines.core import Method, MethodInfo, positives
        >>> from baselines.core.losses import bce_terms
        >>> class Doubled(Method):
        ...     info = MethodInfo(
        ...         key="doubled",
        ...         title="Doubled BCE",
        ...         paper="none",
        ...         year=2026,
        ...         equation="L = 2 BCE(z, y)",
        ...         unknown="negative",
        ...     )
        ...
        ...     def loss(self, run, logits, batch, clock, draw):
        ...         return 2.0 * bce_terms(logits, positives(batch.observed)).mean()
        >>> check_method(Doubled)
    """
    for check in CHECKS:
        try:
            check(method)
        except AssertionError as error:
            raise AssertionError(f"{_name(method)}: {check.__name__}: {error}") from None
        except BaseException as error:  # a method may also call `sys.exit`
            if is_interrupt(error):
                raise
            raise AssertionError(
                f"{_name(method)}: {check.__name__}: the method raises "
                f"{rehearsal.failure(error, method)}"
            ) from error


def _name(method: type[Method]) -> str:
    return str(getattr(method.info, "key", method.__name__))


# ----------------------------------------------------------------------------- the checks


def check_metadata(method: type[Method]) -> None:
    """`info` is complete, and every hyperparameter has a help text."""
    info = method.info
    for problem in problems(info):
        raise AssertionError(problem)
    for name in ("title", "paper", "equation"):
        assert getattr(info, name).strip(), f"info.{name} is empty; give it a text"
    for problem in hyperparameters.problems(method.Hyper):
        raise AssertionError(problem)
    for entry in describe(method.Hyper):
        assert entry["help"], (
            f"the hyperparameter {entry['name']} has no help; declare it with "
            "hyper(default, 'what it does')"
        )
    oracle = method().oracle()
    unknown_oracles = sorted(set(oracle) - set(Oracle.NAMES))
    assert not unknown_oracles, (
        f"oracle() names {', '.join(unknown_oracles)}; the oracles are {', '.join(Oracle.NAMES)}"
    )
    assert oracle == info.oracle, (
        f"oracle() returns {oracle} with the default hyperparameters, but info.oracle is "
        f"{info.oracle}; make them equal"
    )
    for regime in info.regimes:
        hyper = method.Hyper(**method.defaults_for(regime))
        assert regime in method(hyper).regimes(), (
            f"info.regimes contains {regime}, but regimes() does not with the defaults of "
            f"defaults_for('{regime}'); make them agree"
        )


def check_rules(method: type[Method]) -> None:
    """The first steps follow the rules of the contract; see `rehearsal.violation`."""
    data = toy_data(suitable_regime(method))[0]
    sentence = rehearsal.violation(method(), data, _RECIPE.epochs)
    assert sentence is None, sentence


def check_learning(method: type[Method]) -> None:
    """The test mAP exceeds chance c by 0.35 (1 - c), with c the mean share of positives."""
    data, features, labels = toy_data(suitable_regime(method))
    (result,) = train([method()], [0], data, _RECIPE)
    assert result.failure is None, (
        f"training failed: {result.failure}; the loss must be finite in every step"
    )
    precisions = metrics.average_precision(
        scores(result.method, result.run, features), labels.numpy()
    )
    chance = float((labels == 1).float().mean(0).mean())
    value, minimum = float(precisions.mean()), chance + _MINIMUM_GAIN * (1.0 - chance)
    assert value > minimum, (
        f"the test mAP is {value:.3f} after {_RECIPE.epochs} epochs, but must exceed {minimum:.3f} "
        f"(chance is {chance:.3f}); check the sign of the loss and that it depends on the logits"
    )


def check_repeatability(method: type[Method]) -> None:
    """The same seed gives the same parameters, bit for bit."""
    data = toy_data(suitable_regime(method))[0]
    first, second = (train([method()], [3], data, _RECIPE)[0].run.params for _ in range(2))
    for name, value in first.items():
        assert torch.equal(value, second[name]), (
            f"the parameter {name} differs between two runs with the same seed; take random "
            "numbers only from `draw`, and keep no state outside of the run"
        )


def check_stacking(method: type[Method]) -> None:
    """Runs that differ in their seeds have the same scores stacked and alone."""
    _compare_stacked_and_alone([method() for _ in range(3)])


def check_stacking_of_hyperparameters(method: type[Method]) -> None:
    """Runs that differ in float hyperparameters have the same scores stacked and alone."""
    changed = {
        entry["name"]: _other_value(entry)
        for entry in describe(method.Hyper)
        if isinstance(entry["default"], float)
    }
    if changed:
        _compare_stacked_and_alone([method(), method(method.Hyper(**changed))])


def check_finiteness(method: type[Method]) -> None:
    """Loss and gradients are finite in batches and for logits that break careless losses."""
    data = toy_data(suitable_regime(method))[0]
    observed = data.observed.whole().clone()
    observed[0], observed[1] = 0, -1  # no positive; no observed label
    rare = observed[:, 4]
    observed[:, 4] = torch.where(rare == 1, 0, rare)  # a class without positives
    data = dataclasses.replace(data, observed=LabelTable.of(observed))
    instance = method()
    run, problem = _setup(instance, data)
    batches = {
        "an ordinary batch": list(range(16)),
        "a row without positives": [0],
        "a row without observed labels": [1],
        "a repeated row": [2, 2, 2, 3],
    }
    for clock in _first_and_last_epochs(instance):
        run = instance.epoch_start(run, problem, data.features[:, 0], clock, Draw(0).at(0, 1))
        for description, rows in batches.items():
            for scale in (1.0, 500.0, -500.0):
                index = torch.tensor(rows)
                batch = Batch(index, data.features[index, 0] * scale, observed[index])
                loss, gradients = _loss_and_gradients(instance, run, batch, clock)
                case = (
                    f"for {description} with features times {scale:g} in epoch {clock.epoch}; "
                    "avoid log(0), division by an empty sum and exp of large logits"
                )
                assert math.isfinite(float(loss)), f"the loss is {float(loss)} {case}"
                for name, gradient in gradients.items():
                    assert torch.isfinite(gradient).all(), (
                        f"the gradient of {name} is not finite {case}"
                    )


def check_unknown_labels(method: type[Method]) -> None:
    """Unknown labels are treated as `info.unknown` declares.

    "negative": replacing every unknown label by a negative one does not change the loss.
    "ignored": the bias of a class without any observed label receives no gradient.
    "estimated", and regimes without unknown labels: nothing is checked.
    """
    regime = suitable_regime(method)
    if method.info.unknown == "estimated" or regime in ("full", "candidates"):
        return
    data = toy_data(regime)[0]
    observed = data.observed.whole()
    if method.info.unknown == "negative":
        loss = _first_loss_and_gradients(method, data, observed)[0]
        loss_of_negatives = _first_loss_and_gradients(method, data, observed.clamp(min=0))[0]
        assert torch.allclose(loss, loss_of_negatives), (
            f"the loss is {float(loss):.6g} with unknown labels, but "
            f"{float(loss_of_negatives):.6g} with negatives in their place; treat both alike, or "
            "change info.unknown"
        )
        return
    observed[:, 2] = -1
    bias = _first_loss_and_gradients(method, data, observed)[1].get("head.bias")
    assert bias is None or float(bias[2]) == 0.0, (
        "a class whose labels are all unknown receives a gradient; leave unknown labels out of the "
        "loss, or change info.unknown"
    )


CHECKS: tuple[Callable[[type[Method]], None], ...] = (
    check_metadata,
    check_rules,
    check_learning,
    check_repeatability,
    check_stacking,
    check_stacking_of_hyperparameters,
    check_finiteness,
    check_unknown_labels,
)


# ----------------------------------------------------------------------------- toy data


def suitable_regime(method: type[Method]) -> str:
    """A regime for which the method is meant, with unknown labels if there is one."""
    suitable = method.info.regimes or regimes.KINDS
    return next(k for k in ("pal", "spl", "candidates", *regimes.KINDS) if k in suitable)


def toy_data(kind: str) -> tuple[TrainingSet, Tensor, Tensor]:
    """A training set in a regime, and test features [N, D] with their labels [N, C]."""
    draw = Draw(7)
    images = _TRAIN_IMAGES + _TEST_IMAGES
    teacher = draw.normal("teacher", _FEATURES, _CLASSES)
    features = draw.normal("features", images, _FEATURES)
    logits = features @ teacher + 0.5 * draw.normal("noise", images, _CLASSES)
    thresholds = torch.tensor([0.0, 1.5, 2.0, 3.0, 5.0])
    labels = (logits > thresholds).to(torch.int8)
    true, uniform = labels[:_TRAIN_IMAGES], draw.uniform("regime", _TRAIN_IMAGES, _CLASSES)
    regime = regimes.Regime(kind, _LEVELS.get(kind))
    observed = regimes.observe(
        true.numpy(), regime, lambda rows, columns: uniform.double().numpy()[rows, columns]
    )
    data = TrainingSet(
        features=features[:_TRAIN_IMAGES, None],
        observed=LabelTable.of(torch.from_numpy(observed)),
        true=LabelTable.of(true),
        regime=kind,
        shot=torch.tensor([MANY, MANY, MEDIUM, MEDIUM, FEW]),
        noise_rate=regime.noise_rate,
    )
    return data, features[_TRAIN_IMAGES:], labels[_TRAIN_IMAGES:]


# ----------------------------------------------------------------------------- steps and stacks


def _setup(method: Method, data: TrainingSet) -> tuple[Setup, Problem]:
    (problem,) = data.problems([method], _RECIPE.epochs)
    return method.setup(problem, Draw(0).at(0, 0)), problem


def _first_and_last_epochs(method: Method) -> list[Clock]:
    """The first step of the first and of the last epoch of every stage."""
    return [
        Clock(number, epoch, epochs, 0, 10)
        for number, stage in enumerate(method.stages())
        for epochs in [stage.epochs or _RECIPE.epochs]
        for epoch in (1, epochs)
    ]


def _loss_and_gradients(
    method: Method, run: Run, batch: Batch, clock: Clock
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of one step, and its gradient for every parameter that it depends on."""
    params = {k: v.detach().clone().requires_grad_() for k, v in run.params.items()}
    run = Run(params, run.state, run.memory, run.constants)
    out = method.step(run, batch, clock, Draw(0).at(clock.stage, clock.epoch, clock.step))
    gradients = torch.autograd.grad(out.loss, list(params.values()), allow_unused=True)
    named = zip(params, gradients, strict=True)
    return out.loss.detach(), {name: g for name, g in named if g is not None}


def _first_loss_and_gradients(
    method: type[Method], data: TrainingSet, observed: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """`_loss_and_gradients` of the first step of a run that observes the given labels."""
    instance, rows = method(), torch.arange(_RECIPE.batch)
    run, _ = _setup(instance, dataclasses.replace(data, observed=LabelTable.of(observed)))
    batch = Batch(rows, data.features[rows, 0], observed[rows])
    return _loss_and_gradients(instance, run, batch, _first_and_last_epochs(instance)[0])


def _other_value(entry: dict[str, Any]) -> float:
    """A valid value of a float hyperparameter that is not its default, if there is one."""
    value = entry["default"] * 0.9 if entry["default"] else 0.05
    low, high = entry.get("low"), entry.get("high")
    value = value if low is None else max(low, value)
    return float(value if high is None else min(high, value))


def _compare_stacked_and_alone(methods: list[Method]) -> None:
    """Train methods with seeds 0, 1, ... stacked and alone, and compare their test scores."""
    data, features, _ = toy_data(suitable_regime(type(methods[0])))
    seeds = list(range(len(methods)))
    stacked = train(methods, seeds, data, _RECIPE)
    alone = [train([m], [s], data, _RECIPE)[0] for m, s in zip(methods, seeds, strict=True)]
    for seed, stacked_run, single_run in zip(seeds, stacked, alone, strict=True):
        assert stacked_run.failure == single_run.failure, (
            f"run {seed} ends with {stacked_run.failure!r} if stacked and with "
            f"{single_run.failure!r} alone; a step must depend on its own run only"
        )
        difference = _relative_difference(stacked_run, single_run, features)
        assert difference < _STACKING_TOLERANCE, (
            f"the scores of run {seed} differ by {difference:.1e} between stacked and alone, but "
            f"must differ by less than {_STACKING_TOLERANCE:g}; use no .item(), no branch on a "
            "tensor's value and no random numbers except those of `draw`"
        )


def _relative_difference(first: Trained, second: Trained, features: Tensor) -> float:
    """The largest difference of two runs' scores, relative to the largest score (at least 1)."""
    one = torch.from_numpy(scores(first.method, first.run, features))
    other = torch.from_numpy(scores(second.method, second.run, features))
    return float((one - other).abs().max() / other.abs().max().clamp(min=1.0))
