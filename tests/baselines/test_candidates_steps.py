"""Steps of the methods with a bank: loss, gradient, memory and state, against NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from baselines import solar_ml
from baselines.cc_pml import CCPML
from baselines.cdcr import CDCR
from baselines.cones_nsl import ConesNSL
from baselines.core import Batch, Clock, LabelTable, Oracle, Problem, Run
from baselines.pico_bank import PiCOBank
from baselines.proden_ml import ProdenML, corrections
from baselines.records_ml import RecordsML
from baselines.solar_ml import SoLarML
from benchkit.base.draw import Draw
from benchkit.runs.specs import hyper_of

IMAGES, FEATURES, CLASSES, BATCH = 30, 5, 6, 10
ROWS = torch.arange(BATCH) * 2
LATER = Clock(0, 4, 10, 1, 3)


def make_problem(seed: int = 0) -> Problem:
    """Candidates and unknown labels; image 0 has no candidate, nor has the last class."""
    draw = Draw(seed)
    level = draw.uniform("labels", IMAGES, CLASSES)
    observed = (level < torch.linspace(0.7, 0.3, CLASSES)).to(torch.int8)
    observed[level > 0.85] = -1
    observed[0], observed[:, -1] = 0, 0
    return Problem(LabelTable.of(observed), FEATURES, "candidates", 10, Oracle({}, ()))


def make(kind: Any, **values: Any) -> Any:
    options = {name: str(value) for name, value in values.items()}
    return kind(hyper_of(kind, options))


def start(method: Any, seed: int = 0) -> tuple[Run, Batch, Problem]:
    """A run in float64 with large weights and a bank that has moved, and a batch."""
    problem, draw = make_problem(seed), Draw(seed)
    run = method.setup(problem, draw.at(0, 0))
    for part in (run.params, run.state, run.memory, run.constants):
        part.update({k: v.double() for k, v in part.items() if v.is_floating_point()})
    run.params["head.weight"] = draw.normal("weights", FEATURES, CLASSES).double()
    if "bank" in run.memory:
        moved = run.memory["bank"] * (0.2 + draw.uniform("moved", IMAGES, CLASSES).double())
        run.memory["bank"] = moved / moved.sum(1, keepdim=True).clamp(min=1.0)
    features = draw.normal("features", IMAGES, FEATURES).double()[ROWS]
    return run, Batch(ROWS, features, problem.observed[ROWS]), problem


def head_logits(run: Run, features: np.ndarray) -> np.ndarray:
    return features @ run.params["head.weight"].numpy() + run.params["head.bias"].numpy()


def logits_and_candidates(run: Run, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    candidates = (batch.observed.numpy() != 0).astype(np.float64)
    return head_logits(run, batch.features.numpy()), candidates


def bank_of(run: Run) -> np.ndarray:
    """The bank's rows of the batch."""
    return run.memory["bank"].numpy()[ROWS]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def cross_entropy(logits, target):
    """-t log p - (1 - t) log(1 - p)."""
    probability = sigmoid(logits)
    return -target * np.log(probability) - (1 - target) * np.log(1 - probability)


def normalised(rows):
    return rows / np.where(rows.sum(1, keepdims=True) > 0, rows.sum(1, keepdims=True), 1)


def scaled_to_one(rows):
    """Every row over its greatest entry."""
    return rows / np.maximum(rows.max(1, keepdims=True), 1e-300)


def with_bias(features):
    """The features and a constant one: a gradient by the head is its transpose times one by z."""
    return np.hstack([features, np.ones((len(features), 1))])


def take(method: Any, run: Run, batch: Batch, clock: Clock = LATER) -> tuple[Any, np.ndarray]:
    """The step and its gradient by the head's weight and bias, stacked."""
    params = {name: value.clone().requires_grad_() for name, value in run.params.items()}
    step = method.step(replace(run, params=params), batch, clock, Draw(3).at(0, clock.epoch, 1))
    weight, bias = torch.autograd.grad(step.loss, [params["head.weight"], params["head.bias"]])
    return step, np.vstack([weight.numpy(), bias.numpy()])


