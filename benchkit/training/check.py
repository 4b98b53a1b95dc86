"""`check_method`: the public contract check that ours and everybody's methods pass.

Each check is a function named after what it demands; it raises AssertionError with a sentence. The
toy problem is a noisy linear teacher with a rare class, small enough that all checks of a method
take about a second.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from baselines.core import Batch, Clock, LabelTable, Method, Oracle, Problem, Run, Setup
from baselines.core.contract import SOURCES
from baselines.core.hyperparameters import describe
from benchkit.base.draw import Draw
from benchkit.training.recipe import Recipe
from benchkit.training.trainer import Trained, TrainingSet, scores, train
from leaderboard import metrics

REGIMES = ("full", "pal", "ppl", "spl", "missing", "candidates")
UNKNOWN = ("negative", "ignored", "estimated")
_IMAGES, _TEST, _DIM, _CLASSES = 160, 400, 12, 5
_RECIPE = Recipe(epochs=6, batch=16, lr=0.01, weight_decay=0.0)


def _toy(regime: str) -> tuple[TrainingSet, Tensor, Tensor]:
    """A training set in a regime, and test features with their labels."""
    draw = Draw(7)
    teacher = draw.normal("teacher", _DIM, _CLASSES)
    features = draw.normal("features", _IMAGES + _TEST, _DIM)
    logits = features @ teacher + 0.5 * draw.normal("noise", _IMAGES + _TEST, _CLASSES)
    offsets = torch.tensor([0.0, 1.5, 2.0, 3.0, 5.0])
    labels = (logits > offsets).to(torch.int8)
    true, level = labels[:_IMAGES], 0.3
    u = draw.uniform("regime", _IMAGES, _CLASSES)
    observed = true.clone()
    if regime == "candidates":
        observed[(true == 0) & (u < level)] = 1
    elif regime == "pal":
        observed[u < level] = -1
    elif regime != "full":
        one = regime == "spl"
        first = torch.where(true == 1, u, -1.0).argmax(1, keepdim=True)
        kept = torch.zeros_like(true, dtype=torch.bool).scatter_(1, first, True)
        observed[~((true == 1) & (kept if one else kept | (u > level)))] = -1
    data = TrainingSet(
        features=features[:_IMAGES, None],
        observed=LabelTable.of(observed),
        true=LabelTable.of(true),
        regime=regime,
        shot=torch.tensor([0, 0, 1, 1, 2]),
        noise_rate=level if regime in ("candidates", "pal") else None,
    )
    return data, features[_IMAGES:], labels[_IMAGES:]


def _regime(method: type[Method]) -> str:
    """A regime that the method is meant for; one with unknown labels if there is one."""
    meant = method.info.regimes or REGIMES
    return next(regime for regime in ("pal", "spl", "candidates", *REGIMES) if regime in meant)


def _train(methods: list[Method], seeds: list[int], data: TrainingSet) -> list[Trained]:
    return train(methods, seeds, data, _RECIPE)


def _setup(method: Method, data: TrainingSet) -> tuple[Setup, Problem]:
    oracle = Oracle(data.oracle_values(), method.oracle())
    problem = Problem(data.observed, _DIM, data.regime, _RECIPE.epochs, oracle)
    return method.setup(problem, Draw(0).at(0, 0)), problem


def _loss_and_gradients(
    method: Method, setup: Run, batch: Batch, clock: Clock
) -> tuple[Tensor, dict[str, Tensor]]:
    params = {k: v.detach().clone().requires_grad_() for k, v in setup.params.items()}
    run = Run(params, setup.state, setup.memory, setup.constants)
    out = method.step(run, batch, clock, Draw(0).at(clock.stage, clock.epoch, clock.step))
    gradients = torch.autograd.grad(out.loss, list(params.values()), allow_unused=True)
    found = zip(params, gradients, strict=True)
    return out.loss.detach(), {k: g for k, g in found if g is not None}


def _clocks(method: Method) -> list[Clock]:
    """The first and the last epoch of every stage."""
    return [
        Clock(number, epoch, epochs, 0, 10)
        for number, stage in enumerate(method.stages())
        for epochs in [stage.epochs or _RECIPE.epochs]
        for epoch in (1, epochs)
    ]


# ----------------------------------------------------------------------------- the checks


def check_description(method: type[Method]) -> None:
    """The info is complete and the hyperparameters say what they are."""
    info = method.info
    for name in ("key", "title", "paper", "equation"):
        assert getattr(info, name).strip(), f"info.{name} is empty"
    assert info.key == info.key.lower() and " " not in info.key, f"key {info.key!r} is not a key"
    assert info.unknown in UNKNOWN, f"info.unknown {info.unknown!r} is not one of {UNKNOWN}"
    strange = set(info.regimes) - set(REGIMES)
    assert not strange, f"info.regimes has {sorted(strange)}; regimes are {REGIMES}"
    told = (info.source in SOURCES, bool(info.reference), bool(info.tolerance), bool(info.evidence))
    claims = (info.source, info.reference, info.tolerance, info.evidence)
    assert all(told) or not any(claims), f"the ledger's row is not whole: {claims}"
    assert dataclasses.is_dataclass(method.Hyper), "Hyper is not a dataclass"
    assert method.Hyper.__dataclass_params__.frozen, "Hyper is not frozen"  # type: ignore[attr-defined]
    for entry in describe(method.Hyper):
        assert entry["help"], f"hyperparameter {entry['name']} has no help"
    named = set(method().oracle()) - set(Oracle.NAMES)
    assert not named, f"oracle() names {sorted(named)}; oracles are {Oracle.NAMES}"


def check_learns(method: type[Method]) -> None:
    """Training beats chance on unseen images by half of what there is to win over one class."""
    data, features, labels = _toy(_regime(method))
    (result,) = _train([method()], [0], data)
    assert result.failure is None, f"training failed: {result.failure}"
    ap = metrics.average_precision(scores(result.method, result.run, features), labels.numpy())
    chance = float((labels == 1).float().mean(0).mean())
    value = float(ap.mean())
    wanted = chance + 0.35 * (1.0 - chance)
    assert value > wanted, f"test mAP {value:.3f}, chance {chance:.3f}, wanted {wanted:.3f}"


def check_repeats(method: type[Method]) -> None:
    """The same seed gives the same parameters, bit for bit."""
    data = _toy(_regime(method))[0]
    first, second = (_train([method()], [3], data)[0].run.params for _ in range(2))
    for name, value in first.items():
        assert torch.equal(value, second[name]), f"{name} differs between two equal runs"


def check_stacks(method: type[Method]) -> None:
    """Runs that are stacked give what each gives alone, to 1e-5."""
    data, features, _ = _toy(_regime(method))
    together = _train([method() for _ in range(3)], [0, 1, 2], data)
    _compare(together, [_train([method()], [seed], data)[0] for seed in range(3)], features)


def check_stacks_hyperparameters(method: type[Method]) -> None:
    """Runs that differ in float hyperparameters stack too."""
    data, features, _ = _toy(_regime(method))
    changed = {
        entry["name"]: _moved(entry)
        for entry in describe(method.Hyper)
        if isinstance(entry["default"], float)
    }
    if not changed:
        return
    methods = [method(), method(method.Hyper(**changed))]
    together = _train(methods, [0, 1], data)
    alone = [_train([one], [seed], data)[0] for seed, one in enumerate(methods)]
    _compare(together, alone, features)


def _moved(entry: dict[str, Any]) -> float:
    value = entry["default"] * 0.9 if entry["default"] else 0.05
    low, high = entry.get("low"), entry.get("high")
    value = value if low is None else max(low, value)
    return float(value if high is None else min(high, value))


def _compare(together: list[Trained], alone: list[Trained], features: Tensor) -> None:
    for index, (one, other) in enumerate(zip(together, alone, strict=True)):
        assert one.failure == other.failure, f"run {index}: {one.failure} and {other.failure}"
        mine = torch.from_numpy(scores(one.method, one.run, features))
        theirs = torch.from_numpy(scores(other.method, other.run, features))
        gap = float((mine - theirs).abs().max() / theirs.abs().max().clamp(min=1.0))
        assert gap < 1e-5, f"run {index} differs by {gap:.1e} between stacked and alone"


def check_finite(method: type[Method]) -> None:
    """Loss and gradient stay finite in the cases that break losses."""
    data = _toy(_regime(method))[0]
    observed = data.observed.whole().clone()
    observed[0], observed[1] = 0, -1  # no positive; nothing observed
    observed[:, 4] = torch.where(
        observed[:, 4] == 1, 0, observed[:, 4]
    )  # a class without positives
    data = dataclasses.replace(data, observed=LabelTable.of(observed))
    made = method()
    setup, problem = _setup(made, data)
    batches = {
        "an ordinary batch": list(range(16)),
        "a row without positives": [0],
        "a row with nothing observed": [1],
        "a repeated row": [2, 2, 2, 3],
    }
    for clock in _clocks(made):
        setup = made.epoch_start(setup, problem, data.features[:, 0], clock, Draw(0).at(0, 1))
        for what, rows in batches.items():
            for scale in (1.0, 500.0, -500.0):
                index = torch.tensor(rows)
                batch = Batch(index, data.features[index, 0] * scale, observed[index])
                loss, gradients = _loss_and_gradients(made, setup, batch, clock)
                where = f"with {what}, features times {scale:g}, epoch {clock.epoch}"
                assert math.isfinite(float(loss)), f"the loss is {float(loss)} {where}"
                for name, gradient in gradients.items():
                    assert torch.isfinite(gradient).all(), f"the gradient of {name} {where}"


def check_unknown(method: type[Method]) -> None:
    """Unknown labels are treated as `info.unknown` says."""
    regime = _regime(method)
    if method.info.unknown == "estimated" or regime in ("full", "candidates"):
        return
    data = _toy(regime)[0]
    shown = data.observed.whole()
    if method.info.unknown == "negative":
        other = shown.clamp(min=0)
    else:
        shown[:, 2] = -1  # a class of which nothing is known must not be moved
        other = shown
    made = method()
    rows = torch.arange(16)
    found = []
    for observed in (shown, other):
        setup, _ = _setup(made, dataclasses.replace(data, observed=LabelTable.of(observed)))
        batch = Batch(rows, data.features[rows, 0], observed[rows])
        found.append(_loss_and_gradients(made, setup, batch, _clocks(made)[0]))
    if method.info.unknown == "negative":
        assert torch.allclose(found[0][0], found[1][0]), "unknown and negative labels differ"
        return
    gradient = found[0][1].get("head.bias")
    if gradient is not None:
        assert float(gradient[2]) == 0.0, "a class with unknown labels only receives a gradient"


CHECKS: tuple[Callable[[type[Method]], None], ...] = (
    check_description,
    check_learns,
    check_repeats,
    check_stacks,
    check_stacks_hyperparameters,
    check_finite,
    check_unknown,
)


def check_method(method: type[Method]) -> None:
    """Check a method against the contract.

    Args:
        method: a subclass of `baselines.core.Method` with an `info`.

    Raises:
        AssertionError: what is violated, with the method's key and the check's name.
    """
    for check in CHECKS:
        try:
            check(method)
        except AssertionError as error:
            raise AssertionError(f"{method.info.key}: {check.__name__}: {error}") from None
