"""Distribution-balanced loss: the authors' numbers, an independent implementation, identities."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from baselines.bce import bce
from baselines.core import ClassAware, Clock, LabelTable, MethodError, Shuffle, registry
from baselines.db_focal import (
    DBFocal,
    Hyper,
    class_bias,
    distribution_balanced_loss,
    rebalanced_weight,
)
from benchkit.base.draw import Draw

VOC = dict(alpha=0.1, beta=10.0, mu=0.3, neg_scale=5.0, kappa=0.05)
FILES = (
    "lt_bce",
    "lt_focal_resample",
    "lt_rbce__voc",
    "lt_ntr__voc",
    "lt_db__voc",
    "lt_db_focal__voc",
    "lt_db_focal__empty_row",
    "lt_db_focal_paperbias__voc",
)


def options_of(case):
    """The authors' configuration in our words."""
    given, regularisation = case["hyper"], case["hyper"]["logit_reg"]
    mapping = given.get("map_param", {})
    return dict(
        alpha=mapping.get("alpha", 0.0),
        beta=mapping.get("beta", 0.0),
        mu=mapping.get("gamma", 0.0),
        neg_scale=regularisation.get("neg_scale", 1.0),
        kappa=regularisation.get("init_bias", 0.0),
        focal=given["focal"]["focal"],
        gamma=given["focal"]["gamma"],
        balance=given["focal"]["balance_param"],
        rebalance=given["reweight_func"] == "rebalance",
        regularise=bool(regularisation),
    )


@pytest.mark.parametrize("name", FILES)
def test_equals_the_authors_code(vectors, assert_matches, name):
    case = vectors(name)
    fixed = torch.tensor(case["targets"]), torch.tensor(case["class_freq"]), case["train_num"]
    options = options_of(case)
    assert_matches(
        lambda z: distribution_balanced_loss(z, *fixed, **options, reduction="mean"),
        case["logits"],
        case["loss"],
        case["grad_logits"],
    )
    logits = torch.tensor(case["logits"], dtype=torch.float64)
    torch.testing.assert_close(
        distribution_balanced_loss(logits, *fixed, **options),
        torch.tensor(case["loss_elements"], dtype=torch.float64),
        rtol=1e-9,
        atol=1e-9,
    )


def test_bias_of_the_paper(vectors, assert_matches):
    case = vectors("lt_db_focal_paperbias__voc")
    options = options_of(case) | dict(kappa=0.05, bias="paper", reduction="mean")
    fixed = torch.tensor(case["targets"]), torch.tensor(case["class_freq"]), case["train_num"]
    assert_matches(
        lambda z: distribution_balanced_loss(z, *fixed, **options),
        case["logits"],
        case["loss"],
        case["grad_logits"],
    )


def reference(z, y, n, total, o):
    """The equations, entry by entry, for hard or soft targets."""
    loss = 0.0
    for i, c in np.ndindex(z.shape):
        weight, logit = 1.0, z[i, c]
        if o["rebalance"]:
            repeat = sum(y[i, j] / n[j] for j in range(len(n)))
            ratio = 1 / n[c] / repeat if repeat > 0 else np.inf
            weight = o["alpha"] + 1 / (1 + np.exp(-o["beta"] * (ratio - o["mu"])))
        if o["regularise"]:
            strength = o["kappa"] / (o["neg_scale"] if o["bias"] == "code" else 1)
            logit -= strength * np.log(total / n[c] - 1)
            logit *= (1 - y[i, c]) * o["neg_scale"] + y[i, c]
            weight *= (1 - y[i, c]) / o["neg_scale"] + y[i, c]
        entropy = np.log1p(np.exp(logit)) - y[i, c] * logit
        focal = o["balance"] * (1 - np.exp(-entropy)) ** o["gamma"] if o["focal"] else 1.0
        loss += focal * weight * entropy
    return loss / z.size


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(
    "changes",
    [
        dict(),
        dict(alpha=0.4, beta=3.0, mu=0.7, neg_scale=2.0, kappa=0.3, gamma=1.3, balance=0.7),
        dict(bias="paper", gamma=0.5, neg_scale=0.5),
        dict(rebalance=False, gamma=0.0),
        dict(regularise=False, beta=20.0),
        dict(focal=False, kappa=1.0, bias="paper"),
    ],
)
def test_numpy_reference(uniform, assert_reference, changes, soft):
    options = VOC | dict(bias="code", focal=True, gamma=2.0, balance=2.0) | changes
    options = dict(rebalance=True, regularise=True) | options
    target = uniform("target", (4, 5))
    target = target if soft else (target < 0.4).astype(float)
    target[-1] = 0.0
    counts = np.array([1.0, 90.0, 7.0, 33.0, 60.0])
    fixed = torch.from_numpy(target), torch.from_numpy(counts), 100
    assert_reference(
        lambda z: distribution_balanced_loss(z, *fixed, **options, reduction="mean"),
        lambda z: reference(z, target, counts, 100, options),
        uniform("logits", (4, 5), -4, 4),
    )