@pytest.fixture
def check(assert_close: Callable[..., None]) -> Callable[..., Any]:
    """check(method, run, batch, value, gradient, clock, bank=...): loss, gradient, memory.

    `gradient` is by the logits of the batch.
    """

    def compare(method, run, batch, value, gradient, clock=LATER, **memory) -> Any:
        step, by_head = take(method, run, batch, clock)
        assert_close(step.loss, value, name="loss")
        expected = with_bias(batch.features.numpy()).T @ gradient
        assert_close(by_head, expected, name="gradient")
        assert set(step.memory) == set(memory)
        for name, rows in memory.items():
            assert_close(step.memory[name], rows, name=name)
        return step

    return compare


def test_a_correction_is_a_target_on_the_other_side_of_one_half():
    observed = torch.tensor([[1, 1, -1, -1, 0]])
    target = torch.tensor([[0.4, 0.6, 0.4, 0.6, 0.0]])
    assert corrections(observed, target).tolist() == [[True, False, False, True, False]]


# ----------------------------------------------------------------------------- PRODEN


def test_proden_em_moves_the_bank_and_trains_on_it(check):
    """Q <- (1 - mu) Q + mu s p / (p + rho (1 - p)), then BCE on Q."""
    method = make(ProdenML, bank_rate=0.3)
    run, batch, problem = start(method)
    logits, candidates = logits_and_candidates(run, batch)
    rho = (problem.observed != 0).float().mean(0).min().item()
    assert rho == run.constants["noise_rate"].item() == 0.0
    run.constants["noise_rate"] = torch.tensor(0.25, dtype=torch.float64)
    p = sigmoid(logits)
    bank = 0.7 * bank_of(run) + 0.3 * candidates * p / (p + 0.25 * (1 - p))
    value, gradient = cross_entropy(logits, bank).mean(), (p - bank) / logits.size
    step = check(method, run, batch, value, gradient, bank=bank)
    expected = corrections(batch.observed, torch.from_numpy(bank))
    assert torch.equal(step.corrected, expected)


def test_proden_em_moved_all_the_way_is_forward_correction(assert_close):
    method = make(ProdenML, bank_rate=1.0)
    run, batch, _ = start(method)
    run.constants["noise_rate"] = torch.tensor(0.25, dtype=torch.float64)
    em, forward = (take(each, run, batch)[1] for each in (method, CCPML()))
    assert_close(em, forward, 1e-12)


def test_proden_simplex_reads_the_bank_then_replaces_it(check):
    """-sum_c Q_c log softmax_c, then Q <- softmax over the candidates."""
    method = make(ProdenML, form="simplex")
    run, batch, problem = start(method)
    assert "noise_rate" not in run.constants
    first = method.setup(problem, Draw(0)).memory["bank"]
    np.testing.assert_allclose(first, normalised((problem.observed != 0).numpy() * 1.0), rtol=1e-6)
    run.memory["bank"] = first.double() ** 0.5
    logits, candidates = logits_and_candidates(run, batch)
    share, bank = np.exp(logits) / np.exp(logits).sum(1, keepdims=True), bank_of(run)
    value = -(bank * np.log(share)).sum() / BATCH
    gradient = (share * bank.sum(1, keepdims=True) - bank) / BATCH
    check(method, run, batch, value, gradient, bank=normalised(share * candidates))


# ----------------------------------------------------------------------------- PiCO, RECORDS


@pytest.mark.parametrize("epoch", [1, 4])
def test_pico_trains_on_the_bank_then_moves_it_to_the_guess(check, epoch):
    """BCE on Q, then Q <- m Q + (1 - m) 1[p > phi] s; phi is the mean of Q's nonzero entries."""
    method, clock = PiCOBank(), replace(LATER, epoch=epoch)
    run, batch, _ = start(method)
    logits, candidates = logits_and_candidates(run, batch)
    p, all_rows = sigmoid(logits), run.memory["bank"].numpy()
    nonzero = (all_rows != 0).sum(0)
    threshold = np.where(nonzero > 0, all_rows.sum(0) / np.maximum(nonzero, 1), 0)
    momentum = 0.95 - 0.15 * (epoch - 1) / 10
    guess = candidates * (p > threshold)
    assert 0 < guess.sum() < candidates.sum()
    bank = bank_of(run)
    value, gradient = cross_entropy(logits, bank).mean(), (p - bank) / logits.size
    moved = momentum * bank + (1 - momentum) * guess
    check(method, run, batch, value, gradient, clock, bank=moved)


