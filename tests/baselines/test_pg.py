"""PG: an independent implementation of all its switches, its identities, the paper's tables."""

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

SHOT = np.array([0, 0, 1, 2, 2, 2])
BOTH_VOC = "lambda1_negative+lambda2_positive"
BOTH_COCO = "lambda1_negative+lambda1_positive"


def sigmoid(x):
    return np.exp(-np.logaddexp(0, -x))


def group_means(p, q, y):
    """p+ and p-, class by class, with the paper's fallbacks."""
    classes = range(y.shape[1])
    own_p = {c: p[y[:, c], c].mean() for c in classes if y[:, c].any()}
    own_q = {c: q[~y[:, c], c].mean() for c in classes if not y[:, c].all()}
    positive, negative = [], []
    for c in classes:
        peers_p = [value for j, value in own_p.items() if SHOT[j] == SHOT[c]]
        peers_q = [value for j, value in own_q.items() if SHOT[j] == SHOT[c]]
        a = own_p.get(c, np.mean(peers_p) if peers_p else None)
        b = own_q.get(c, np.mean(peers_q) if peers_q else None)
        positive.append(b if a is None else a)
        negative.append(a if b is None else b)
    return np.array(positive), np.array(negative)


def reference(z, y, v, factors, guidance, gamma, held):
    """The equations with all ratios from the logits `held`."""
    a1n, a2n, a1p, a2p = (np.array(f, dtype=float) for f in factors)
    raw = guidance.probability == "raw"
    p = sigmoid(held if raw else a1p * (held - v))
    q = sigmoid(held if raw else a1n * (held - v))
    q = 1 - q if guidance.negative_probability == "complement" else q
    positive, negative = group_means(p, q, y)
    if "lambda1_negative" in guidance.adaptive:
        a1n = a1n * negative / positive
    if "lambda2_positive" in guidance.adaptive:
        a2p = a2p * positive / negative
    if "lambda1_positive" in guidance.adaptive:
        narrow = guidance.lambda1_positive == "narrow"
        a1p = a1p * (negative / positive if narrow else positive / negative)
    up, down = {
        "none": (0.0 * positive, 0.0 * positive),
        "fixed": (gamma + 0.0 * positive, gamma + 0.0 * positive),
        "adaptive": (gamma * positive / negative, gamma * negative / positive),
    }[guidance.focal]
    of_positive = sigmoid(-z if raw else -a1p * (z - v)) ** up
    of_negative = sigmoid(z if raw else a1n * (z - v)) ** down
    terms = np.where(
        y,
        of_positive * np.logaddexp(0, -a1p * (z - v)) / a2p,
        of_negative * np.logaddexp(0, a1n * (z - v)) / a2n,
    )
    return terms.mean()


SWITCHES = [
    Guidance(*values)
    for values in itertools.product(
        selections(ADAPTABLE), DIRECTIONS, FOCALS, PROBABILITIES, ("complement", "sigma")
    )
]


@pytest.mark.parametrize("missing", [False, True])
def test_numpy_reference_in_value(uniform, missing):
    y = uniform("target", (5, 6)) < 0.4
    if missing:  # no tail positive, a head class without positives, one without negatives
        y[:, 3:], y[:, 0], y[:, 1] = False, False, True
    z = uniform("logits", (5, 6), -3, 3)
    v, factors = uniform("shift", (6,), -0.2, 0.3), uniform("factors", (4, 6), 0.7, 4)
    fixed = [torch.from_numpy(a) for a in (z, y, v, SHOT)]
    base = Factors(*torch.from_numpy(factors))
    for guidance in SWITCHES:
        got = probability_guided_loss(*fixed, base, guidance, gamma=1.7).item()
        expected = reference(z, y, v, factors, guidance, 1.7, z)
        assert got == pytest.approx(expected, rel=1e-9), guidance


@pytest.mark.parametrize("guidance", SWITCHES[::11], ids=str)
def test_numpy_reference_in_gradient(uniform, assert_reference, guidance):
    y = uniform("target", (5, 6)) < 0.4
    logits = uniform("logits", (5, 6), -2, 2)
    v, factors = uniform("shift", (6,), -0.2, 0.3), uniform("factors", (4, 6), 0.7, 2)
    fixed = [torch.from_numpy(a) for a in (y, v, SHOT)]
    assert_reference(
        lambda z: probability_guided_loss(
            z, *fixed, Factors(*torch.from_numpy(factors)), guidance, gamma=1.7
        ),
        lambda z: reference(z, y, v, factors, guidance, 1.7, logits),
        logits,
    )