def test_without_its_parts_it_is_bce(uniform):
    z = torch.from_numpy(uniform("logits", (4, 5), -8, 8))
    y = torch.from_numpy(uniform("target", (4, 5)))
    counts = torch.tensor([1, 90, 7, 33, 60])
    off = dict(rebalance=False, regularise=False, reduction="mean")

    plain = distribution_balanced_loss(z, y, counts, 100, **VOC, **off, focal=False)
    torch.testing.assert_close(plain, bce(z, y), rtol=1e-12, atol=0)
    focal = distribution_balanced_loss(z, y, counts, 100, **VOC, **off, gamma=0.0, balance=1.0)
    torch.testing.assert_close(focal, bce(z, y), rtol=1e-12, atol=0)
    neutral = VOC | dict(alpha=0.5, beta=0.0, neg_scale=1.0, kappa=0.0)
    full = distribution_balanced_loss(z, y, counts, 100, **neutral, focal=False, reduction="mean")
    torch.testing.assert_close(full, bce(z, y), rtol=1e-12, atol=0)


def test_hard_targets_are_the_two_branches_of_the_paper(uniform):
    z = torch.from_numpy(uniform("logits", (4, 5), -4, 4))
    y = torch.from_numpy(uniform("target", (4, 5)) < 0.4)
    counts = torch.tensor([1.0, 90.0, 7.0, 33.0, 60.0], dtype=torch.float64)
    got = distribution_balanced_loss(z, y, counts, 100, **VOC)

    w = rebalanced_weight(y.double(), counts, alpha=0.1, beta=10.0, mu=0.3)
    shifted = z - 0.05 / 5 * torch.log(100 / counts - 1)
    p, q = torch.sigmoid(shifted), torch.sigmoid(5 * shifted)
    positive = 2 * w * (1 - p) ** 2 * -torch.log(p)
    negative = 2 * w / 5 * q**2 * -torch.log(1 - q)
    torch.testing.assert_close(got, torch.where(y, positive, negative), rtol=1e-11, atol=1e-13)