def test_pico_starts_from_all_candidates_or_from_their_shares():
    observed = torch.tensor([[1, 0, -1], [1, 0, 0], [0, 0, 0]], dtype=torch.int8)
    problem = Problem(LabelTable.of(observed), FEATURES, "candidates", 3, Oracle({}, ()))
    for kind, first in (("ones", [1.0, 0.0, 1.0]), ("shares", [0.5, 0.0, 0.5])):
        bank = make(PiCOBank, start=kind).setup(problem, Draw(0).at(0, 0)).memory["bank"]
        assert bank.tolist() == [first, [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    assert PiCOBank().hyper.start == "ones"


@pytest.mark.parametrize("tau", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("epoch", [1, 4])
def test_records_takes_the_bias_out_of_the_labels(check, assert_close, tau, epoch):
    """Q <- s sigmoid(z - tau (log b - mean log b)), b = sigmoid(W h), h the mean feature."""
    method, clock = make(RecordsML, tau=tau), replace(LATER, epoch=epoch)
    run, batch, _ = start(method)
    logits, candidates = logits_and_candidates(run, batch)
    before = np.linspace(-1, 1, FEATURES)
    run.state["mean_feature"] = torch.from_numpy(before)
    mean_feature = 0.9 * before + 0.1 * batch.features.numpy().mean(0)
    log_bias = np.log(sigmoid(mean_feature @ run.params["head.weight"].numpy()))
    target = candidates if epoch == 1 else bank_of(run)
    moved = candidates * sigmoid(logits - tau * (log_bias - log_bias.mean()))
    value, gradient = cross_entropy(logits, target).mean(), (sigmoid(logits) - target) / logits.size
    step = check(method, run, batch, value, gradient, clock, bank=moved)
    assert_close(step.state["mean_feature"], mean_feature, 1e-12)


# ----------------------------------------------------------------------------- SoLar


def transport(kernel, prior, iterations):
    """Sinkhorn with two scaling vectors, diag(u) K diag(v); rows without mass are left out."""
    plan, filled = np.zeros_like(kernel), kernel.sum(1) > 0
    rows, row_scale = kernel[filled], np.ones(filled.sum())
    for _ in range(iterations):
        column_scale = prior / np.maximum(rows.T @ row_scale, 1e-300)
        row_scale = 1 / (rows @ column_scale)
    plan[filled] = row_scale[:, None] * rows * column_scale
    return plan


def test_transport(uniform, assert_close):
    kernel = uniform("kernel", (12, 4)) ** 3 * (uniform("mask", (12, 4)) < 0.7)
    kernel[:, :1] = np.maximum(kernel[:, :1], 0.1)
    kernel[3] = 0
    prior = np.array([0.4, 0.3, 0.2, 0.1])
    for iterations in (1, 3, 50):
        plan = solar_ml.sinkhorn(torch.from_numpy(kernel), torch.from_numpy(prior), iterations)
        assert_close(plan, transport(kernel, prior, iterations))
    plan, filled = plan.numpy(), kernel.sum(1) > 0
    np.testing.assert_allclose(plan.sum(1), filled)
    np.testing.assert_allclose(plan.sum(0) / filled.sum(), prior, rtol=1e-3)
    assert not plan[kernel == 0].any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_unlikely_classes_are_not_lost_to_the_power(uniform, assert_close, dtype):
    shares = uniform("table", (12, 4), 0.1, 1) * np.array([1, 1, 1e-3, 1e-15])
    prior = np.array([0.4, 0.3, 0.2, 0.1])
    sharp = solar_ml.sharpened(torch.from_numpy(shares).to(dtype), 3.0)
    plan = solar_ml.sinkhorn(sharp, torch.from_numpy(prior).to(dtype), 50)
    assert_close(plan, transport(shares**3, prior, 50))


def test_an_impossible_transport_stays_finite():
    kernel = torch.eye(3)[[0, 0, 0, 0, 0, 0, 1]] * 1e-30  # no image for the third class
    plan = solar_ml.sinkhorn(kernel, torch.tensor([0.01, 0.01, 0.98]), 500)
    torch.testing.assert_close(plan, (kernel > 0).float(), rtol=1e-6, atol=0)


def small_loss_images(scores, target, prior, epoch):
    """Of each class the ceil(r_c B rho) images of smallest loss among those with q_c > 1/2."""
    images: set[int] = set()
    for c in range(CLASSES):
        members = np.flatnonzero(target[:, c] > 0.5)
        quota = int(np.ceil(prior[c] * BATCH * (0.2 + 0.4 * epoch / 10)))
        count = max(1, min(quota, len(members)))
        images |= set(members[np.argsort(scores[members])][:count].tolist())
    return images


def solar_reference(run, batch, epoch, draw):
    """Loss, gradient by the head, selected images and the table of predictions.

    L = eta (BCE of the selected images + BCE of their mixtures) + (1 - eta) BCE of the others on
    the bank, eta = 0.9 epoch / 10. Targets are the transport of the predictions, q / max q.
    """
    features, (logits, candidates) = batch.features.numpy(), logits_and_candidates(run, batch)
    prior = run.state["prior"].numpy()
    predictions = normalised(np.exp(logits) * candidates)
    table = np.vstack([predictions, run.state["queue"].numpy()])
    plan = transport(table**3, prior, 50)[:BATCH]
    target, bank_target = scaled_to_one(plan), scaled_to_one(bank_of(run))
    selected = set(np.flatnonzero((plan * predictions).sum(1) > 0.99).tolist())
    scores = cross_entropy(logits, target).mean(1)
    selected |= small_loss_images(scores, target, prior, epoch)
    first = sorted(selected)
    second = [i for i in draw.permutation("solar/pairs", BATCH).tolist() if i in selected]
    share = np.sort(draw.uniform("solar/share", 7).numpy())[3]
    share = np.float64(max(share, 1 - share))
    mixed_features = share * features[first] + (1 - share) * features[second]
    mixed_target = share * target[first] + (1 - share) * target[second]
    rest, weight = sorted(set(range(BATCH)) - selected), 0.9 * epoch / 10
    parts = [  # weight, features, targets
        (weight, features[first], target[first]),
        (weight, mixed_features, mixed_target),
        (1 - weight, features[rest], bank_target[rest]),
    ]
    value, gradient = 0.0, 0.0
    for factor, inputs, labels in parts:
        z = head_logits(run, inputs)
        value += factor * cross_entropy(z, labels).mean()
        gradient = gradient + factor * with_bias(inputs).T @ (sigmoid(z) - labels) / labels.size
    return value, gradient, selected, table


def solar_run(method):
    """A run whose queue is partly filled and whose prior is not uniform."""
    run, batch, problem = start(method)
    draw = Draw(9)
    queue = draw.uniform("queue", 16, CLASSES).double()
    queue[:, -1], queue[12:] = 0, 0  # the end of the queue is still empty
    run.state["queue"] = queue / queue.sum(1, keepdim=True).clamp(min=1e-9)
    run.state["prior"] = torch.softmax(draw.normal("prior", CLASSES).double(), 0)
    return run, batch, problem


def test_solar_is_the_sum_of_its_parts(assert_close):
    method = make(SoLarML, queue=16)
    run, batch, _ = solar_run(method)
    value, gradient, selected, table = solar_reference(run, batch, 3, Draw(3).at(0, 4, 1))
    assert 1 < len(selected) < BATCH
    step, by_head = take(method, run, batch)
    assert_close(step.loss, value)
    assert_close(by_head, gradient)
    assert_close(step.state["queue"], table[:16])
    assert_close(step.memory["bank"], table[:BATCH])


def test_solar_trains_on_the_bank_in_the_first_epoch_and_where_nothing_is_chosen(check):
    method = make(SoLarML, queue=16)
    run, batch, _ = solar_run(method)
    logits, candidates = logits_and_candidates(run, batch)
    target = scaled_to_one(bank_of(run))
    value, gradient = cross_entropy(logits, target).mean(), (sigmoid(logits) - target) / logits.size
    clock, predictions = replace(LATER, epoch=1), normalised(np.exp(logits) * candidates)
    check(method, run, batch, value, gradient, clock, bank=predictions)

    empty = replace(batch, observed=torch.zeros_like(batch.observed))
    check(method, run, empty, value, gradient, bank=np.zeros_like(predictions))


def test_solar_prior_follows_the_labels_of_the_predictions(assert_close):
    method = make(SoLarML, queue=16)
    run, _, problem = solar_run(method)
    features = Draw(4).normal("all", IMAGES, FEATURES).double()
    logits = features.numpy() @ run.params["head.weight"].numpy()
    share = normalised(np.exp(logits) * (problem.observed.numpy() != 0))
    counts = ((share > 0.5 * share.max(1, keepdims=True)) & (share > 0)).sum(0)
    before = run.state["prior"].numpy()
    first = method.epoch_start(run, problem, features, replace(LATER, epoch=1), Draw(0))
    np.testing.assert_array_equal(first.state["prior"], before)
    later = method.epoch_start(run, problem, features, LATER, Draw(0))
    assert_close(later.state["prior"], 0.99 * before + 0.01 * counts / counts.sum())
    faster = make(SoLarML, queue=16, prior_rate=0.5)
    later = faster.epoch_start(run, problem, features, LATER, Draw(0))
    assert_close(later.state["prior"], 0.5 * before + 0.5 * counts / counts.sum())
    assert counts.sum() > (share > 0).any(1).sum()  # some images have more than one label


# ----------------------------------------------------------------------------- CDCR, CoNeS


@pytest.mark.parametrize("rule", ["threshold", "difference"])
def test_cdcr_weighs_by_the_predictions_before_the_epoch(check, rule):
    """w = 1[p >= 0.5] on candidates, or 1[p - m_c >= 0.5 - m]; 1 elsewhere."""
    method = make(CDCR, rule=rule, threshold=0.5)
    run, batch, problem = start(method)
    everything = Draw(4).normal("all", IMAGES, FEATURES).double()
    warm = method.epoch_start(run, problem, everything, replace(LATER, epoch=2), Draw(0))
    assert warm.memory["weights"].eq(1).all()
    run = method.epoch_start(run, problem, everything, replace(LATER, epoch=3), Draw(0))
    is_candidate = problem.observed.numpy() != 0
    p = sigmoid(everything.numpy() @ run.params["head.weight"].numpy())
    threshold = np.full(CLASSES, 0.5)
    if rule == "difference":
        for c in np.flatnonzero(is_candidate.any(0)):
            threshold[c] += p[is_candidate[:, c], c].mean()
        threshold -= p[is_candidate].mean()
    all_weights = np.where(is_candidate, p >= threshold, 1.0)
    np.testing.assert_array_equal(run.memory["weights"], all_weights)
    logits, candidates = logits_and_candidates(run, batch)
    weights = all_weights[ROWS]
    assert 0 < weights[candidates == 1].sum() < candidates.sum()
    value = (weights * cross_entropy(logits, candidates)).mean()
    gradient = weights * (sigmoid(logits) - candidates) / logits.size
    check(method, run, batch, value, gradient)


@pytest.mark.parametrize("exponent", [2.0, 3.0])
def test_cones_moves_the_bank_then_trains_on_candidates_and_on_believed_labels(check, exponent):
    """BCE(z, s) + 0.3 a BCE(z, t), t = 1[Q > 1 / |S|], Q <- 0.8 Q + 0.2 norm(s (p C)).

    a = 1 on candidates and (g / sum_j g_j)^(1 / (r - 1)) / (C - |S|) on the others,
    g = 1 / (-r log(1 - p) + 1e-8).
    """
    method = make(ConesNSL, exponent=exponent, bank_rate=0.2, weight=0.3)
    run, batch, _ = start(method)
    logits, candidates = logits_and_candidates(run, batch)
    p = sigmoid(logits)
    spread = normalised((p @ run.constants["correlation"].numpy()) * candidates)
    bank = 0.8 * bank_of(run) + 0.2 * spread
    sizes = candidates.sum(1, keepdims=True)
    believed = (bank > 1 / np.maximum(sizes, 1)).astype(np.float64)
    assert 0 < believed.sum() < candidates.sum()
    g = (1 - candidates) / (-exponent * np.log(1 - p) + 1e-8)
    share = (g / g.sum(1, keepdims=True)) ** (1 / (exponent - 1))
    weights = np.where(candidates == 1, 1.0, share / (CLASSES - sizes))
    believed_terms = weights * cross_entropy(logits, believed)
    value = cross_entropy(logits, candidates).mean() + 0.3 * believed_terms.mean()
    gradient = ((p - candidates) + 0.3 * weights * (p - believed)) / logits.size
    step = check(method, run, batch, value, gradient, bank=bank)
    assert torch.equal(step.corrected, corrections(batch.observed, torch.from_numpy(believed)))


def test_cones_believes_nothing_before_the_bank_moves():
    method = make(ConesNSL, bank_rate=0.0)
    problem = make_problem()
    run = method.setup(problem, Draw(0))
    batch = Batch(ROWS, torch.zeros(BATCH, FEATURES), problem.observed[ROWS])
    step = method.step(run, batch, LATER, Draw(0))
    assert torch.equal(step.corrected, batch.observed == 1)
