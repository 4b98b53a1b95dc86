"""P-ASL and CSL: independent implementation, modes, selection, the prior over two stages."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from baselines.asl import asymmetric_loss
from baselines.core import Batch, Clock, LabelTable, registry
from baselines.core.heads import HiddenHead
from baselines.csl import CSL, likely_unknown, selective_weights
from baselines.csl import Hyper as CSLHyper
from baselines.p_asl import PASL, Hyper, mode_weights, partial_asymmetric_loss
from benchkit.base.draw import Draw
from benchkit.training.recipe import Recipe
from benchkit.training.trainer import TrainingSet, train

KINDS = {1: "positive", 0: "negative", -1: "unknown"}


def reference(z, observed, weights, given, held):
    """Entry by entry; powers at the logits `held`."""
    total = 0.0
    for place in np.ndindex(z.shape):
        kind = KINDS[int(observed[place])]
        p, p_held = (1 / (1 + np.exp(-x[place])) for x in (z, held))
        n, n_held = (min(1 - q + given["clip"], 1) for q in (p, p_held))
        right, wrong = (p, 1 - p_held) if kind == "positive" else (n, 1 - n_held)
        factor = weights[place] * given[f"alpha_{kind}"] * wrong ** given[f"gamma_{kind}"]
        total -= factor * np.log(max(right, 1e-8))
    return total


@pytest.fixture
def case(uniform):
    numbers = uniform("observed", (6, 5))
    observed = np.where(numbers < 0.2, 1, np.where(numbers < 0.5, 0, -1))
    observed[0], observed[1] = -1, np.abs(observed[1])
    return uniform("logits", (6, 5), -5, 5), observed


def factors(*values):
    names = [f"{what}_{kind}" for what in ("gamma", "alpha") for kind in KINDS.values()]
    return dict(zip([*names, "clip"], values, strict=True))


SETTINGS = [
    factors(0.0, 1.0, 2.0, 1.0, 1.0, 1.0, 0.0),
    factors(1.0, 4.0, 7.0, 1.0, 1.0, 0.5, 0.05),
    factors(0.3, 0.0, 1.5, 2.0, 0.7, 0.2, 0.2),
]


@pytest.mark.parametrize("given", SETTINGS)
def test_numpy_reference(case, uniform, assert_reference, given):
    logits, observed = case
    weights = uniform("weights", (6, 5))
    assert_reference(
        lambda z: partial_asymmetric_loss(
            z, torch.from_numpy(observed), torch.from_numpy(weights), **given
        ),
        lambda z: reference(z, observed, weights, given, logits),
        logits,
    )


def test_with_equal_exponents_it_is_asl(case):
    z, s = map(torch.from_numpy, case)
    got = partial_asymmetric_loss(
        z, s, 1.0, gamma_positive=1.0, gamma_negative=4.0, gamma_unknown=4.0, clip=0.05
    )
    wanted = asymmetric_loss(z, s == 1, gamma_positive=1.0, gamma_negative=4.0, clip=0.05)
    assert got.item() == pytest.approx(wanted.item(), rel=1e-12)


def test_weights_of_the_modes():
    s = torch.tensor([[1, 0, -1, -1], [-1, -1, -1, -1]])
    assert mode_weights(s, "negative").tolist() == [[1.0] * 4] * 2
    assert mode_weights(s, "ignore").tolist() == [[1.0, 1.0, 0.0, 0.0], [0.0] * 4]
    normalised = mode_weights(s, "ignore-normalised", torch.float64)
    third = float(np.float32(4 / 3))  # the authors round this mode's weights
    assert normalised.tolist() == [[third, third, 0.0, 0.0], [0.0] * 4]
    with pytest.raises(ValueError, match="mode is 'none'"):
        mode_weights(s, "none")


def selected(z, observed, k, clip, prior=None, threshold=0.0):
    weights = np.ones(z.shape)
    if prior is not None and threshold > 0:
        weights[(observed == -1) & (prior > threshold)] = 0
    n = np.minimum(1 - 1 / (1 + np.exp(-z)) + clip, 1)
    places = np.argwhere(observed == -1)
    order = np.argsort([n[tuple(p)] for p in places], kind="stable")
    for place in places[order[: k * len(z)]]:
        weights[tuple(place)] = 0
    return weights


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("k", [0, 1, 2, 50])
def test_selection(case, uniform, k, threshold):
    logits, observed = case
    prior = uniform("prior", (5,))
    for given in (None, prior):
        got = selective_weights(
            torch.from_numpy(logits),
            torch.from_numpy(observed),
            likelihood_topk=k,
            prior=None if given is None else torch.from_numpy(given),
            prior_threshold=threshold,
        )
        wanted = selected(logits, observed, k, 0.01, given, threshold)
        assert np.array_equal(got.numpy(), wanted)


def test_selection_is_of_the_batch_and_not_of_each_image():
    z = torch.tensor([[3.0, 2.0, 1.0], [-1.0, -2.0, -3.0]])
    found = likely_unknown(z, torch.full((2, 3), -1), 2)
    assert found.int().tolist() == [[1, 1, 0], [0, 0, 0]]


def test_selection_takes_the_likeliest_also_where_rounding_makes_them_equal():
    z, observed = torch.tensor([[-20.0, -18.0, -30.0]]), torch.full((1, 3), -1)
    for dtype in (torch.float32, torch.float64):
        weights = selective_weights(z.to(dtype), observed, likelihood_topk=1)
        assert weights.tolist() == [[1.0, 0.0, 1.0]]


def test_finite_in_float32(assert_finite):
    for given in SETTINGS:
        for mode in ("ignore", "ignore-normalised", "negative"):
            assert_finite(
                lambda z, s, m=mode, g=given: partial_asymmetric_loss(
                    20 * z, s, mode_weights(s, m), **g
                )
            )

        def selective(z, s, given=given):
            weights = selective_weights(z, s, prior=torch.full((4,), 0.6))
            return partial_asymmetric_loss(z, s, weights, **given)

        assert_finite(selective)


@pytest.mark.parametrize("mode", ["ignore", "ignore-normalised", "negative"])
def test_p_asl_is_the_mean(toy_problem, first_step, mode):
    method = PASL(Hyper(mode=mode, clip=0.05))
    run, batch, step = first_step(method, toy_problem(1))
    z = method.logits(run, batch.features)
    wanted = partial_asymmetric_loss(
        z, batch.observed, mode_weights(batch.observed, mode), gamma_unknown=4.0, clip=0.05
    )
    assert step.loss.item() == pytest.approx(wanted.item() / z.numel(), rel=1e-6)


def test_prior_is_the_mean_of_all_predictions_of_the_first_stage(toy_problem):
    problem, method = toy_problem(1), CSL(CSLHyper(prior_threshold=0.5, likelihood_topk=0))
    assert [stage.name for stage in method.stages()] == ["prior", "selective"]
    run = method.setup(problem, Draw(0).at(0, 0))
    features = Draw(1).at(0, 1).normal("features", 20, problem.feature_dim)
    predictions = []
    for step in range(6):
        rows = torch.arange(3 * step, 3 * step + 3 + step % 2)
        batch = Batch(rows, features[rows], problem.observed[rows])
        logits = method.logits(run, batch.features)
        predictions.append(torch.sigmoid(logits).double())
        out = method.step(run, batch, Clock(0, 1, 2, step, 6), Draw(0).at(0, 1, step))
        ignored = mode_weights(batch.observed, "ignore")
        wanted = partial_asymmetric_loss(logits, batch.observed, ignored, gamma_unknown=4.0)
        assert out.loss.item() == pytest.approx(wanted.item() / logits.numel(), rel=1e-6)
        run.state.update(out.state)
        run.params["head.weight"] = run.params["head.weight"] * 1.5
    mean = torch.cat(predictions).mean(0)
    torch.testing.assert_close(run.state["prior"].double(), mean, rtol=1e-6, atol=0)
    assert run.state["seen"].item() == 21

    rows = torch.arange(8)
    batch = Batch(rows, features[rows], problem.observed[rows])
    out = method.step(run, batch, Clock(1, 1, 2, 0, 6), Draw(0).at(1, 1, 0))
    logits = method.logits(run, batch.features)
    weights = selected(
        logits.double().numpy(), batch.observed.numpy(), 0, 0.0, mean.numpy(), threshold=0.5
    )
    assert 0 < (weights == 0).sum() < (problem.observed[rows] == -1).sum()
    wanted = partial_asymmetric_loss(
        logits, batch.observed, torch.from_numpy(weights), gamma_unknown=4.0
    )
    assert out.loss.item() == pytest.approx(wanted.item() / logits.numel(), rel=1e-6)
    assert out.state == {}


def test_the_second_stage_starts_afresh(toy_problem):
    problem = toy_problem(1)
    data = TrainingSet(
        features=Draw(1).at(0, 1).normal("features", 20, 1, 6),
        observed=problem.labels,
        true=LabelTable.of(problem.observed.clamp(min=0)),
        regime="pal",
        shot=torch.zeros(5, dtype=torch.long),
    )
    recipe = Recipe(epochs=2, batch=5, lr=0.0, weight_decay=0.0)
    method = CSL(head=HiddenHead(4))
    (trained,) = train([method], [3], data, recipe)
    second = method.setup(problem, Draw(3).at(1, 0))
    for name, value in trained.run.params.items():
        assert torch.equal(value, second.params[name]), name
    assert trained.run.state["seen"].item() == 40
    assert [entry["stage"] for entry in trained.curve] == ["prior"] * 2 + ["selective"] * 2


def test_without_a_prior_there_is_one_stage(toy_problem, first_step):
    method = CSL(CSLHyper(prior=False))
    assert [stage.name for stage in method.stages()] == ["selective"]
    run, batch, step = first_step(method, toy_problem(1))
    assert run.state == {}
    z = method.logits(run, batch.features)
    weights = selective_weights(z, batch.observed)
    wanted = partial_asymmetric_loss(z, batch.observed, weights, gamma_unknown=4.0)
    assert step.loss.item() == pytest.approx(wanted.item() / z.numel(), rel=1e-6)


def test_stacks(assert_stacks):
    floats = dict(
        gamma_positive=[0.0, 1.0, 0.5],
        gamma_negative=[1.0, 0.0, 3.0],
        gamma_unknown=[4.0, 2.0, 0.0],
        alpha_positive=[1.0, 0.5, 2.0],
        alpha_negative=[1.0, 0.5, 2.0],
        alpha_unknown=[1.0, 0.5, 0.2],
        clip=[0.0, 0.05, 0.2],
    )
    assert_stacks(PASL(), **floats)
    assert_stacks(PASL(dataclasses.replace(Hyper(), mode="ignore-normalised")))
    assert_stacks(CSL(), prior_threshold=[0.5, 0.05, 0.0], **floats)
    assert_stacks(CSL(CSLHyper(prior=False, likelihood_topk=1)), **floats)


def test_regimes_follow_what_unknown_labels_are_taken_for():
    every = ("full", "pal", "ppl", "spl", "missing")
    assert PASL().regimes() == PASL(Hyper(mode="ignore-normalised")).regimes() == ("full", "pal")
    assert PASL(Hyper(mode="negative")).regimes() == every
    assert CSL().regimes() == ("pal",)
    assert CSL(CSLHyper(prior=False)).regimes() == every[1:]


def test_are_registered():
    assert (registry.get("p-asl"), registry.get("csl")) == (PASL, CSL)
