"""PG: a NumPy reference of all its options, identities, the rows of the paper's tables."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from baselines.apaf import adaptive_focal_loss
from baselines.core import ClassAware, Clock, registry
from baselines.db import DB
from baselines.db_focal import (
    DBFocal,
    class_bias,
    distribution_balanced_loss,
    rebalanced_weight,
)
from baselines.focal import focal_loss
from baselines.pg import (
    ADAPTABLE,
    DIRECTIONS,
    FOCALS,
    PG,
    PROBABILITIES,
    Guidance,
    Hyper,
    probability_guided_loss,
)
from baselines.pr import PR, Factors, probability_rebalancing_loss, selections
from baselines.pr import Hyper as PRHyper
from benchkit.base.draw import Draw

SHOT = np.array([0, 0, 1, 2, 2, 2])  # head, head, medium, tail, tail, tail
CLASSES = range(len(SHOT))
BOTH_VOC = "lambda1_negative+lambda2_positive"
BOTH_COCO = "lambda1_negative+lambda1_positive"


def sigmoid(x):
    return np.exp(-np.logaddexp(0, -x))


def class_means(probability, mask):
    """Mean probability of each class over its marked labels, [C].

    A class without marked labels takes the mean over the classes of its shot group that have some,
    or nan.
    """
    marked = mask.any(0)
    own = np.array([probability[mask[:, c], c].mean() if marked[c] else np.nan for c in CLASSES])
    means = own.copy()
    for c in CLASSES:
        group = own[np.equal(SHOT, SHOT[c]) & marked]
        if not marked[c] and len(group):
            means[c] = group.mean()
    return means


def mean_ratio(positive_probability, negative_probability, target):
    """p+/p- of each class; 1 where one of them is missing, since the other replaces it."""
    positive = class_means(positive_probability, target)
    negative = class_means(negative_probability, ~target)
    ratio = positive / negative
    return np.where(np.isnan(ratio), 1.0, ratio)


def reference(logits, target, shift, factors, guidance, gamma, constant_logits):
    """(1 - p)^e+ softplus(-l1+ (z - v)) / l2+ for positives, p^e- softplus(l1- (z - v)) / l2- else.

    The mean of all entries. `factors` are l1-, l2-, l1+ and l2+, each [C]. With r = p+/p-:
    adaptive factors are l1- / r, l2+ r and l1+ r (or l1+ / r); adaptive exponents are
    e+ = gamma r and e- = gamma / r. r is taken at `constant_logits` and carries no gradient.
    """
    lambda1_negative, lambda2_negative, lambda1_positive, lambda2_positive = map(np.array, factors)
    is_raw = guidance.probability == "raw"
    constant = constant_logits - shift
    of_positives = sigmoid(constant_logits if is_raw else lambda1_positive * constant)
    of_negatives = sigmoid(constant_logits if is_raw else lambda1_negative * constant)
    if guidance.negative_probability == "complement":
        of_negatives = 1 - of_negatives
    ratio = mean_ratio(of_positives, of_negatives, target)
    if "lambda1_negative" in guidance.adaptive:
        lambda1_negative = lambda1_negative / ratio
    if "lambda2_positive" in guidance.adaptive:
        lambda2_positive = lambda2_positive * ratio
    if "lambda1_positive" in guidance.adaptive:
        narrow = guidance.lambda1_positive == "narrow"
        lambda1_positive = lambda1_positive / ratio if narrow else lambda1_positive * ratio
    positive_logits = lambda1_positive * (logits - shift)
    negative_logits = lambda1_negative * (logits - shift)
    positive_exponent, negative_exponent = {
        "none": (0.0, 0.0),
        "fixed": (gamma, gamma),
        "adaptive": (gamma * ratio, gamma / ratio),
    }[guidance.focal]
    positive_focal = sigmoid(-logits if is_raw else -positive_logits) ** positive_exponent
    negative_focal = sigmoid(logits if is_raw else negative_logits) ** negative_exponent
    positive_terms = positive_focal * np.logaddexp(0, -positive_logits) / lambda2_positive
    negative_terms = negative_focal * np.logaddexp(0, negative_logits) / lambda2_negative
    return np.where(target, positive_terms, negative_terms).mean()


SWITCHES = [
    Guidance(*values)
    for values in itertools.product(
        selections(ADAPTABLE), DIRECTIONS, FOCALS, PROBABILITIES, ("complement", "sigma")
    )
]


@pytest.mark.parametrize("missing", [False, True])
def test_numpy_reference_in_value(uniform, assert_close, missing):
    target = uniform("target", (5, 6)) < 0.4
    if missing:  # no tail positive, a head class without positives, one without negatives
        target[:, 3:], target[:, 0], target[:, 1] = False, False, True
    logits = uniform("logits", (5, 6), -3, 3)
    shift, factors = uniform("shift", (6,), -0.2, 0.3), uniform("factors", (4, 6), 0.7, 4)
    fixed = [torch.from_numpy(array) for array in (logits, target, shift, SHOT)]
    base = Factors(*torch.from_numpy(factors))
    for guidance in SWITCHES:
        loss = probability_guided_loss(*fixed, base, guidance, gamma=1.7)
        expected = reference(logits, target, shift, factors, guidance, 1.7, logits)
        assert_close(loss, expected, name=guidance)


@pytest.mark.parametrize("guidance", SWITCHES[::11], ids=str)
def test_numpy_reference_in_gradient(uniform, assert_reference, guidance):
    target = uniform("target", (5, 6)) < 0.4
    logits = uniform("logits", (5, 6), -2, 2)
    shift, factors = uniform("shift", (6,), -0.2, 0.3), uniform("factors", (4, 6), 0.7, 2)
    fixed = [torch.from_numpy(array) for array in (target, shift, SHOT)]
    base = Factors(*torch.from_numpy(factors))
    assert_reference(
        lambda logits: probability_guided_loss(logits, *fixed, base, guidance, gamma=1.7),
        lambda variable: reference(variable, target, shift, factors, guidance, 1.7, logits),
        logits,
    )


@pytest.mark.parametrize("scale", [2.0, 5.0])
@pytest.mark.parametrize("bias", ["code", "paper"])
def test_fixed_and_regularised_is_db_focal(uniform, assert_close, scale, bias):
    logits = torch.from_numpy(uniform("logits", (5, 6), -6, 6)).requires_grad_()
    target = torch.from_numpy(uniform("target", (5, 6)) < 0.4)
    target[-1] = False
    counts = torch.tensor([900.0, 120.0, 30.0, 9.0, 4.0, 1.0], dtype=torch.float64)
    mapping = dict(alpha=0.1, beta=10.0, mu=0.3)
    pg = probability_guided_loss(
        logits,
        target,
        -class_bias(counts, 1142, 0.05, scale, bias),
        torch.from_numpy(SHOT),
        Factors(scale, scale),
        Guidance("none", focal="fixed", probability="regularised"),
        gamma=2.0,
        balance=2.0,
        weight=rebalanced_weight(target.double(), counts, **mapping),
    )
    options = mapping | dict(neg_scale=scale, kappa=0.05, bias=bias, reduction="mean")
    db_focal = distribution_balanced_loss(logits, target, counts, 1142, **options)
    torch.testing.assert_close(pg, db_focal, rtol=1e-12, atol=0)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (pg, db_focal)]
    assert_close(*gradients, 1e-11)


def test_without_one_part_it_is_the_other(uniform):
    logits = torch.from_numpy(uniform("logits", (5, 6), -6, 6))
    target = torch.from_numpy(uniform("target", (5, 6)) < 0.4)
    shot, factors = torch.from_numpy(SHOT), Factors(7.0, 5.0, 1.0, 2.0)

    def pg(shift, factors, guidance, **options):
        return probability_guided_loss(logits, target, shift, shot, factors, guidance, **options)

    def assert_equal(actual, expected):
        torch.testing.assert_close(actual, expected, rtol=1e-12, atol=0)

    pr = probability_rebalancing_loss(logits, target, 0.1, factors)
    assert_equal(pg(0.1, factors, Guidance("none", focal="none")), pr)
    apaf = adaptive_focal_loss(logits, target, shot)
    assert_equal(pg(0.0, Factors(), Guidance("none")), apaf)
    focal = focal_loss(logits, target)
    assert_equal(pg(0.0, Factors(), Guidance("none", focal="fixed"), balance=2.0), focal)


def test_adapted_factors_of_the_vectors(vectors, assert_close):
    """The adapted factors of the vectors, passed as fixed ones, give the adaptive loss."""
    case = vectors("lt_apr__voc")
    names = ("logits", "v", "lambda1_neg", "lambda2_pos")
    logits, shift, lambda1_negative, lambda2_positive = (
        torch.tensor(case[name], dtype=torch.float64) for name in names
    )
    factors = Factors(lambda1_negative, 5.0, 1.0, lambda2_positive)
    target = torch.tensor(case["targets"])
    assert_close(probability_rebalancing_loss(logits, target, shift, factors), case["loss"])


@pytest.mark.parametrize(
    ("switch", "value"),
    [
        ("adaptive", "lambda2_negative"),
        ("lambda1_positive", "up"),
        ("focal", "on"),
        ("probability", "p"),
    ],
)
def test_unknown_options_are_named(switch, value):
    zeros = torch.zeros(2, 6)
    with pytest.raises(ValueError, match=f"{switch} is '{value}'"):
        guidance = Guidance(**{switch: value})
        probability_guided_loss(zeros, zeros, 0.0, torch.from_numpy(SHOT), Factors(), guidance)


OFF = dict(raised="none", adaptive="none", rebalance=False, kappa=0.0)
OFF |= dict(lambda1_negative=1.0, lambda2_negative=1.0)
TABLES = {
    "3 DB": dict(raised="none", adaptive="none", focal="none"),
    "3 PR(l1-)": dict(raised="lambda1_negative", adaptive="none", focal="none"),
    "3 PR(l2+)": dict(raised="lambda2_positive", adaptive="none", focal="none"),
    "3 PR(l1+)": dict(raised="lambda1_positive", adaptive="none", focal="none"),
    "3 PR(l1-, l2+)": dict(raised=BOTH_VOC, adaptive="none", focal="none"),
    "3 PR(l1-, l1+)": dict(raised=BOTH_COCO, adaptive="none", focal="none"),
    "4 VOC FF": dict(raised=BOTH_VOC, adaptive="none"),
    "4 VOC AF": dict(raised=BOTH_VOC, adaptive="lambda1_negative"),
    "4 VOC FA": dict(raised=BOTH_VOC, adaptive="lambda2_positive"),
    "4 VOC AA": dict(raised=BOTH_VOC, adaptive=BOTH_VOC),
    "4 COCO FF": dict(raised=BOTH_COCO, adaptive="none"),
    "4 COCO AF": dict(raised=BOTH_COCO, adaptive="lambda1_negative"),
    "4 COCO FA": dict(raised=BOTH_COCO, adaptive="lambda1_positive"),
    "4 COCO AA": dict(raised=BOTH_COCO, adaptive=BOTH_COCO),
    "5 Focal": OFF | dict(focal="fixed"),
    "5 APAF": OFF | dict(focal="adaptive"),
    "5 APR + Focal": dict(raised=BOTH_VOC, focal="fixed"),
    "5 APR + APAF": dict(raised=BOTH_VOC, focal="adaptive"),
}


def test_rows_of_the_tables(toy_problem, first_step):
    problem = toy_problem(1)
    counts = (problem.observed == 1).sum(0)
    groups = dict(many=4, few=3, raised_groups="head+medium+tail")
    losses = {}
    for row, options in TABLES.items():
        run, batch, step = first_step(PG(Hyper(**groups, **options)), problem)
        losses[row] = step.loss.item()
    logits = PG().logits(run, batch.features)
    target = batch.observed == 1
    shot = (counts < 4).long() + (counts < 3).long()
    assert losses["3 DB"] == pytest.approx(first_step(DB(), problem)[2].loss.item(), rel=1e-6)
    for row in ("3 PR(l1-)", "3 PR(l2+)", "3 PR(l1-, l2+)", "3 PR(l1-, l1+)"):
        options = PRHyper(raised=TABLES[row]["raised"], **groups)
        expected = first_step(PR(options), problem)[2].loss.item()
        assert losses[row] == pytest.approx(expected, rel=1e-6)
    focal = focal_loss(logits, target, balance=1.0).item()
    assert losses["5 Focal"] == pytest.approx(focal, rel=1e-5)
    apaf = adaptive_focal_loss(logits, target, shot).item()
    assert losses["5 APAF"] == pytest.approx(apaf, rel=1e-5)
    assert losses["5 APR + APAF"] == losses["4 VOC AF"]
    distinct = {value for row, value in losses.items() if row != "5 APR + APAF"}
    assert len(distinct) == len(TABLES) - 1


def test_method_as_db_focal(toy_problem, first_step):
    problem = toy_problem(1)
    options = dict(raised="none", adaptive="none", focal="fixed", balance=2.0)
    pg = first_step(PG(Hyper(**options, probability="regularised")), problem)[2].loss.item()
    assert pg == pytest.approx(first_step(DBFocal(), problem)[2].loss.item(), rel=1e-6)
    run = PG().setup(problem, Draw(0).at(0, 0))
    assert isinstance(PG().sampling(run, problem, Clock(0, 1, 10, 0, 3)), ClassAware)


@pytest.mark.parametrize("guidance", SWITCHES[::7], ids=str)
def test_finite_in_float32(assert_finite, guidance):
    for scale in (1.0, 20.0):
        for shot in ([0, 0, 1, 2], [2, 2, 2, 2]):
            assert_finite(
                lambda logits, observed, scale=scale, shot=shot: probability_guided_loss(
                    scale * logits,
                    observed == 1,
                    0.2,
                    torch.tensor(shot),
                    Factors(7, 5, 1, 2),
                    guidance,
                )
            )


def test_stacks(assert_stacks):
    groups = dict(many=4, few=3, raised_groups="medium+tail")
    assert_stacks(PG(Hyper(**groups)))
    assert_stacks(
        PG(Hyper(**groups, probability="regularised", adaptive=BOTH_COCO, limit=100.0)),
        gamma=[0.0, 1.0, 2.0],
        lambda1_positive=[1.0, 1.5, 2.0],
        raise_lambda1_negative=[1.0, 1.4, 2.0],
    )
    assert registry.get("pg") is PG
