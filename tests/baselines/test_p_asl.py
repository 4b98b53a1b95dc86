"""P-ASL and CSL: a NumPy reference, modes, selection, the prior of the first stage."""

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
from benchkit.training.inputs import TrainingSet
from benchkit.training.recipe import Recipe
from benchkit.training.trainer import train

KINDS = {1: "positive", 0: "negative", -1: "unknown"}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def reference(logits, observed, weights, hyper, constant_logits):
    """-W a+ (1 - p)^g+ log p for positives, -W a (1 - n)^g log n for the others; their sum.

    n = min(1 - p + clip, 1); negative and unknown labels have an a and g each. The powers are
    taken at `constant_logits` and carry no gradient.
    """

    def right(logits, kind):
        probability = sigmoid(logits)
        if kind == "positive":
            return probability
        return np.minimum(1 - probability + hyper["clip"], 1)

    total = 0.0
    for code, kind in KINDS.items():
        power = (1 - right(constant_logits, kind)) ** hyper[f"gamma_{kind}"]
        log_right = np.log(np.maximum(right(logits, kind), 1e-8))
        terms = weights * hyper[f"alpha_{kind}"] * power * log_right
        total -= terms[observed == code].sum()
    return total


@pytest.fixture
def case(uniform):
    numbers = uniform("observed", (6, 5))
    observed = np.where(numbers < 0.2, 1, np.where(numbers < 0.5, 0, -1))
    observed[0], observed[1] = -1, np.abs(observed[1])
    return uniform("logits", (6, 5), -5, 5), observed


def hyperparameters(gamma, alpha, clip):
    """`gamma` and `alpha` of positive, negative and unknown labels."""
    kinds = KINDS.values()
    gammas = {f"gamma_{kind}": value for kind, value in zip(kinds, gamma, strict=True)}
    alphas = {f"alpha_{kind}": value for kind, value in zip(kinds, alpha, strict=True)}
    return gammas | alphas | {"clip": clip}


SETTINGS = [
    hyperparameters((0.0, 1.0, 2.0), (1.0, 1.0, 1.0), 0.0),
    hyperparameters((1.0, 4.0, 7.0), (1.0, 1.0, 0.5), 0.05),
    hyperparameters((0.3, 0.0, 1.5), (2.0, 0.7, 0.2), 0.2),
]


@pytest.mark.parametrize("hyper", SETTINGS)
def test_numpy_reference(case, uniform, assert_reference, hyper):
    logits, observed = case
    weights = uniform("weights", (6, 5))
    fixed = torch.from_numpy(observed), torch.from_numpy(weights)
    assert_reference(
        lambda logits: partial_asymmetric_loss(logits, *fixed, **hyper),
        lambda variable: reference(variable, observed, weights, hyper, logits),
        logits,
    )


def test_with_equal_exponents_it_is_asl(case):
    logits, observed = map(torch.from_numpy, case)
    options = dict(gamma_positive=1.0, gamma_negative=4.0, clip=0.05)
    loss = partial_asymmetric_loss(logits, observed, 1.0, gamma_unknown=4.0, **options)
    expected = asymmetric_loss(logits, observed == 1, **options)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)


def test_weights_of_the_modes():
    observed = torch.tensor([[1, 0, -1, -1], [-1, -1, -1, -1]])
    assert mode_weights(observed, "negative").tolist() == [[1.0] * 4] * 2
    assert mode_weights(observed, "ignore").tolist() == [[1.0, 1.0, 0.0, 0.0], [0.0] * 4]
    normalised = mode_weights(observed, "ignore-normalised", torch.float64)
    assert normalised.tolist() == [[4 / 3, 4 / 3, 0.0, 0.0], [0.0] * 4]
    with pytest.raises(ValueError, match="mode is 'none'"):
        mode_weights(observed, "none")


def selected_weights(logits, observed, topk, prior=None, threshold=0.0):
    """0 for the unknown labels of likely classes, and for the topk * B likeliest of the batch."""
    weights, unknown = np.ones(logits.shape), observed == -1
    if prior is not None and threshold > 0:
        weights[unknown & (prior > threshold)] = 0
    indices = np.argwhere(unknown)
    order = np.argsort(-logits[unknown], kind="stable")
    for image, c in indices[order[: topk * len(logits)]]:
        weights[image, c] = 0
    return weights


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("topk", [0, 1, 2, 50])
def test_selection(case, uniform, topk, threshold):
    logits, observed = case
    for prior in (None, uniform("prior", (5,))):
        weights = selective_weights(
            torch.from_numpy(logits),
            torch.from_numpy(observed),
            likelihood_topk=topk,
            prior=None if prior is None else torch.from_numpy(prior),
            prior_threshold=threshold,
        )
        expected = selected_weights(logits, observed, topk, prior, threshold)
        assert np.array_equal(weights.numpy(), expected)


