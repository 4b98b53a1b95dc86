"""Losses on candidate labels: the vector file, NumPy references, special cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from baselines import cdcr, cones_nsl
from baselines.bce import bce
from baselines.cc_pml import estimate_rate, forward_corrected_terms
from baselines.gce import GCE, generalised_terms
from baselines.gce import Hyper as GCEHyper
from baselines.proden_ml import posterior, simplex_cross_entropy
from baselines.unbiased_pml import Hyper as UnbiasedHyper
from baselines.unbiased_pml import UnbiasedPML, non_negative_risk, unbiased_terms


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def cross_entropy(logits, target):
    """-t log p - (1 - t) log(1 - p)."""
    probability = sigmoid(logits)
    return -target * np.log(probability) - (1 - target) * np.log(1 - probability)


@pytest.fixture
def case(uniform):
    """Logits and candidates [6, 4], float64; a row without candidates, a class without."""
    candidates = (uniform("candidates", (6, 4)) < 0.6).astype(np.float64)
    candidates[1], candidates[:, 3] = 0, 0
    return uniform("logits", (6, 4), -4, 4), candidates


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def gradient_of(loss, logits) -> Tensor:
    leaf = torch.as_tensor(logits).clone().requires_grad_()
    return torch.autograd.grad(loss(leaf), leaf)[0]


# ----------------------------------------------------------------------------- forward correction


def test_forward_correction_equals_the_vectors(vectors, assert_close):
    case = vectors("ndlp_vectors")["cc"]
    probability, rho = np.array(case["p"]), scalar(case["rho"])
    logits = torch.tensor(np.log(probability / (1 - probability)))
    candidate_terms = forward_corrected_terms(logits, torch.ones_like(logits), rho)
    assert_close(torch.exp(-candidate_terms), case["p_tilde"])
    other_terms = forward_corrected_terms(logits, torch.zeros_like(logits), rho)
    assert_close(torch.exp(-other_terms), 1 - np.array(case["p_tilde"]))


@pytest.mark.parametrize("rho", [0.0, 0.05, 0.3, 0.9])
def test_forward_correction(case, assert_matches, rho):
    """-s log(rho + (1 - rho) p) - (1 - s) log((1 - rho)(1 - p))."""
    logits, candidates = case
    p = sigmoid(logits)
    corrected = rho + (1 - rho) * p
    candidate_terms = -candidates * np.log(corrected)
    value = np.mean(candidate_terms - (1 - candidates) * np.log((1 - rho) * (1 - p)))
    gradient = np.where(candidates == 1, -(1 - rho) * p * (1 - p) / corrected, p) / logits.size
    labels = torch.from_numpy(candidates)
    assert_matches(
        lambda logits: forward_corrected_terms(logits, labels, scalar(rho)).mean(),
        logits,
        value,
        gradient,
    )


@pytest.mark.parametrize("rho", [0.0, 0.05, 0.3, 0.9])
def test_em_with_a_fresh_posterior_has_the_gradient_of_forward_correction(case, assert_close, rho):
    logits, candidates = map(torch.from_numpy, case)
    p = torch.sigmoid(logits)
    target = posterior(logits, candidates, scalar(rho))
    assert_close(target, candidates * p / (p + rho * (1 - p)), 1e-12)
    em = gradient_of(lambda logits: bce(logits, target), logits)
    forward = gradient_of(
        lambda logits: forward_corrected_terms(logits, candidates, scalar(rho)).mean(), logits
    )
    assert_close(em, forward, 1e-14)
    assert_close(forward * logits.numel(), p - target, 1e-14)


def test_the_rate_is_the_least_frequency():
    observed = torch.zeros(10, 3, dtype=torch.int8)
    observed[:7, 0] = observed[:4, 1] = observed[:3, 2] = 1
    observed[3, 2] = -1  # an unknown label is a candidate
    assert estimate_rate(observed).item() == pytest.approx(0.4)
    assert estimate_rate(observed[:9], torch.float64).item() == pytest.approx(4 / 9, rel=1e-15)


# ----------------------------------------------------------------------------- unbiased risk


def test_unbiased_negatives_equal_the_vectors(vectors, assert_close):
    case = vectors("ndlp_vectors")["unbiased_neg"]
    logits = torch.tensor(case["z"], dtype=torch.float64)
    assert_close(unbiased_terms(logits, torch.zeros_like(logits), case["rho"]), case["value"])


@pytest.mark.parametrize("rho", [0.0, 0.05, 0.3, 0.9])
def test_unbiased_risk(case, assert_matches, rho):
    """-s log p + (1 - s) (-log(1 - p) + rho log p) / (1 - rho)."""
    logits, candidates = case
    p, size = sigmoid(logits), logits.size
    other_terms = (-np.log(1 - p) + rho * np.log(p)) / (1 - rho)
    value = np.mean(-candidates * np.log(p) + (1 - candidates) * other_terms)
    gradient = np.where(candidates == 1, p - 1, (p - rho * (p - 1)) / (1 - rho)) / size
    labels = torch.from_numpy(candidates)
    assert_matches(
        lambda logits: unbiased_terms(logits, labels, rho).mean(), logits, value, gradient
    )


@pytest.mark.parametrize("rho", [0.1, 0.4])
def test_unbiased_in_expectation(assert_close, rho):
    """A negative is a candidate at rate rho: the mean of its terms is that of BCE."""
    logits = torch.linspace(-5, 5, 7, dtype=torch.float64)
    candidate, other = (
        unbiased_terms(logits, torch.full_like(logits, label), rho) for label in (1.0, 0.0)
    )
    assert_close(candidate, cross_entropy(logits.numpy(), 1.0), 1e-12)
    expectation = rho * candidate + (1 - rho) * other
    assert_close(expectation, cross_entropy(logits.numpy(), 0.0))


@pytest.mark.parametrize("rho", [0.0, 0.05, 0.3, 0.9])
def test_non_negative_risk(case, assert_matches, rho):
    """max(0, E[-s log p + odds (1 - s) log p]) - E[(1 - s) log(1 - p)] / (1 - rho), by class."""
    logits, candidates = case
    p, odds, others = sigmoid(logits), rho / (1 - rho), 1 - candidates
    positive_risk = (candidates * -np.log(p) + odds * others * np.log(p)).mean(0)
    negative_risk = -(others * np.log(1 - p)).mean(0) / (1 - rho)
    value = (np.maximum(positive_risk, 0) + negative_risk).mean()
    acts = positive_risk > 0
    assert rho == 0.0 or not acts.all()  # the class without candidates is clipped
    positive_gradient = np.where(candidates == 1, p - 1, odds * (1 - p))
    gradient = (acts * positive_gradient + others * p / (1 - rho)) / logits.size
    labels = torch.from_numpy(candidates)
    assert_matches(
        lambda logits: non_negative_risk(logits, labels, rho).mean(), logits, value, gradient
    )
    if acts.all():
        unclipped = unbiased_terms(torch.from_numpy(logits), labels, rho).mean()
        assert value == pytest.approx(unclipped.item(), rel=1e-12)


def test_without_noise_all_are_cross_entropy_on_candidates(case, assert_close):
    logits, candidates = map(torch.from_numpy, case)
    expected = bce(logits, candidates).item()
    gradient = gradient_of(lambda logits: bce(logits, candidates), logits)
    losses = {
        "forward": lambda logits: forward_corrected_terms(logits, candidates, scalar(0.0)).mean(),
        "unbiased": lambda logits: unbiased_terms(logits, candidates, 0.0).mean(),
        "non-negative": lambda logits: non_negative_risk(logits, candidates, 0.0).mean(),
    }
    for name, loss in losses.items():
        assert loss(logits).item() == pytest.approx(expected, rel=1e-12), name
        assert_close(gradient_of(loss, logits), gradient, 1e-14, name=name)


@pytest.mark.parametrize("form", ["plain", "non-negative"])
def test_unbiased_method_is_the_mean_at_the_estimated_rate(toy_problem, first_step, form):
    problem, method = toy_problem(1), UnbiasedPML(UnbiasedHyper(form=form))
    run, batch, step = first_step(method, problem)
    p = sigmoid(method.logits(run, batch.features).double().numpy())
    candidates = (batch.observed != 0).numpy()
    rho = (problem.observed != 0).double().mean(0).min().item()
    assert 0 < rho < 1
    positive_risk = (candidates * -np.log(p) + rho / (1 - rho) * ~candidates * np.log(p)).mean(0)
    if form == "non-negative":
        positive_risk = positive_risk.clip(0)
    negative_risk = (~candidates * -np.log(1 - p)).mean(0) / (1 - rho)
    assert step.loss.item() == pytest.approx((positive_risk + negative_risk).mean(), rel=1e-5)


# ----------------------------------------------------------------------------- robust terms


@pytest.mark.parametrize("q", [0.01, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("terms", ["candidates", "both"])
def test_generalised_cross_entropy(case, assert_matches, q, terms):
    """s (1 - p^q) / q, and -log(1 - p) or (1 - (1 - p)^q) / q of the others."""
    logits, candidates = case
    p = sigmoid(logits)
    other_terms, other_gradient = -np.log(1 - p), p
    if terms == "both":
        other_terms, other_gradient = (1 - (1 - p) ** q) / q, p * (1 - p) ** q
    value = np.mean(np.where(candidates == 1, (1 - p**q) / q, other_terms))
    gradient = np.where(candidates == 1, -(p**q) * (1 - p), other_gradient) / logits.size
    labels = torch.from_numpy(candidates)
    assert_matches(
        lambda logits: generalised_terms(logits, labels, q, terms).mean(), logits, value, gradient
    )


@pytest.mark.parametrize("terms", ["candidates", "both"])
def test_generalised_method_is_the_mean_with_its_exponent(toy_problem, first_step, terms):
    problem, method = toy_problem(1), GCE(GCEHyper(q=0.4, terms=terms))
    run, batch, step = first_step(method, problem)
    p = sigmoid(method.logits(run, batch.features).double().numpy())
    other_terms = (1 - (1 - p) ** 0.4) / 0.4 if terms == "both" else -np.log(1 - p)
    is_candidate = batch.observed.numpy() != 0
    expected = np.where(is_candidate, (1 - p**0.4) / 0.4, other_terms).mean()
    assert step.loss.item() == pytest.approx(expected, rel=1e-5)


def test_generalised_cross_entropy_between_its_ends(case, assert_close):
    logits, candidates = map(torch.from_numpy, case)
    p = torch.sigmoid(logits)
    absolute_error = (candidates - p).abs()
    assert_close(generalised_terms(logits, candidates, 1.0, "both"), absolute_error, 1e-12)
    near_zero = generalised_terms(logits, candidates, 1e-9).mean().item()
    assert near_zero == pytest.approx(bce(logits, candidates).item(), rel=1e-7)
    with pytest.raises(ValueError, match="it must be 'candidates' or 'both'"):
        generalised_terms(logits, candidates, 0.7, "positives")


def test_simplex_cross_entropy(case, assert_matches):
    """-sum_c w_c log softmax_c, the mean over the images."""
    logits, candidates = case
    weights = candidates / np.maximum(candidates.sum(1, keepdims=True), 1)
    share = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    value = -(weights * np.log(share)).sum() / len(logits)
    gradient = (share * weights.sum(1, keepdims=True) - weights) / len(logits)
    assert_matches(
        lambda logits: simplex_cross_entropy(logits, torch.from_numpy(weights)),
        logits,
        value,
        gradient,
    )


# ----------------------------------------------------------------------------- weights


@pytest.mark.parametrize("rule", ["threshold", "difference"])
def test_kept_candidates(case, rule):
    """p >= 0.6, or p - m_c >= 0.6 - m with the means m_c of class c's candidates and m of all."""
    logits, candidates = case
    p = sigmoid(logits)
    expected = np.ones_like(candidates)
    overall_mean = p[candidates == 1].mean()
    for image, c in zip(*np.nonzero(candidates), strict=True):
        threshold = 0.6
        if rule == "difference":
            threshold += p[candidates[:, c] == 1, c].mean() - overall_mean
        expected[image, c] = p[image, c] >= threshold
    assert 0 < expected[candidates == 1].sum() < candidates.sum()
    kept = cdcr.kept(torch.from_numpy(p), torch.from_numpy(candidates), 0.6, rule)
    np.testing.assert_array_equal(kept, expected)
    with pytest.raises(ValueError, match="it must be 'threshold' or 'difference'"):
        cdcr.kept(torch.from_numpy(p), torch.from_numpy(candidates), 0.6, "median")


