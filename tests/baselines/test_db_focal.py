"""Distribution-balanced loss: the authors' numbers, a NumPy reference, identities, the method."""

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
    """The authors' configuration under the names of `distribution_balanced_loss`."""
    hyper, regularisation = case["hyper"], case["hyper"]["logit_reg"]
    mapping = hyper.get("map_param", {})
    return dict(
        alpha=mapping.get("alpha", 0.0),
        beta=mapping.get("beta", 0.0),
        mu=mapping.get("gamma", 0.0),
        neg_scale=regularisation.get("neg_scale", 1.0),
        kappa=regularisation.get("init_bias", 0.0),
        focal=hyper["focal"]["focal"],
        gamma=hyper["focal"]["gamma"],
        balance=hyper["focal"]["balance_param"],
        rebalance=hyper["reweight_func"] == "rebalance",
        regularise=bool(regularisation),
    )


@pytest.mark.parametrize("name", FILES)
def test_equals_the_authors_code(vectors, assert_matches, assert_close, name):
    case = vectors(name)
    fixed = torch.tensor(case["targets"]), torch.tensor(case["class_freq"]), case["train_num"]
    options = options_of(case)
    assert_matches(
        lambda logits: distribution_balanced_loss(logits, *fixed, **options, reduction="mean"),
        case["logits"],
        case["loss"],
        case["grad_logits"],
    )
    logits = torch.tensor(case["logits"], dtype=torch.float64)
    assert_close(distribution_balanced_loss(logits, *fixed, **options), case["loss_elements"])


def test_bias_of_the_paper(vectors, assert_matches):
    case = vectors("lt_db_focal_paperbias__voc")
    options = options_of(case) | dict(kappa=0.05, bias="paper", reduction="mean")
    fixed = torch.tensor(case["targets"]), torch.tensor(case["class_freq"]), case["train_num"]
    assert_matches(
        lambda logits: distribution_balanced_loss(logits, *fixed, **options),
        case["logits"],
        case["loss"],
        case["grad_logits"],
    )


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def reference(
    logits,
    target,
    class_counts,
    num_images,
    *,
    rebalance,
    alpha,
    beta,
    mu,
    regularise,
    neg_scale,
    kappa,
    bias,
    focal,
    gamma,
    balance,
):
    """balance (1 - exp(-l))^gamma w l, l the cross-entropy of y and z'; hard or soft targets; mean.

    r_bc = (1 / n_c) / sum_j (y_bj / n_j), infinite for an image without positives
    w = alpha + sigmoid(beta (r - mu)), times (1 - y) / neg_scale + y
    z' = (z - v) ((1 - y) neg_scale + y), v_c = kappa log(N / n_c - 1), over neg_scale in the code
    """
    weight = np.ones_like(target)
    if rebalance:
        repeats = (target / class_counts).sum(1, keepdims=True)
        ratio = np.where(repeats > 0, 1 / class_counts / np.where(repeats > 0, repeats, 1), np.inf)
        weight = alpha + sigmoid(beta * (ratio - mu))
    if regularise:
        strength = kappa / neg_scale if bias == "code" else kappa
        logits = logits - strength * np.log(num_images / class_counts - 1)
        logits = logits * ((1 - target) * neg_scale + target)
        weight = weight * ((1 - target) / neg_scale + target)
    entropy = np.log1p(np.exp(logits)) - target * logits
    focal_factor = balance * (1 - np.exp(-entropy)) ** gamma if focal else 1.0
    return np.mean(focal_factor * weight * entropy)


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
        lambda logits: distribution_balanced_loss(logits, *fixed, **options, reduction="mean"),
        lambda logits: reference(logits, target, counts, 100, **options),
        uniform("logits", (4, 5), -4, 4),
    )


@pytest.mark.parametrize(
    "options",
    [
        VOC | dict(rebalance=False, regularise=False, focal=False),
        VOC | dict(rebalance=False, regularise=False, gamma=0.0, balance=1.0),
        VOC | dict(alpha=0.5, beta=0.0, neg_scale=1.0, kappa=0.0, focal=False),
    ],
    ids=["parts off", "neutral focal factor", "neutral values"],
)
def test_without_its_parts_it_is_bce(uniform, options):
    logits = torch.from_numpy(uniform("logits", (4, 5), -8, 8))
    target = torch.from_numpy(uniform("target", (4, 5)))
    counts = torch.tensor([1, 90, 7, 33, 60])
    loss = distribution_balanced_loss(logits, target, counts, 100, **options, reduction="mean")
    torch.testing.assert_close(loss, bce(logits, target), rtol=1e-12, atol=0)


def test_hard_targets_are_the_two_branches_of_the_paper(uniform, assert_close):
    logits = torch.from_numpy(uniform("logits", (4, 5), -4, 4))
    target = torch.from_numpy(uniform("target", (4, 5)) < 0.4)
    counts = torch.tensor([1.0, 90.0, 7.0, 33.0, 60.0], dtype=torch.float64)
    weight = rebalanced_weight(target.double(), counts, alpha=0.1, beta=10.0, mu=0.3)
    shifted = logits - 0.05 / 5 * torch.log(100 / counts - 1)
    p, q = torch.sigmoid(shifted), torch.sigmoid(5 * shifted)
    positive = 2 * weight * (1 - p) ** 2 * -torch.log(p)
    negative = 2 * weight / 5 * q**2 * -torch.log(1 - q)
    elements = distribution_balanced_loss(logits, target, counts, 100, **VOC)
    assert_close(elements, torch.where(target, positive, negative), 1e-11)


def test_weight_worked_by_hand(assert_close):
    counts = torch.tensor([10, 40])
    target = torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    weight = rebalanced_weight(target, counts, alpha=0.1, beta=10.0, mu=0.3)
    # Ratios: 0.1 / 0.125 and 0.025 / 0.125; 0.1 / 0.025 and 1; infinite.
    ratio = torch.tensor([[0.8, 0.2], [4.0, 1.0]], dtype=torch.float64)
    assert_close(weight[:2], 0.1 + torch.sigmoid(10 * (ratio - 0.3)), 1e-12)
    assert weight[2].tolist() == [1.1, 1.1]


def test_bias_lowers_rare_classes_and_is_finite_at_the_ends(assert_close):
    counts = torch.tensor([0, 1, 50, 99, 100])
    bias = class_bias(counts, 100, 0.05, 5.0)
    expected = 0.01 * np.log(99)
    assert bias.tolist() == pytest.approx(
        [-expected, -expected, 0, expected, expected + 1e-4], 1e-2
    )
    paper = class_bias(counts, 100, 0.05, 5.0, "paper")
    assert_close(paper, 5 * bias, 1e-6)
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
            lambda logits, observed, bias=bias: distribution_balanced_loss(
                logits, observed == 1, torch.tensor(counts), 3, **VOC, gamma=gamma, bias=bias
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