def test_selection_ranks_the_labels_of_the_batch_together():
    logits = torch.tensor([[3.0, 2.0, 1.0], [-1.0, -2.0, -3.0]])
    likely = likely_unknown(logits, torch.full((2, 3), -1), 2)
    assert likely.int().tolist() == [[1, 1, 0], [0, 0, 0]]


def test_selection_takes_the_likeliest_also_where_rounding_makes_them_equal():
    logits, observed = torch.tensor([[-20.0, -18.0, -30.0]]), torch.full((1, 3), -1)
    for dtype in (torch.float32, torch.float64):
        weights = selective_weights(logits.to(dtype), observed, likelihood_topk=1)
        assert weights.tolist() == [[1.0, 0.0, 1.0]]


@pytest.mark.parametrize("hyper", SETTINGS)
def test_finite_in_float32(assert_finite, hyper):
    for mode in ("ignore", "ignore-normalised", "negative"):
        assert_finite(
            lambda logits, observed, mode=mode: partial_asymmetric_loss(
                20 * logits, observed, mode_weights(observed, mode), **hyper
            )
        )

    def selective(logits, observed):
        weights = selective_weights(logits, observed, prior=torch.full((4,), 0.6))
        return partial_asymmetric_loss(logits, observed, weights, **hyper)

    assert_finite(selective)


@pytest.mark.parametrize("mode", ["ignore", "ignore-normalised", "negative"])
def test_p_asl_is_the_mean(toy_problem, first_step, mode):
    method = PASL(Hyper(mode=mode, clip=0.05))
    run, batch, step = first_step(method, toy_problem(1))
    logits = method.logits(run, batch.features)
    expected = partial_asymmetric_loss(
        logits, batch.observed, mode_weights(batch.observed, mode), gamma_unknown=4.0, clip=0.05
    )
    assert step.loss.item() == pytest.approx(expected.item() / logits.numel(), rel=1e-6)


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
        expected = partial_asymmetric_loss(logits, batch.observed, ignored, gamma_unknown=4.0)
        assert out.loss.item() == pytest.approx(expected.item() / logits.numel(), rel=1e-6)
        run.state.update(out.state)
        run.params["head.weight"] = run.params["head.weight"] * 1.5
    mean = torch.cat(predictions).mean(0)
    torch.testing.assert_close(run.state["prior"].double(), mean, rtol=1e-6, atol=0)
    assert run.state["seen"].item() == 21

    rows = torch.arange(8)
    batch = Batch(rows, features[rows], problem.observed[rows])
    out = method.step(run, batch, Clock(1, 1, 2, 0, 6), Draw(0).at(1, 1, 0))
    logits = method.logits(run, batch.features)
    arrays = logits.double().numpy(), batch.observed.numpy()
    weights = selected_weights(*arrays, topk=0, prior=mean.numpy(), threshold=0.5)
    assert 0 < (weights == 0).sum() < (problem.observed[rows] == -1).sum()
    expected = partial_asymmetric_loss(
        logits, batch.observed, torch.from_numpy(weights), gamma_unknown=4.0
    )
    assert out.loss.item() == pytest.approx(expected.item() / logits.numel(), rel=1e-6)
    assert out.state == {}


def test_the_second_stage_starts_from_new_parameters(toy_problem):
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
    logits = method.logits(run, batch.features)
    weights = selective_weights(logits, batch.observed)
    expected = partial_asymmetric_loss(logits, batch.observed, weights, gamma_unknown=4.0)
    assert step.loss.item() == pytest.approx(expected.item() / logits.numel(), rel=1e-6)


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


def test_regimes_follow_the_meaning_of_unknown_labels():
    every = ("full", "pal", "ppl", "spl", "missing")
    assert PASL().regimes() == PASL(Hyper(mode="ignore-normalised")).regimes() == ("full", "pal")
    assert PASL(Hyper(mode="negative")).regimes() == every
    assert CSL().regimes() == ("pal",)
    assert CSL(CSLHyper(prior=False)).regimes() == every[1:]


def test_are_registered():
    assert (registry.get("p-asl"), registry.get("csl")) == (PASL, CSL)