def test_labels_of_weight_zero_have_no_gradient(case, assert_matches, uniform):
    logits, candidates = case
    weights = np.where(candidates == 1, uniform("weights", candidates.shape) < 0.5, 1.0)
    value = np.mean(weights * cross_entropy(logits, candidates))
    gradient = weights * (sigmoid(logits) - candidates) / logits.size
    fixed = torch.from_numpy(candidates), torch.from_numpy(weights)
    assert_matches(
        lambda logits: cdcr.weighted_cross_entropy(logits, *fixed), logits, value, gradient
    )


@pytest.mark.parametrize("exponent", [1.5, 2.0, 3.0])
def test_suppression_of_negatives(case, assert_close, exponent):
    """(g / sum_j g_j)^(1 / (r - 1)) / (C - |S|) of a negative, g = 1 / (-r log(1 - p) + 1e-8)."""
    logits, candidates = case
    candidates[2] = 1  # an image without negatives
    negatives = 1 - candidates
    g = negatives / (-exponent * np.log(1 - sigmoid(logits)) + 1e-8)
    power, count = 1 / (exponent - 1), negatives.sum(1, keepdims=True)
    total = np.where(count > 0, g.sum(1, keepdims=True), 1)
    share = (g / total) ** power / np.maximum(count, 1)
    expected = np.where(candidates == 1, 1.0, share)
    fixed = torch.from_numpy(logits), torch.from_numpy(candidates)
    weights = cones_nsl.suppression(*fixed, exponent)
    assert_close(weights, expected)
    if exponent == 2.0:  # the weights of an image's negatives sum to one over their number
        sums = (negatives * weights.numpy()).sum(1) * count[:, 0]
        np.testing.assert_allclose(sums, count[:, 0] > 0)


