"""Losses on candidate labels against the vector file and independent NumPy, and how they reduce."""

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


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def cross_entropy(z, target):
    p = sigmoid(z)
    return -target * np.log(p) - (1 - target) * np.log(1 - p)


@pytest.fixture
def made(uniform):
    """Logits and candidates [6, 4], float64; a row without candidates, a class without."""
    candidates = (uniform("candidates", (6, 4)) < 0.6).astype(np.float64)
    candidates[1], candidates[:, 3] = 0, 0
    return uniform("logits", (6, 4), -4, 4), candidates


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def gradient_of(loss, logits) -> np.ndarray:
    leaf = torch.as_tensor(logits).clone().requires_grad_()
    return torch.autograd.grad(loss(leaf), leaf)[0].numpy()


# ----------------------------------------------------------------------------- forward correction


def test_forward_correction_equals_the_vectors(vectors):
    case = vectors("ndlp_vectors")["cc"]
    p = np.array(case["p"])
    z, rho = torch.tensor(np.log(p / (1 - p)))[None], scalar(case["rho"])
    on = forward_corrected_terms(z, torch.ones_like(z), rho)
    np.testing.assert_allclose(torch.exp(-on)[0], case["p_tilde"], rtol=1e-9)
    off = forward_corrected_terms(z, torch.zeros_like(z), rho)
    np.testing.assert_allclose(torch.exp(-off)[0], 1 - np.array(case["p_tilde"]), rtol=1e-9)


@pytest.mark.parametrize("rho", [0.0, 0.05, 0.3, 0.9])
def test_forward_correction(made, assert_matches, rho):
    z, s = made
    p = sigmoid(z)
    likely = rho + (1 - rho) * p
    value = np.mean(-s * np.log(likely) - (1 - s) * np.log((1 - rho) * (1 - p)))
    slope = np.where(s == 1, -(1 - rho) * p * (1 - p) / likely, p) / z.size
    given = torch.from_numpy(s), scalar(rho)
    assert_matches(lambda x: forward_corrected_terms(x, *given).mean(), z, value, slope)


@pytest.mark.parametrize("rho", [0.0, 0.05, 0.3, 0.9])
def test_em_with_a_fresh_posterior_has_the_gradient_of_forward_correction(made, rho):
    z, s = torch.from_numpy(made[0]), torch.from_numpy(made[1])
    q = posterior(z, s, scalar(rho))
    p = torch.sigmoid(z)
    np.testing.assert_allclose(q, s * p / (p + rho * (1 - p)), rtol=1e-12)
    forward = gradient_of(lambda x: forward_corrected_terms(x, s, scalar(rho)).mean(), z)
    np.testing.assert_allclose(gradient_of(lambda x: bce(x, q), z), forward, atol=1e-16)
    np.testing.assert_allclose(forward * z.numel(), p - q, atol=1e-15)


def test_the_rate_is_the_least_frequency():
    observed = torch.zeros(10, 3, dtype=torch.int8)
    observed[:7, 0] = observed[:4, 1] = observed[:3, 2] = 1
    observed[3, 2] = -1  # an unknown label is a candidate
    assert estimate_rate(observed).item() == pytest.approx(0.4)
    assert estimate_rate(observed[:9], torch.float64).item() == pytest.approx(4 / 9, rel=1e-15)


# ----------------------------------------------------------------------------- unbiased risk


def test_unbiased_negatives_equal_the_vectors(vectors):
    case = vectors("ndlp_vectors")["unbiased_neg"]
    z = torch.tensor([case["z"]], dtype=torch.float64)
    value = unbiased_terms(z, torch.zeros_like(z), case["rho"])
    np.testing.assert_allclose(value[0], case["value"], rtol=1e-9)


@pytest.mark.parametrize("rho", [0.0, 0.05, 0.3, 0.9])
def test_unbiased_risk(made, assert_matches, rho):
    z, s = made
    p = sigmoid(z)
    value = np.mean(s * -np.log(p) + (1 - s) * (-np.log(1 - p) + rho * np.log(p)) / (1 - rho))
    slope = np.where(s == 1, p - 1, (p - rho * (p - 1)) / (1 - rho)) / z.size
    assert_matches(lambda x: unbiased_terms(x, torch.from_numpy(s), rho).mean(), z, value, slope)


@pytest.mark.parametrize("rho", [0.1, 0.4])
def test_unbiased_in_expectation(rho):
    z = torch.linspace(-5, 5, 7, dtype=torch.float64)[None]
    on, off = (unbiased_terms(z, torch.full_like(z, s), rho) for s in (1.0, 0.0))
    np.testing.assert_allclose(on, cross_entropy(z.numpy(), 1.0), rtol=1e-12)
    np.testing.assert_allclose(rho * on + (1 - rho) * off, cross_entropy(z.numpy(), 0.0), rtol=1e-9)


