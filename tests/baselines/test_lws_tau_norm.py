"""LWS and tau-norm: their equations, and that neither changes an average precision."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from baselines.bce import BCE, bce
from baselines.core import ClassAware, Clock, LabelTable, Method, Run, Shuffle, registry
from baselines.core.heads import Head, HiddenHead, LinearHead
from baselines.lws import LWS
from baselines.lws import Hyper as LWSHyper
from baselines.tau_norm import Hyper as TauHyper
from baselines.tau_norm import TauNorm, normalised
from benchkit.base.draw import Draw
from benchkit.training.inputs import TrainingSet
from benchkit.training.recipe import Recipe
from benchkit.training.trainer import Trained, train
from leaderboard import metrics

IMAGES, TEST, FEATURES, CLASSES = 96, 200, 8, 6
HEADS = [LinearHead(), HiddenHead(10)]


@pytest.fixture(scope="module")
def data() -> tuple[TrainingSet, Tensor, np.ndarray]:
    """A long-tailed training set of a noisy linear teacher, and test features with labels."""
    draw = Draw(11)
    features = draw.normal("features", IMAGES + TEST, FEATURES)
    noise = draw.normal("noise", IMAGES + TEST, CLASSES)
    logits = features @ draw.normal("teacher", FEATURES, CLASSES) + noise
    labels = (logits > torch.linspace(0.0, 4.0, CLASSES)).to(torch.int8)
    shot = torch.tensor([0, 0, 1, 1, 2, 2])
    true = labels[:IMAGES]
    made = TrainingSet(
        features[:IMAGES, None], LabelTable.of(true), LabelTable.of(true), "full", shot
    )
    return made, features[IMAGES:], labels[IMAGES:].numpy()


def trained(method: Method, data: TrainingSet) -> Trained:
    (result,) = train([method], [5], data, Recipe(epochs=4, batch=16, lr=0.01))
    assert result.failure is None
    return result


def precisions(result: Trained, features: Tensor, labels: np.ndarray) -> np.ndarray:
    """Average precision of each class, from float64 scores."""
    params = {name: value.double() for name, value in result.run.params.items()}
    scores = result.method.logits(Run(params), features.double())
    return metrics.average_precision(scores.detach().numpy(), labels)


@pytest.mark.parametrize("head", HEADS, ids=["linear", "hidden"])
@pytest.mark.parametrize(
    "method",
    [LWS(), LWS(LWSHyper(scale_epochs=2, length="classes"))]
    + [TauNorm(TauHyper(tau=tau)) for tau in (0.0, 0.7, 1.0, 2.0)],
    ids=["lws", "lws-classes", "tau-0", "tau-0.7", "tau-1", "tau-2"],
)
def test_no_average_precision_changes(data, method: Method, head: Head) -> None:
    split, features, labels = data
    plain = trained(BCE(head=head), split)
    other = trained(type(method)(method.hyper, head), split)
    for name, value in plain.run.params.items():
        assert torch.equal(other.run.params[name], value), name
    if "scale" in other.run.params:
        scale = other.run.params["scale"]
        assert (scale > 0).all()
        assert (scale != 1).all()
    expected = precisions(plain, features, labels)
    assert 0.2 < expected.mean() < 1.0
    np.testing.assert_allclose(precisions(other, features, labels), expected, rtol=1e-12)


def test_lws_scales_the_head(data, assert_close) -> None:
    split, features, _ = data
    result = trained(LWS(), split)
    params = result.run.params
    expected = params["scale"] * (features @ params["head.weight"] + params["head.bias"])
    assert_close(result.method.logits(result.run, features), expected, 1e-6)


def test_lws_stages(toy_problem) -> None:
    method, problem = LWS(head=HiddenHead(4)), toy_problem(1)
    first, second = method.stages()
    assert (first.name, first.epochs, first.restart) == ("representation", None, ())
    assert (second.name, second.epochs, second.restart) == ("scales", 5, ())
    run = method.setup(problem, Draw(1))
    assert run.params["scale"].tolist() == [1.0] * 5
    trained = [
        {name for name in run.params if name.startswith(stage.train)} for stage in (first, second)
    ]
    assert trained[0] == {"neck.weight", "neck.bias", "head.weight", "head.bias"}
    assert trained[1] == {"scale"}

    assert isinstance(method.sampling(run, problem, Clock(0, 1, 10, 0, 1)), Shuffle)
    order = method.sampling(run, problem, Clock(1, 1, 5, 0, 1))
    assert isinstance(order, ClassAware)
    assert order.per_class == 4
    assert torch.equal(order.lists.whole(), problem.observed)
    assert order.codes == (1,)
    nothing = replace(problem, labels=LabelTable.of(torch.full_like(problem.observed, -1)))
    assert isinstance(method.sampling(run, nothing, Clock(1, 1, 5, 0, 1)), Shuffle)
    most = int((problem.observed == 1).sum(0).max())
    assert [method.epoch_length(problem, stage) for stage in (0, 1)] == [20, 20]
    longer = LWS(LWSHyper(length="classes"))
    assert [longer.epoch_length(problem, stage) for stage in (0, 1)] == [20, most * 5 // 4]


def test_normalised_weights() -> None:
    weight = torch.tensor([[3.0, 0.0, 0.0], [4.0, 2.0, 0.0]])
    params = {"head.weight": weight, "head.bias": torch.ones(3), "neck.bias": torch.ones(2)}
    half = normalised(params, 0.5)
    assert half["head.weight"][:, 0].tolist() == pytest.approx([3 / 5**0.5, 4 / 5**0.5])
    assert half["head.weight"][:, 1].tolist() == pytest.approx([0.0, 2 / 2**0.5])
    assert half["head.weight"][:, 2].tolist() == [0.0, 0.0]
    assert half["head.bias"].tolist() == [0.0, 0.0, 0.0]
    assert half["neck.bias"].tolist() == [1.0, 1.0]
    assert torch.equal(normalised(params, 0.0)["head.weight"], weight)
    one = normalised(params, torch.tensor(1.0))["head.weight"].norm(dim=0)
    assert one.tolist() == pytest.approx([1.0, 1.0, 0.0])
    assert params["head.bias"].tolist() == [1.0, 1.0, 1.0]


def test_tau_differs_between_stacked_runs(assert_close) -> None:
    weights, taus = Draw(3).normal("w", 3, 4, 2), torch.tensor([0.0, 0.5, 2.0])
    features = Draw(3).normal("x", 5, 4)

    def evaluate(weight: Tensor, tau: Any) -> Tensor:
        run = Run({"head.weight": weight, "head.bias": weight[0]})
        return TauNorm().with_hyper(tau=tau).logits(run, features)

    stacked = torch.func.vmap(evaluate)(weights, taus)
    for index in range(3):
        assert_close(stacked[index], evaluate(weights[index], taus[index].item()), 2e-6)


def test_training_is_plain(toy_problem, first_step, assert_stacks) -> None:
    for method in (TauNorm(), LWS()):
        run, batch, step = first_step(method, toy_problem(1))
        logits = method.head.apply(run.params, batch.features)
        expected = bce(logits, (batch.observed == 1).float())
        assert step.loss.item() == pytest.approx(expected.item(), rel=1e-6)
        assert method.oracle() == ()
        assert registry.get(method.info.key) is type(method)
        assert_stacks(method)
    assert_stacks(TauNorm(), tau=[0.0, 1.0, 2.0])