def test_label_correlation(assert_close):
    observed = torch.tensor([[1, 1, 0, 0], [1, -1, 1, 0], [1, 0, 0, 0]], dtype=torch.int8)
    # 0 meets 1 twice and 2 once; 1 meets 0 twice and 2 once; 2 meets 0 and 1 once; 3 none.
    expected = [[1, 2 / 3, 1 / 3, 0], [2 / 3, 1, 1 / 3, 0], [1 / 2, 1 / 2, 1, 0], [0, 0, 0, 1]]
    assert_close(cones_nsl.label_correlation(observed), expected, 1e-6)
    assert_close(cones_nsl.label_correlation(observed, torch.float64), expected, 1e-12)


def test_a_candidate_at_its_starting_value_is_not_believed():
    for size in range(1, 60):
        bank = torch.full((1, size), 1 / size, dtype=torch.float64)
        assert not cones_nsl.believed(bank, torch.ones(1, size)).any(), size


# ----------------------------------------------------------------------------- float32


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.99])
def test_finite_in_float32(assert_finite, rho):
    rate = torch.tensor(rho)
    losses = [
        lambda logits, s: forward_corrected_terms(logits, s, rate).mean(),
        lambda logits, s: unbiased_terms(logits, s, rate).mean(),
        lambda logits, s: non_negative_risk(logits, s, rate).mean(),
        lambda logits, s: bce(logits, posterior(logits.detach(), s, rate)),
        lambda logits, s: simplex_cross_entropy(logits, s / s.sum(1, keepdim=True).clamp(min=1)),
        lambda logits, s: (cones_nsl.suppression(logits, s, 1.0 + rho + 0.1) * logits).mean(),
        *(
            lambda logits, s, q=q, terms=terms: generalised_terms(logits, s, q, terms).mean()
            for q in (1e-3, 0.7, 1.0)
            for terms in ("candidates", "both")
        ),
    ]
    for loss in losses:
        assert_finite(lambda logits, observed, loss=loss: loss(logits, (observed != 0).float()))