@pytest.mark.parametrize("scale", [2.0, 5.0])
@pytest.mark.parametrize("bias", ["code", "paper"])
def test_fixed_and_regularised_is_db_focal(uniform, scale, bias):
    z = torch.from_numpy(uniform("logits", (5, 6), -6, 6)).requires_grad_()
    y = torch.from_numpy(uniform("target", (5, 6)) < 0.4)
    y[-1] = False
    counts = torch.tensor([900.0, 120.0, 30.0, 9.0, 4.0, 1.0], dtype=torch.float64)
    mapping = dict(alpha=0.1, beta=10.0, mu=0.3)
    got = probability_guided_loss(
        z,
        y,
        -class_bias(counts, 1142, 0.05, scale, bias),
        torch.from_numpy(SHOT),
        Factors(scale, scale),
        Guidance("none", focal="fixed", probability="regularised"),
        gamma=2.0,
        balance=2.0,
        weight=rebalanced_weight(y.double(), counts, **mapping),
    )
    options = mapping | dict(neg_scale=scale, kappa=0.05, bias=bias, reduction="mean")
    expected = distribution_balanced_loss(z, y, counts, 1142, **options)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=0)
    slopes = [torch.autograd.grad(loss, z)[0] for loss in (got, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-11, atol=1e-14)


def test_without_its_halves_it_is_the_other(uniform):
    z = torch.from_numpy(uniform("logits", (5, 6), -6, 6))
    y = torch.from_numpy(uniform("target", (5, 6)) < 0.4)
    shot, factors = torch.from_numpy(SHOT), Factors(7.0, 5.0, 1.0, 2.0)
    none = probability_guided_loss(z, y, 0.1, shot, factors, Guidance("none", focal="none"))
    pr = probability_rebalancing_loss(z, y, 0.1, factors)
    torch.testing.assert_close(none, pr, rtol=1e-12, atol=0)
    plain = probability_guided_loss(z, y, 0.0, shot, Factors(), Guidance("none"))
    torch.testing.assert_close(plain, adaptive_focal_loss(z, y, shot), rtol=1e-12, atol=0)
    fixed = Guidance("none", focal="fixed")
    focal = probability_guided_loss(z, y, 0.0, shot, Factors(), fixed, balance=2.0)
    torch.testing.assert_close(focal, focal_loss(z, y), rtol=1e-12, atol=0)


def test_adapted_factors_of_the_vectors(vectors):
    """lambda1- of the vectors, given as fixed ones, is what the adaptive loss computes."""
    case = vectors("lt_apr__voc")
    z, y = torch.tensor(case["logits"], dtype=torch.float64), torch.tensor(case["targets"])
    given = [torch.tensor(case[k], dtype=torch.float64) for k in ("lambda1_neg", "lambda2_pos")]
    factors, v = Factors(given[0], 5.0, 1.0, given[1]), torch.tensor(case["v"], dtype=torch.float64)
    fixed = probability_rebalancing_loss(z, y, v, factors)
    assert fixed.item() == pytest.approx(case["loss"], rel=1e-9)


@pytest.mark.parametrize(
    ("switch", "value"),
    [
        ("adaptive", "lambda2_negative"),
        ("lambda1_positive", "up"),
        ("focal", "on"),
        ("probability", "p"),
    ],
)
def test_unknown_switches_are_named(switch, value):
    z = torch.zeros(2, 6)
    with pytest.raises(ValueError, match=f"{switch} is '{value}'"):
        guidance = Guidance(**{switch: value})
        probability_guided_loss(z, z, 0.0, torch.from_numpy(SHOT), Factors(), guidance)


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
    got = first_step(PG(Hyper(**options, probability="regularised")), problem)[2].loss.item()
    assert got == pytest.approx(first_step(DBFocal(), problem)[2].loss.item(), rel=1e-6)
    run = PG().setup(problem, Draw(0).at(0, 0))
    assert isinstance(PG().sampling(run, problem, Clock(0, 1, 10, 0, 3)), ClassAware)


@pytest.mark.parametrize("guidance", SWITCHES[::7], ids=str)
def test_finite_in_float32(assert_finite, guidance):
    for scale in (1.0, 20.0):
        for shot in ([0, 0, 1, 2], [2, 2, 2, 2]):
            assert_finite(
                lambda z, observed, s=scale, k=shot: probability_guided_loss(
                    s * z, observed == 1, 0.2, torch.tensor(k), Factors(7, 5, 1, 2), guidance
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
