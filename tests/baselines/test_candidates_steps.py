"""Steps of methods with a bank: loss, gradient and what is written, against independent NumPy."""

from __future__ import annotations

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
from baselines.core.hyperparameters import parse
from baselines.pico_bank import PiCOBank
from baselines.proden_ml import ProdenML, corrections
from baselines.records_ml import RecordsML
from baselines.solar_ml import SoLarML
from benchkit.base.draw import Draw

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
    return kind(parse(kind.info.key, kind.Hyper, {k: str(v) for k, v in values.items()}))


def start(method: Any, seed: int = 0) -> tuple[Run, Batch, Problem]:
    """A run in float64 with weights of some size and a bank that has moved, and a batch."""
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


def arrays(run: Run, batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, logits and candidates of the batch."""
    x = batch.features.numpy()
    z = x @ run.params["head.weight"].numpy() + run.params["head.bias"].numpy()
    return x, z, (batch.observed.numpy() != 0).astype(np.float64)


def bank_of(run: Run) -> np.ndarray:
    return run.memory["bank"].numpy()


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def cross_entropy(z, target):
    p = sigmoid(z)
    return -target * np.log(p) - (1 - target) * np.log(1 - p)


def normalised(rows):
    return rows / np.where(rows.sum(1, keepdims=True) > 0, rows.sum(1, keepdims=True), 1)


def take(method: Any, run: Run, batch: Batch, clock: Clock = LATER) -> tuple[Any, np.ndarray]:
    """The step and its gradient by the head's bias and weight, stacked."""
    params = {k: v.clone().requires_grad_() for k, v in run.params.items()}
    step = method.step(replace(run, params=params), batch, clock, Draw(3).at(0, clock.epoch, 1))
    weight, bias = torch.autograd.grad(step.loss, [params["head.weight"], params["head.bias"]])
    return step, np.vstack([weight.numpy(), bias.numpy()])


def check(method, run, batch, value, slope, clock=LATER, **written) -> Any:
    """Loss, gradient (`slope` is by the logits) and memory, to 1e-9."""
    step, gradient = take(method, run, batch, clock)
    assert step.loss.item() == pytest.approx(value, rel=1e-9)
    x = np.hstack([batch.features.numpy(), np.ones((len(batch.rows), 1))])
    np.testing.assert_allclose(gradient, x.T @ slope, rtol=1e-9, atol=1e-10)
    assert set(step.memory) == set(written)
    for name, rows in written.items():
        np.testing.assert_allclose(step.memory[name], rows, rtol=1e-9, atol=1e-12)
    return step


def test_corrections_are_what_contradicts_a_label():
    observed = torch.tensor([[1, 1, -1, -1, 0]])
    target = torch.tensor([[0.4, 0.6, 0.4, 0.6, 0.0]])
    assert corrections(observed, target).tolist() == [[True, False, False, True, False]]


# ----------------------------------------------------------------------------- PRODEN


def test_proden_em_moves_the_bank_and_trains_on_it():
    method = make(ProdenML, bank_rate=0.3)
    run, batch, problem = start(method)
    _, z, s = arrays(run, batch)
    rho = (problem.observed != 0).float().mean(0).min().item()
    assert rho == run.constants["noise_rate"].item() == 0.0
    run.constants["noise_rate"] = torch.tensor(0.25, dtype=torch.float64)
    p = sigmoid(z)
    bank = 0.7 * bank_of(run)[ROWS] + 0.3 * s * p / (p + 0.25 * (1 - p))
    value, slope = cross_entropy(z, bank).mean(), (p - bank) / z.size
    step = check(method, run, batch, value, slope, bank=bank)
    expected = corrections(batch.observed, torch.from_numpy(bank))
    assert torch.equal(step.corrected, expected)


def test_proden_em_moved_all_the_way_is_forward_correction():
    method = make(ProdenML, bank_rate=1.0)
    run, batch, _ = start(method)
    run.constants["noise_rate"] = torch.tensor(0.25, dtype=torch.float64)
    np.testing.assert_allclose(
        take(method, run, batch)[1], take(CCPML(), run, batch)[1], rtol=1e-12, atol=1e-15
    )


def test_proden_simplex_reads_the_bank_then_replaces_it():
    method = make(ProdenML, form="simplex")
    run, batch, problem = start(method)
    assert "noise_rate" not in run.constants
    first = method.setup(problem, Draw(0)).memory["bank"]
    np.testing.assert_allclose(first, normalised((problem.observed != 0).numpy() * 1.0), rtol=1e-6)
    run.memory["bank"] = first.double() ** 0.5
    _, z, s = arrays(run, batch)
    share, rows = np.exp(z) / np.exp(z).sum(1, keepdims=True), bank_of(run)[ROWS]
    value = -(rows * np.log(share)).sum() / BATCH
    slope = (share * rows.sum(1, keepdims=True) - rows) / BATCH
    check(method, run, batch, value, slope, bank=normalised(share * s))


# ----------------------------------------------------------------------------- PiCO, RECORDS


@pytest.mark.parametrize("epoch", [1, 4])
def test_pico_trains_on_the_bank_then_moves_it_to_the_guess(epoch):
    method, clock = PiCOBank(), replace(LATER, epoch=epoch)
    run, batch, _ = start(method)
    _, z, s = arrays(run, batch)
    bank, p = bank_of(run), sigmoid(z)
    used = (bank != 0).sum(0)
    threshold = np.where(used > 0, bank.sum(0) / np.maximum(used, 1), 0)
    keep = 0.95 - 0.15 * (epoch - 1) / 10
    guess = s * (p > threshold)
    assert 0 < guess.sum() < s.sum()
    rows = bank[ROWS]
    value, slope = cross_entropy(z, rows).mean(), (p - rows) / z.size
    check(method, run, batch, value, slope, clock, bank=keep * rows + (1 - keep) * guess)


@pytest.mark.parametrize("tau", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("epoch", [1, 4])
def test_records_takes_the_bias_out_of_the_labels(tau, epoch):
    method, clock = make(RecordsML, tau=tau), replace(LATER, epoch=epoch)
    run, batch, _ = start(method)
    x, z, s = arrays(run, batch)
    before = np.linspace(-1, 1, FEATURES)
    run.state["mean_feature"] = torch.from_numpy(before)
    mean = 0.9 * before + 0.1 * x.mean(0)
    level = np.log(sigmoid(mean @ run.params["head.weight"].numpy()))
    target = s if epoch == 1 else bank_of(run)[ROWS]
    fresh = s * sigmoid(z - tau * (level - level.mean()))
    value, slope = cross_entropy(z, target).mean(), (sigmoid(z) - target) / z.size
    step = check(method, run, batch, value, slope, clock, bank=fresh)
    np.testing.assert_allclose(step.state["mean_feature"], mean, rtol=1e-12)


# ----------------------------------------------------------------------------- SoLar


def scaled(kernel, prior, iterations):
    """Sinkhorn in its usual form, two scaling vectors, rows without mass taken out."""
    full = np.zeros_like(kernel)
    inside = kernel.sum(1) > 0
    k, rows = kernel[inside], np.ones(inside.sum())
    for _ in range(iterations):
        columns = prior / np.maximum(k.T @ rows, 1e-300)
        rows = 1 / (k @ columns)
    full[inside] = rows[:, None] * k * columns
    return full


def test_transport(uniform):
    kernel = uniform("kernel", (12, 4)) ** 3 * (uniform("mask", (12, 4)) < 0.7)
    kernel[3], kernel[:, :1] = 0, np.maximum(kernel[:, :1], 0.1)
    kernel[3] = 0
    prior = np.array([0.4, 0.3, 0.2, 0.1])
    given = torch.from_numpy(kernel), torch.from_numpy(prior)
    for iterations in (1, 3, 50):
        plan = solar_ml.sinkhorn(*given, iterations).numpy()
        np.testing.assert_allclose(plan, scaled(kernel, prior, iterations), rtol=1e-9, atol=1e-15)
    filled = kernel.sum(1) > 0
    np.testing.assert_allclose(plan.sum(1), filled)
    np.testing.assert_allclose(plan.sum(0) / filled.sum(), prior, rtol=1e-3)
    assert not plan[kernel == 0].any()


def test_unlikely_classes_are_not_lost_to_the_power(uniform):
    table = torch.from_numpy(uniform("table", (12, 4), 0.1, 1)) * torch.tensor([1, 1, 1e-3, 1e-15])
    prior = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    exact = torch.from_numpy(scaled(table.numpy() ** 3, prior.numpy(), 50))
    for dtype, slack in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
        plan = solar_ml.sinkhorn(solar_ml.sharpened(table.to(dtype), 3.0), prior.to(dtype), 50)
        torch.testing.assert_close(plan.double(), exact, rtol=slack, atol=slack)


def test_transport_that_cannot_be_stays_finite():
    kernel = torch.eye(3)[[0, 0, 0, 0, 0, 0, 1]] * 1e-30  # no image for the third class
    plan = solar_ml.sinkhorn(kernel, torch.tensor([0.01, 0.01, 0.98]), 500)
    torch.testing.assert_close(plan, (kernel > 0).float())


def solar_reference(run, batch, epoch, draw):
    """Loss, gradient, choice and predictions of a later epoch as the equations say."""
    x, z, s = arrays(run, batch)
    bank, prior = bank_of(run)[ROWS], run.state["prior"].numpy()
    seen = normalised(np.exp(z) * s)
    table = np.vstack([seen, run.state["queue"].numpy()])
    plan = scaled(table**3, prior, 50)[:BATCH]
    target, before = (q / np.maximum(q.max(1, keepdims=True), 1e-300) for q in (plan, bank))
    scores = cross_entropy(z, target).mean(1)
    chosen = set(np.flatnonzero((plan * seen).sum(1) > 0.99).tolist())
    for k in range(CLASSES):
        members = np.flatnonzero(target[:, k] > 0.5)
        wanted = int(np.ceil(prior[k] * BATCH * (0.2 + 0.4 * epoch / 10)))
        count = max(1, min(wanted, len(members)))
        chosen |= set(members[np.argsort(scores[members])][:count].tolist())
    first = sorted(chosen)
    second = [i for i in draw.permutation("solar/pairs", BATCH).tolist() if i in chosen]
    share = np.sort(draw.uniform("solar/share", 7).numpy())[3]
    share = np.float64(max(share, 1 - share))
    rest, weight = sorted(set(range(BATCH)) - chosen), 0.9 * epoch / 10
    mixed = share * x[first] + (1 - share) * x[second]
    parts = [  # weight, features, targets
        (weight, x[first], target[first]),
        (weight, mixed, share * target[first] + (1 - share) * target[second]),
        (1 - weight, x[rest], before[rest]),
    ]
    value, gradient = 0.0, 0.0
    for factor, inputs, labels in parts:
        logits = inputs @ run.params["head.weight"].numpy() + run.params["head.bias"].numpy()
        value += factor * cross_entropy(logits, labels).mean()
        wide = np.hstack([inputs, np.ones((len(inputs), 1))])
        gradient = gradient + factor * wide.T @ (sigmoid(logits) - labels) / labels.size
    return value, gradient, chosen, table


def solar_run(method):
    """A run whose queue is partly filled and whose prior is not even."""
    run, batch, problem = start(method)
    draw = Draw(9)
    queue = draw.uniform("queue", 16, CLASSES).double()
    queue[:, -1], queue[12:] = 0, 0  # the end of the queue is still empty
    run.state["queue"] = queue / queue.sum(1, keepdim=True).clamp(min=1e-9)
    run.state["prior"] = torch.softmax(draw.normal("prior", CLASSES).double(), 0)
    return run, batch, problem


def test_solar_is_the_sum_of_its_parts():
    method = make(SoLarML, queue=16)
    run, batch, _ = solar_run(method)
    value, slope, chosen, table = solar_reference(run, batch, 3, Draw(3).at(0, 4, 1))
    assert 1 < len(chosen) < BATCH
    step, gradient = take(method, run, batch)
    assert step.loss.item() == pytest.approx(value, rel=1e-9)
    np.testing.assert_allclose(gradient, slope, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(step.state["queue"], table[:16], rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(step.memory["bank"], table[:BATCH], rtol=1e-9, atol=1e-15)


def test_solar_trains_on_the_bank_in_the_first_epoch_and_where_nothing_is_chosen():
    method = make(SoLarML, queue=16)
    run, batch, _ = solar_run(method)
    _, z, s = arrays(run, batch)
    rows = bank_of(run)[ROWS]
    before = rows / np.maximum(rows.max(1, keepdims=True), 1e-300)
    value, slope = cross_entropy(z, before).mean(), (sigmoid(z) - before) / z.size
    clock = replace(LATER, epoch=1)
    check(method, run, batch, value, slope, clock, bank=normalised(np.exp(z) * s))

    empty = replace(batch, observed=torch.zeros_like(batch.observed))
    check(method, run, empty, value, slope, bank=np.zeros_like(rows))


def test_solar_prior_follows_the_labels_of_the_predictions():
    method = make(SoLarML, queue=16)
    run, _, problem = solar_run(method)
    features = Draw(4).normal("all", IMAGES, FEATURES).double()
    z = features.numpy() @ run.params["head.weight"].numpy()
    share = normalised(np.exp(z) * (problem.observed.numpy() != 0))
    counts = ((share > 0.5 * share.max(1, keepdims=True)) & (share > 0)).sum(0)
    before = run.state["prior"].numpy()
    given = problem, features
    unmoved = method.epoch_start(run, *given, replace(LATER, epoch=1), Draw(0))
    np.testing.assert_array_equal(unmoved.state["prior"], before)
    moved = method.epoch_start(run, *given, LATER, Draw(0)).state["prior"]
    np.testing.assert_allclose(moved, 0.9 * before + 0.1 * counts / counts.sum(), rtol=1e-9)
    assert counts.sum() > (share > 0).any(1).sum()  # some images have more than one label


# ----------------------------------------------------------------------------- CDCR, CoNeS


@pytest.mark.parametrize("rule", ["threshold", "difference"])
def test_cdcr_weighs_by_the_predictions_before_the_epoch(rule):
    method = make(CDCR, rule=rule, threshold=0.5)
    run, batch, problem = start(method)
    everything = Draw(4).normal("all", IMAGES, FEATURES).double()
    warm = method.epoch_start(run, problem, everything, replace(LATER, epoch=2), Draw(0))
    assert warm.memory["weights"].eq(1).all()
    run = method.epoch_start(run, problem, everything, replace(LATER, epoch=3), Draw(0))
    s = problem.observed.numpy() != 0
    p = sigmoid(everything.numpy() @ run.params["head.weight"].numpy())
    least = np.full(CLASSES, 0.5)
    if rule == "difference":
        least += [p[s[:, k], k].mean() if s[:, k].any() else 0 for k in range(CLASSES)]
        least -= p[s].mean()
    weights = np.where(s, p >= least, 1.0)
    np.testing.assert_array_equal(run.memory["weights"], weights)
    _, z, s = arrays(run, batch)
    w = weights[ROWS]
    assert 0 < w[s == 1].sum() < s.sum()
    check(method, run, batch, (w * cross_entropy(z, s)).mean(), w * (sigmoid(z) - s) / z.size)


@pytest.mark.parametrize("r", [2.0, 3.0])
def test_cones_moves_the_bank_then_trains_on_candidates_and_on_believed_labels(r):
    method = make(ConesNSL, exponent=r, bank_rate=0.2, weight=0.3)
    run, batch, _ = start(method)
    _, z, s = arrays(run, batch)
    p = sigmoid(z)
    spread = normalised((p @ run.constants["correlation"].numpy()) * s)
    bank = 0.8 * bank_of(run)[ROWS] + 0.2 * spread
    size = s.sum(1, keepdims=True)
    believed = (bank > 1 / np.maximum(size, 1)).astype(np.float64)
    assert 0 < believed.sum() < s.sum()
    g = (1 - s) / (-r * np.log(1 - p) + 1e-8)
    share = (g / g.sum(1, keepdims=True)) ** (1 / (r - 1))
    a = np.where(s == 1, 1.0, share / (CLASSES - size))
    value = cross_entropy(z, s).mean() + 0.3 * (a * cross_entropy(z, believed)).mean()
    slope = ((p - s) + 0.3 * a * (p - believed)) / z.size
    step = check(method, run, batch, value, slope, bank=bank)
    assert torch.equal(step.corrected, corrections(batch.observed, torch.from_numpy(believed)))


def test_cones_believes_nothing_before_the_bank_moves():
    method = make(ConesNSL, bank_rate=0.0)
    problem = make_problem()
    run = method.setup(problem, Draw(0))
    batch = Batch(ROWS, torch.zeros(BATCH, FEATURES), problem.observed[ROWS])
    step = method.step(run, batch, LATER, Draw(0))
    assert torch.equal(step.corrected, batch.observed == 1)