def test_weight_worked_by_hand():
    counts = torch.tensor([10, 40])
    target = torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    weight = rebalanced_weight(target, counts, alpha=0.1, beta=10.0, mu=0.3)
    # ratios: 0.1 / 0.125 and 0.025 / 0.125; 0.1 / 0.025 and 1; infinite
    ratio = torch.tensor([[0.8, 0.2], [4.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(weight[:2], 0.1 + torch.sigmoid(10 * (ratio - 0.3)))
    assert weight[2].tolist() == [1.1, 1.1]


def test_bias_pushes_rare_classes_down_and_is_finite_at_the_ends():
    counts = torch.tensor([0, 1, 50, 99, 100])
    bias = class_bias(counts, 100, 0.05, 5.0)
    expected = 0.01 * np.log(99)
    assert bias.tolist() == pytest.approx(
        [-expected, -expected, 0, expected, expected + 1e-4], 1e-2
    )
    paper = class_bias(counts, 100, 0.05, 5.0, "paper")
    torch.testing.assert_close(paper, 5 * bias)
    with pytest.raises(ValueError, match="bias is 'book'"):
        class_bias(counts, 100, 0.05, 5.0, "book")
    with pytest.raises(ValueError, match="reduction is 'median'"):
        distribution_balanced_loss(
            torch.zeros(1, 5), torch.zeros(1, 5), counts, 100, **VOC, reduction="median"
        )


@pytest.mark.parametrize("gamma", [0.0, 0.1, 0.5, 2.0])
@pytest.mark.parametrize("counts", [[0, 3, 1, 0], [3, 0, 0, 3]])
def test_finite_in_float32(assert_finite, gamma, counts):
    for bias in ("code", "paper"):
        assert_finite(
            lambda z, observed, bias=bias: distribution_balanced_loss(
                z, observed == 1, torch.tensor(counts), 3, **VOC, gamma=gamma, bias=bias
            )
        )


def test_method_is_the_mean_with_observed_counts(toy_problem, first_step):
    problem = toy_problem(1)
    method = DBFocal(Hyper(mu=0.2, neg_scale=2.0))
    run, batch, step = first_step(method, problem)
    counts = (problem.observed == 1).sum(0)
    expected = distribution_balanced_loss(
        method.logits(run, batch.features),
        batch.observed == 1,
        counts,
        problem.num_images,
        **(VOC | dict(mu=0.2, neg_scale=2.0)),
        reduction="mean",
    )
    assert step.loss.item() == pytest.approx(expected.item(), rel=1e-6)

    known = dataclasses.replace(problem, labels=LabelTable.of(problem.observed.clamp(min=0)))
    assert first_step(method, known)[2].loss.item() == step.loss.item()


def test_truth_is_read_only_where_declared(toy_problem):
    clock, draw = Clock(0, 1, 10, 0, 3), Draw(0).at(0, 0)
    assert DBFocal().oracle() == ()

    counts = DBFocal(Hyper(counts="true"))
    assert counts.oracle() == ("true_counts",)
    problem = toy_problem(1, counts.oracle())
    truth = problem.oracle["true_counts"]
    assert counts.setup(problem, draw).constants["class_counts"].tolist() == truth.tolist()
    with pytest.raises(MethodError):
        counts.setup(toy_problem(1), draw)

    sampler = DBFocal(Hyper(sampler_labels="true"))
    assert sampler.oracle() == ("true_labels",)
    problem = toy_problem(1, sampler.oracle())
    run = sampler.setup(problem, draw)
    lists = sampler.sampling(run, problem, clock).lists
    assert torch.equal(lists.whole(), problem.oracle["true_labels"].whole())
    assert DBFocal(Hyper(sampler_labels="true", sampler="shuffle")).oracle() == ()


def test_epochs_are_class_aware(toy_problem):
    problem, clock = toy_problem(1), Clock(0, 1, 10, 0, 3)
    run = DBFocal().setup(problem, Draw(0).at(0, 0))
    sampling = DBFocal().sampling(run, problem, clock)
    assert isinstance(sampling, ClassAware)
    assert sampling.per_class == 3
    assert torch.equal(sampling.lists.whole(), problem.observed)
    assert sampling.codes == (1,)
    most = int((problem.observed == 1).sum(0).max())
    assert DBFocal().epoch_length(problem, 0) == 20
    assert DBFocal(Hyper(length="classes")).epoch_length(problem, 0) == most * 5 // 4
    assert DBFocal(Hyper(length="classes", reduce=1)).epoch_length(problem, 0) == most * 5

    shuffled = DBFocal(Hyper(sampler="shuffle"))
    assert shuffled.sampling(run, problem, clock) == Shuffle()
    assert shuffled.epoch_length(problem, 0) == 20


def test_stacks(assert_stacks):
    assert_stacks(DBFocal())
    assert_stacks(DBFocal(Hyper(bias="paper")), mu=[0.2, 0.3, 0.4], kappa=[0.0, 0.05, 1.0])
    assert_stacks(DBFocal(), gamma=[0.0, 1.5, 2.0], neg_scale=[1.0, 2.0, 5.0], alpha=[0.1, 0.0, 1])


def test_is_registered():
    assert registry.get("db-focal") is DBFocal
