"""R-BCE, NTR and DB: the parts of DB-Focal as separate methods."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baselines.bce import bce
from baselines.core import ClassAware, Clock, Shuffle, registry
from baselines.db import DB
from baselines.db import Hyper as DBHyper
from baselines.db_focal import DBFocal, distribution_balanced_loss
from baselines.db_focal import Hyper as DBFocalHyper
from baselines.ntr import NTR, negative_tolerant_loss
from baselines.ntr import Hyper as NTRHyper
from baselines.r_bce import RBCE, rebalanced_bce
from baselines.r_bce import Hyper as RBCEHyper

COUNTS = np.array([1.0, 90.0, 7.0, 33.0, 60.0])


@pytest.mark.parametrize("setting", [(0.1, 10.0, 0.3), (0.1, 10.0, 0.2), (0.0, 3.0, 0.7)])
def test_r_bce_numpy_reference(uniform, assert_reference, setting):
    alpha, beta, mu = setting
    target = (uniform("target", (4, 5)) < 0.4).astype(float)
    target[-1] = 0.0

    def reference(logits):
        """w BCE(z, y), w = alpha + sigmoid(beta (r - mu)), r_bc = (1 / n_c) / sum_j y_bj / n_j."""
        total = 0.0
        for i, c in np.ndindex(logits.shape):
            repeats = sum(1 / COUNTS[j] for j in range(5) if target[i, j])
            ratio = 1 / COUNTS[c] / repeats if repeats else np.inf
            weight = alpha + 1 / (1 + np.exp(-beta * (ratio - mu)))
            entropy = np.log1p(np.exp(logits[i, c])) - target[i, c] * logits[i, c]
            total += weight * entropy
        return total / logits.size

    fixed = torch.from_numpy(target), torch.from_numpy(COUNTS)
    assert_reference(
        lambda logits: rebalanced_bce(logits, *fixed, alpha=alpha, beta=beta, mu=mu),
        reference,
        uniform("logits", (4, 5), -4, 4),
    )


@pytest.mark.parametrize("bias", ["code", "paper"])
@pytest.mark.parametrize("setting", [(5.0, 0.05), (2.0, 0.05), (0.7, 1.0)])
def test_ntr_numpy_reference(uniform, assert_reference, setting, bias):
    scale, kappa = setting
    target = uniform("target", (4, 5)) < 0.4
    shift = (kappa / scale if bias == "code" else kappa) * np.log(100 / COUNTS - 1)

    def reference(logits):
        """softplus(-(z - v)) for positives, softplus(lambda (z - v)) / lambda for negatives."""
        positive_terms = np.log1p(np.exp(-(logits - shift)))
        negative_terms = np.log1p(np.exp(scale * (logits - shift))) / scale
        return np.mean(np.where(target, positive_terms, negative_terms))

    fixed = torch.from_numpy(target), torch.from_numpy(COUNTS), 100
    options = dict(neg_scale=scale, kappa=kappa, bias=bias)
    assert_reference(
        lambda logits: negative_tolerant_loss(logits, *fixed, **options),
        reference,
        uniform("logits", (4, 5), -4, 4),
    )


def test_neutral_parts_are_bce(uniform):
    logits = torch.from_numpy(uniform("logits", (4, 5), -8, 8))
    target = torch.from_numpy(uniform("target", (4, 5)) < 0.4).double()
    counts, plain = torch.from_numpy(COUNTS), bce(logits, target)
    weighted = rebalanced_bce(logits, target, counts, alpha=0.5, beta=0.0, mu=0.3)
    torch.testing.assert_close(weighted, plain, rtol=1e-12, atol=0)
    tolerant = negative_tolerant_loss(logits, target, counts, 100, neg_scale=1.0, kappa=0.0)
    torch.testing.assert_close(tolerant, plain, rtol=1e-12, atol=0)


@pytest.mark.parametrize("counts", [[0, 3, 1, 0], [3, 0, 0, 3]])
def test_finite_in_float32(assert_finite, counts):
    class_counts = torch.tensor(counts)
    assert_finite(
        lambda logits, observed: rebalanced_bce(
            logits, observed == 1, class_counts, alpha=0.1, beta=10.0, mu=0.3
        )
    )
    assert_finite(
        lambda logits, observed: negative_tolerant_loss(
            logits, observed == 1, class_counts, 3, neg_scale=5.0, kappa=0.05
        )
    )


@pytest.mark.parametrize(
    ("part", "switches"),
    [
        (RBCE(RBCEHyper(mu=0.2)), dict(mu=0.2, focal=False, regularise=False)),
        (NTR(NTRHyper(neg_scale=2.0)), dict(neg_scale=2.0, focal=False, rebalance=False)),
        (DB(DBHyper(bias="paper")), dict(bias="paper", focal=False)),
    ],
    ids=["r-bce", "ntr", "db"],
)
def test_each_is_db_focal_with_parts_off(toy_problem, first_step, part, switches):
    problem, clock = toy_problem(1), Clock(0, 1, 10, 0, 3)
    db_focal = DBFocal(DBFocalHyper(**switches))
    run, _, step = first_step(part, problem)
    expected = first_step(db_focal, problem)[2].loss.item()
    assert step.loss.item() == pytest.approx(expected, rel=1e-6)

    order = part.sampling(run, problem, clock)
    assert isinstance(order, ClassAware)
    assert torch.equal(order.lists.whole(), problem.observed)
    assert order.codes == (1,)
    assert part.epoch_length(problem, 0) == 20
    assert part.oracle() == ()
    other = part.with_hyper(sampler="shuffle", counts="true")
    assert other.sampling(run, problem, clock) == Shuffle()
    assert other.oracle() == ("true_counts",)
    assert registry.get(part.info.key) is type(part)


def test_db_function_is_the_product_of_its_parts(uniform):
    logits = torch.from_numpy(uniform("logits", (4, 5), -4, 4))
    target = torch.from_numpy(uniform("target", (4, 5)) < 0.4).double()
    fixed = logits, target, torch.from_numpy(COUNTS)
    weighting, tolerance = dict(alpha=0.1, beta=10.0, mu=0.3), dict(neg_scale=5.0, kappa=0.05)
    db = distribution_balanced_loss(*fixed, 100, **weighting, **tolerance, focal=False)
    tolerant = negative_tolerant_loss(*fixed, 100, **tolerance, reduction="none")
    entropy = torch.nn.functional.softplus(logits) - target * logits
    weight = rebalanced_bce(*fixed, **weighting, reduction="none") / entropy
    torch.testing.assert_close(db, tolerant * weight, rtol=1e-11, atol=0)


def test_stacks(assert_stacks):
    assert_stacks(RBCE(), alpha=[0.0, 0.1, 0.3], beta=[1.0, 10.0, 5.0], mu=[0.2, 0.3, 0.4])
    assert_stacks(NTR(), neg_scale=[1.0, 2.0, 5.0], kappa=[0.0, 0.05, 1.0])
    assert_stacks(DB(), neg_scale=[1.0, 2.0, 5.0], mu=[0.2, 0.3, 0.4])