@pytest.mark.parametrize("rho", [0.0, 0.05, 0.3, 0.9])
def test_non_negative_risk(made, assert_matches, rho):
    z, s = made
    p, odds = sigmoid(z), rho / (1 - rho)
    true = (s * -np.log(p) + odds * (1 - s) * np.log(p)).mean(0)
    value = (np.maximum(true, 0) - ((1 - s) * np.log(1 - p)).mean(0) / (1 - rho)).mean()
    acts = true > 0
    assert rho == 0.0 or not acts.all()  # the class without candidates is held at zero
    slope = (acts * np.where(s == 1, p - 1, odds * (1 - p)) + (1 - s) * p / (1 - rho)) / z.size
    given = torch.from_numpy(s), rho
    assert_matches(lambda x: non_negative_risk(x, *given).mean(), z, value, slope)
    if acts.all():
        plain = unbiased_terms(torch.from_numpy(z), *given).mean()
        assert value == pytest.approx(plain.item(), rel=1e-12)


def test_without_noise_all_are_cross_entropy_on_candidates(made):
    z, s = torch.from_numpy(made[0]), torch.from_numpy(made[1])
    expected, slope = bce(z, s).item(), gradient_of(lambda x: bce(x, s), z)
    losses = {
        "forward": lambda x: forward_corrected_terms(x, s, scalar(0.0)).mean(),
        "unbiased": lambda x: unbiased_terms(x, s, 0.0).mean(),
        "non-negative": lambda x: non_negative_risk(x, s, 0.0).mean(),
    }
    for name, loss in losses.items():
        assert loss(z).item() == pytest.approx(expected, rel=1e-12), name
        np.testing.assert_allclose(gradient_of(loss, z), slope, atol=1e-15, err_msg=name)


@pytest.mark.parametrize("form", ["plain", "non-negative"])
def test_unbiased_method_is_the_mean_at_the_estimated_rate(toy_problem, first_step, form):
    problem, method = toy_problem(1), UnbiasedPML(UnbiasedHyper(form=form))
    run, batch, step = first_step(method, problem)
    p = sigmoid(method.logits(run, batch.features).double().numpy())
    s, rho = (batch.observed != 0).numpy(), (problem.observed != 0).double().mean(0).min().item()
    assert 0 < rho < 1
    true = s * -np.log(p) + rho / (1 - rho) * ~s * np.log(p)
    true = true.mean(0) if form == "plain" else true.mean(0).clip(0)
    expected = (true + (~s * -np.log(1 - p)).mean(0) / (1 - rho)).mean()
    assert step.loss.item() == pytest.approx(expected, rel=1e-5)


# ----------------------------------------------------------------------------- robust terms


