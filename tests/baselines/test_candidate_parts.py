"""The bank of the candidate-label methods: the figures of the vector file, and invariants."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from baselines.db_focal import class_bias, distribution_balanced_loss
from baselines.shared.candidate_bank import (
    batch_shares,
    class_threshold,
    initial_bank,
    inverse_quota,
    mixing_share,
    pairs,
    pseudo_labels,
    ramps,
    select,
    sharpen,
    update_bank,
    update_quota,
    update_share,
)
from baselines.shared.candidate_labels import invert_prior
from benchkit.base.draw import Draw

Vectors, Tensors = dict[str, Any], dict[str, Tensor]
Close = Callable[..., None]


@pytest.fixture(scope="module")
def close(assert_close: Close) -> Close:
    """`assert_close` for the vector file, which stops at the tenth decimal."""
    return partial(assert_close, floor=6e-11)


@pytest.fixture(scope="module")
def figures(vectors: Any) -> Vectors:
    return vectors("ndlp_vectors")


@pytest.fixture(scope="module")
def tensors(figures: Vectors) -> Tensors:
    names = ("S", "q_init", "q", "q_sharp", "logits", "n", "emp", "pseudo")
    return {name: torch.tensor(figures[name], dtype=torch.float64) for name in names}


@pytest.fixture(scope="module")
def db_options(figures: Vectors) -> dict[str, float]:
    """Hyperparameters of the DB loss under the names of `distribution_balanced_loss`."""
    names = {"lam": "neg_scale", "focal_gamma": "gamma"}
    return {names.get(name, name): value for name, value in figures["db"].items()}


def test_bank_threshold_and_labels(figures: Vectors, tensors: Tensors, close: Close) -> None:
    close(initial_bank(tensors["S"].to(torch.int8), torch.float64), figures["q_init"])
    uniform = tensors["S"] / tensors["S"].sum(1, keepdim=True)
    close(class_threshold(uniform), figures["phi_init"])
    threshold = class_threshold(tensors["q"])
    close(threshold, figures["phi"])
    sharp = sharpen(tensors["q"], figures["gamma"])
    close(sharp, figures["q_sharp"])
    assert pseudo_labels(sharp, threshold).int().tolist() == figures["pseudo"]


def test_distribution_balanced_elements(
    figures: Vectors, tensors: Tensors, db_options: dict[str, float], close: Close
) -> None:
    logits, prior = tensors["logits"], (tensors["n"], figures["N"])
    bias = class_bias(*prior, db_options["kappa"], db_options["neg_scale"])
    close(bias, figures["nu"])
    elements = distribution_balanced_loss(logits, tensors["pseudo"], *prior, **db_options)
    close(elements, figures["db_elem_pseudo"])
    close(elements.mean(), figures["loss_pseu"])
    close(elements.mean(1), figures["sample_score"])
    empty = distribution_balanced_loss(logits[:1], torch.zeros(1, 3), *prior, **db_options)
    close(empty, figures["db_elem_allneg_row0"])


def test_mixture(
    figures: Vectors, tensors: Tensors, db_options: dict[str, float], close: Close
) -> None:
    one, other = figures["mix_rows"]
    share = figures["mix_lambda"]
    sharp = sharpen(tensors["q"], figures["gamma"])
    target = (share * sharp[one] + (1 - share) * sharp[other])[None]
    close(target[0], figures["y_mix"][0])
    prior = tensors["n"], figures["N"]
    elements = distribution_balanced_loss(tensors["logits"][:1], target, *prior, **db_options)
    close(elements, figures["db_elem_mix_on_logits_row0"])


def test_selection_and_quota(figures: Vectors, tensors: Tensors, close: Close) -> None:
    scores = torch.tensor(figures["sample_score"], dtype=torch.float64)
    clean_share, quota = figures["alpha_t"], tensors["emp"]
    close(quota * (len(scores) * clean_share), figures["quota"])
    selected = select(scores, tensors["pseudo"].bool(), quota, clean_share)
    assert torch.nonzero(selected).flatten().tolist() == figures["chosen"]
    close(batch_shares(tensors["q"]), figures["eps"])
    close(update_quota(quota, tensors["q"]), figures["emp_next"])


def test_bank_update(figures: Vectors, tensors: Tensors, close: Close) -> None:
    logits = tensors["logits"] + torch.tensor(figures["nu"], dtype=torch.float64)
    bank, candidates = tensors["q"], tensors["S"]
    close(update_bank(bank, logits, candidates, 1.0), figures["softmax_in_candidates"])
    close(update_bank(bank, logits, candidates, 0.1), figures["q_next_mu0_1"])


def test_ramps(figures: Vectors) -> None:
    for epoch, expected in figures["ramps"].items():
        mixup_weight, clean_share = ramps(int(epoch), 10, 0.9, 0.4, 0.8)
        assert mixup_weight == pytest.approx(expected["eta"], rel=1e-15, abs=1e-15)
        assert clean_share == pytest.approx(expected["alpha"], rel=1e-15)
    assert ramps(20, 10, 0.9, 0.4, 0.8) == (0.9, 0.8)


@st.composite
def candidate_batch(draw: st.DrawFn) -> tuple[Tensor, Tensor, Draw]:
    """Observed labels [N, K], logits of +-60 and a draw, of any small shape."""
    images, classes = draw(st.integers(1, 9)), draw(st.integers(1, 6))
    random = Draw(draw(st.integers(0, 2**40)))
    density = draw(st.sampled_from([0.0, 0.3, 0.7, 1.0]))
    observed = (random.uniform("observed", images, classes) < density).to(torch.int8)
    scale = draw(st.sampled_from([1.0, 60.0]))
    return observed, random.normal("logits", images, classes) * scale, random


@settings(max_examples=60, deadline=None)
@given(candidate_batch(), st.floats(0.2, 8.0), st.floats(0.0, 1.0))
def test_invariants(batch: tuple[Tensor, Tensor, Draw], gamma: float, ratio: float) -> None:
    observed, logits, random = batch
    candidates = (observed == 1).float()
    bank = initial_bank(observed)
    for _ in range(3):
        bank = update_bank(bank, logits, candidates, 0.4)
    filled = candidates.any(1).float()
    # Sums of 0 or 1, in float32.
    assert torch.allclose(bank.sum(1), filled, rtol=1e-5, atol=0)
    assert not bank[candidates == 0].any()
    sharp = sharpen(bank, gamma)
    assert torch.allclose(sharp.sum(1), filled, rtol=1e-5, atol=0)
    pseudo = pseudo_labels(sharp, class_threshold(bank))
    assert not (pseudo & (candidates == 0)).any()

    quota = torch.softmax(random.normal("quota", observed.shape[1]), 0)
    for _ in range(3):
        quota = update_quota(quota, bank)
    assert quota.sum().item() == pytest.approx(1.0, rel=1e-5)
    selected = select(logits.mean(1), pseudo, quota, ratio)
    assert selected.sum() <= len(observed)
    assert not (selected & ~pseudo.any(1)).any()
    assert selected.any() == pseudo.any()  # every class with a label keeps at least one image

    first, second = pairs(selected, random.permutation("pairs", len(observed)))
    inside, size = set(torch.nonzero(selected).flatten().tolist()), int(selected.sum())
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(len(observed)))
    assert set(first[:size].tolist()) == set(second[:size].tolist()) == inside


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**40), st.integers(1, 12), st.integers(1, 5), st.floats(0.0, 1.0))
def test_selection_equals_the_loop_over_classes(
    seed: int, size: int, classes: int, ratio: float
) -> None:
    random = Draw(seed)
    scores = random.uniform("scores", size).double()
    pseudo = random.uniform("pseudo", size, classes) < 0.5
    quota = torch.softmax(random.normal("quota", classes).double() * 2, 0)
    expected: set[int] = set()
    for c in range(classes):
        members = np.flatnonzero(pseudo[:, c].numpy())
        if len(members):
            share = quota[c].item() * size * ratio - 1e-9  # not above an integer by rounding
            count = max(1, min(int(np.ceil(share)), len(members)))
            expected |= set(members[np.argsort(scores.numpy()[members])][:count].tolist())
    selected = torch.nonzero(select(scores, pseudo, quota, ratio)).flatten().tolist()
    assert set(selected) == expected


def test_rounding_does_not_break_ties() -> None:
    # Equal candidate sets: the threshold is the value itself, and nothing exceeds it.
    for size in range(1, 30):
        bank = initial_bank(torch.ones(50, size, dtype=torch.int8))
        assert not pseudo_labels(sharpen(bank, 3.0), class_threshold(bank)).any()
    # 20 * 0.5 / 10 is one image, also where 0.1 * 10 is not quite one.
    scores, everything = torch.arange(20.0), torch.ones(20, 10, dtype=torch.bool)
    assert select(scores, everything, torch.full((10,), 0.1), 0.5).sum() == 1


def test_quota_of_a_class_that_the_batch_lacks() -> None:
    # eps = [.75, .25, 0 -> u = .2]: the ratios are .4, 1.2 and 1.
    rows = torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0]], dtype=torch.float64)
    quota = update_quota(torch.tensor([0.3, 0.3, 0.2], dtype=torch.float64), rows)
    np.testing.assert_allclose(quota, np.array([0.4, 1.2, 1.0]) / 2.6, rtol=1e-6)


def test_quota_alternative_is_the_inverse_of_the_moving_mean(assert_close: Close) -> None:
    share = torch.tensor([0.5, 0.25, 0.25, 0.0], dtype=torch.float64)
    rows = torch.tensor([[1.0, 0, 0, 0], [0.5, 0.5, 0, 0]], dtype=torch.float64)
    share = update_share(share, rows, 0.1)
    assert_close(share, [0.525, 0.25, 0.225, 0.0], 1e-15)
    inverse = np.array([1 / 0.525, 1 / 0.25, 1 / 0.225, 0.0])
    np.testing.assert_allclose(inverse_quota(share), inverse / inverse.sum(), rtol=1e-7)
    assert torch.equal(update_share(share, torch.zeros_like(rows), 0.1), share)


def test_prior_inversion() -> None:
    observed = torch.zeros(100, 3, dtype=torch.int8)
    observed[:80, 0] = observed[:44, 1] = observed[:30, 2] = 1
    expected = [100 * (0.8 - 0.3) / 0.7, 100 * (0.44 - 0.3) / 0.7, 1.0]
    np.testing.assert_allclose(invert_prior(observed), expected, rtol=1e-5)
    np.testing.assert_allclose(invert_prior(observed, 0.3), expected, rtol=1e-5)
    np.testing.assert_allclose(invert_prior(observed, 0.0), [80, 44, 30], rtol=1e-6)
    assert invert_prior(torch.ones(4, 2, dtype=torch.int8)).tolist() == [1.0, 1.0]


def test_inverted_counts_of_the_tail_do_not_cancel() -> None:
    observed = torch.zeros(30011, 2, dtype=torch.int8)
    observed[:9003, 0] = observed[:9002, 1] = 1
    expected = 1 / (1 - 9002 / 30011)
    assert invert_prior(observed)[0].item() == pytest.approx(expected, rel=1e-6)
    exact = invert_prior(observed, 0.29, torch.float64)[1].item()
    assert exact == pytest.approx((9002 - 0.29 * 30011) / 0.71, rel=1e-9)


def test_the_bank_starts_in_the_dtype_of_the_call() -> None:
    observed = torch.ones(2, 3, dtype=torch.int8)
    assert initial_bank(observed, torch.float64).tolist() == [[1 / 3] * 3] * 2


def test_mixing_share_is_distributed_as_the_larger_side_of_beta_4_4() -> None:
    share = torch.stack([mixing_share(row) for row in Draw(3).uniform("u", 4000, 7)])
    assert share.min() >= 0.5
    # E max(b, 1-b) = 1/2 + E|b - 1/2|, with E|b - 1/2| = 35/256 for Beta(4, 4).
    assert share.mean().item() == pytest.approx(0.5 + 35 / 256, abs=0.005)  # 4,000 draws
    second_moment = ((share - 0.5) ** 2).mean().item()
    assert second_moment == pytest.approx(1 / 36, rel=0.06)  # the variance of Beta(4, 4)