@pytest.mark.parametrize("q", [0.01, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("terms", ["candidates", "both"])
def test_generalised_cross_entropy(made, assert_matches, q, terms):
    z, s = made
    p = sigmoid(z)
    other = (1 - (1 - p) ** q) / q if terms == "both" else -np.log(1 - p)
    fall = p * (1 - p) ** q if terms == "both" else p
    value = np.mean(s * (1 - p**q) / q + (1 - s) * other)
    slope = np.where(s == 1, -(p**q) * (1 - p), fall) / z.size
    given = torch.from_numpy(s), q, terms
    assert_matches(lambda x: generalised_terms(x, *given).mean(), z, value, slope)


@pytest.mark.parametrize("terms", ["candidates", "both"])
def test_generalised_method_is_the_mean_with_its_exponent(toy_problem, first_step, terms):
    problem, method = toy_problem(1), GCE(GCEHyper(q=0.4, terms=terms))
    run, batch, step = first_step(method, problem)
    p, s = sigmoid(method.logits(run, batch.features).double().numpy()), batch.observed.numpy()
    other = (1 - (1 - p) ** 0.4) / 0.4 if terms == "both" else -np.log(1 - p)
    expected = np.where(s != 0, (1 - p**0.4) / 0.4, other).mean()
    assert step.loss.item() == pytest.approx(expected, rel=1e-5)


def test_generalised_cross_entropy_between_its_ends(made):
    z, s = torch.from_numpy(made[0]), torch.from_numpy(made[1])
    p = torch.sigmoid(z)
    torch.testing.assert_close(generalised_terms(z, s, 1.0, "both"), (s - p).abs())
    small = generalised_terms(z, s, 1e-9).mean().item()
    assert small == pytest.approx(bce(z, s).item(), rel=1e-7)
    with pytest.raises(ValueError, match="it must be 'candidates' or 'both'"):
        generalised_terms(z, s, 0.7, "positives")


def test_simplex_cross_entropy(made, assert_matches):
    z, s = made
    weights = s / np.maximum(s.sum(1, keepdims=True), 1)
    share = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    value = -(weights * np.log(share)).sum() / len(z)
    slope = (share * weights.sum(1, keepdims=True) - weights) / len(z)
    assert_matches(lambda x: simplex_cross_entropy(x, torch.from_numpy(weights)), z, value, slope)


# ----------------------------------------------------------------------------- weights


def test_kept_candidates(made):
    z, s = made
    p = sigmoid(z)
    for rule in ("threshold", "difference"):
        expected = np.ones_like(s)
        everywhere = p[s == 1].mean()
        for i, k in zip(*np.nonzero(s), strict=True):
            least = 0.6
            if rule == "difference":
                least += p[s[:, k] == 1, k].mean() - everywhere
            expected[i, k] = p[i, k] >= least
        assert 0 < expected[s == 1].sum() < s.sum()
        got = cdcr.kept(torch.from_numpy(p), torch.from_numpy(s), 0.6, rule)
        np.testing.assert_array_equal(got, expected)
    with pytest.raises(ValueError, match="it must be 'threshold' or 'difference'"):
        cdcr.kept(torch.from_numpy(p), torch.from_numpy(s), 0.6, "median")


def test_what_is_left_out_has_no_gradient(made, assert_matches, uniform):
    z, s = made
    w = np.where(s == 1, uniform("weights", s.shape) < 0.5, 1.0)
    given = torch.from_numpy(s), torch.from_numpy(w)
    value, slope = np.mean(w * cross_entropy(z, s)), w * (sigmoid(z) - s) / z.size
    assert_matches(lambda x: cdcr.weighted_cross_entropy(x, *given), z, value, slope)


@pytest.mark.parametrize("r", [1.5, 2.0, 3.0])
def test_suppression_of_negatives(made, r):
    z, s = made
    s[2] = 1  # no negative at all
    g = (1 - s) / (-r * np.log(1 - sigmoid(z)) + 1e-8)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = g ** (1 / (r - 1)) / g.sum(1, keepdims=True) ** (1 / (r - 1))
        expected = np.where(s == 1, 1.0, share / (s.shape[1] - s.sum(1, keepdims=True)))
    got = cones_nsl.suppression(torch.from_numpy(z), torch.from_numpy(s), r)
    np.testing.assert_allclose(got, expected, rtol=1e-9)
    # At r = 2 the weights of an image's negatives sum to one over their number.
    if r == 2.0:
        negatives = (1 - s).sum(1)
        np.testing.assert_allclose(((1 - s) * got.numpy()).sum(1) * negatives, negatives > 0)


def test_label_correlation():
    observed = torch.tensor([[1, 1, 0, 0], [1, -1, 1, 0], [1, 0, 0, 0]], dtype=torch.int8)
    # 0 meets 1 twice and 2 once; 1 meets 0 twice and 2 once; 2 meets 0 and 1 once; 3 none.
    expected = [[1, 2 / 3, 1 / 3, 0], [2 / 3, 1, 1 / 3, 0], [1 / 2, 1 / 2, 1, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(cones_nsl.label_correlation(observed), expected, rtol=1e-6)
    exact = cones_nsl.label_correlation(observed, torch.float64)
    np.testing.assert_allclose(exact, expected, rtol=1e-12)


def test_a_candidate_at_its_starting_value_is_not_believed():
    for size in range(1, 60):
        bank = torch.full((1, size), 1 / size, dtype=torch.float64)
        assert not cones_nsl.believed(bank, torch.ones(1, size)).any(), size


# ----------------------------------------------------------------------------- float32


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.99])
def test_finite_in_float32(assert_finite, rho):
    rate = torch.tensor(rho)
    losses = [
        lambda z, s: forward_corrected_terms(z, s, rate).mean(),
        lambda z, s: unbiased_terms(z, s, rate).mean(),
        lambda z, s: non_negative_risk(z, s, rate).mean(),
        lambda z, s: bce(z, posterior(z.detach(), s, rate)),
        lambda z, s: simplex_cross_entropy(z, s / s.sum(1, keepdim=True).clamp(min=1)),
        lambda z, s: (cones_nsl.suppression(z, s, 1.0 + rho + 0.1) * z).mean(),
        *(
            lambda z, s, q=q, t=t: generalised_terms(z, s, q, t).mean()
            for q in (1e-3, 0.7, 1.0)
            for t in ("candidates", "both")
        ),
    ]
    for loss in losses:
        assert_finite(lambda z, observed, loss=loss: loss(z, (observed != 0).float()))
