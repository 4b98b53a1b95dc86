"""NDLP: every figure of the vector file, the invariants, both variants, stacked runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._pytree import tree_map

from baselines import ndlp
from baselines.core import (
    Batch,
    ClassAware,
    Clock,
    LabelTable,
    MethodError,
    Oracle,
    Problem,
    Run,
    Shuffle,
)
from baselines.core.hyperparameters import parse
from baselines.core.sampling import epoch_length
from baselines.db_focal import class_bias, distribution_balanced_loss
from baselines.ndlp import NDLP
from benchkit.random import Draw

CLASSES, IMAGES, FEATURES, BATCH = 7, 40, 5, 12
Vectors, Tensors, Law = dict[str, Any], dict[str, Tensor], dict[str, float]


def close(actual: Any, expected: Any, places: float = 6e-11) -> None:
    """Equal to 1e-9 relative, or to the tenth decimal, where the file stops."""
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), rtol=1e-9, atol=places)


@pytest.fixture(scope="module")
def given_vectors(vectors: Any) -> Vectors:
    return vectors("ndlp_vectors")


@pytest.fixture(scope="module")
def tensors(given_vectors: Vectors) -> Tensors:
    names = ("S", "q_init", "q", "q_sharp", "logits", "n", "emp", "pseudo")
    return {name: torch.tensor(given_vectors[name], dtype=torch.float64) for name in names}


@pytest.fixture(scope="module")
def law(given_vectors: Vectors) -> Law:
    """The DB loss's parameters under the names of `distribution_balanced_loss`."""
    names = {"lam": "neg_scale", "focal_gamma": "gamma"}
    return {names.get(name, name): value for name, value in given_vectors["db"].items()}


def test_bank_threshold_and_labels(given_vectors: Vectors, tensors: Tensors) -> None:
    first = ndlp.initial_bank(tensors["S"].to(torch.int8))
    np.testing.assert_allclose(first, given_vectors["q_init"], atol=1e-7)  # the bank is float32
    thirds = tensors["S"] / tensors["S"].sum(1, keepdim=True)
    close(ndlp.class_threshold(thirds), given_vectors["phi_init"])
    threshold = ndlp.class_threshold(tensors["q"])
    close(threshold, given_vectors["phi"])
    sharp = ndlp.sharpen(tensors["q"], given_vectors["gamma"])
    close(sharp, given_vectors["q_sharp"])
    assert ndlp.pseudo_labels(sharp, threshold).int().tolist() == given_vectors["pseudo"]


def test_distribution_balanced_elements(given_vectors: Vectors, tensors: Tensors, law: Law) -> None:
    logits, prior = tensors["logits"], (tensors["n"], given_vectors["N"])
    close(class_bias(*prior, law["kappa"], law["neg_scale"]), given_vectors["nu"])
    elements = distribution_balanced_loss(logits, tensors["pseudo"], *prior, **law)
    close(elements, given_vectors["db_elem_pseudo"])
    close(elements.mean(), given_vectors["loss_pseu"])
    close(elements.mean(1), given_vectors["sample_score"])
    empty = distribution_balanced_loss(logits[:1], torch.zeros(1, 3), *prior, **law)
    close(empty, given_vectors["db_elem_allneg_row0"])


def test_mixture(given_vectors: Vectors, tensors: Tensors, law: Law) -> None:
    one, other = given_vectors["mix_rows"]
    share = given_vectors["mix_lambda"]
    sharp = ndlp.sharpen(tensors["q"], given_vectors["gamma"])
    target = (share * sharp[one] + (1 - share) * sharp[other])[None]
    close(target, given_vectors["y_mix"])
    prior = tensors["n"], given_vectors["N"]
    elements = distribution_balanced_loss(tensors["logits"][:1], target, *prior, **law)
    close(elements, given_vectors["db_elem_mix_on_logits_row0"])


def test_selection_and_quota(given_vectors: Vectors, tensors: Tensors) -> None:
    scores = torch.tensor(given_vectors["sample_score"], dtype=torch.float64)
    ratio, quota = given_vectors["alpha_t"], tensors["emp"]
    close(quota * (len(scores) * ratio), given_vectors["quota"])
    chosen = ndlp.select(scores, tensors["pseudo"].bool(), quota, ratio)
    assert torch.nonzero(chosen).flatten().tolist() == given_vectors["chosen"]
    close(ndlp.batch_shares(tensors["q"]), given_vectors["eps"])
    close(ndlp.update_quota(quota, tensors["q"]), given_vectors["emp_next"])


def test_bank_update(given_vectors: Vectors, tensors: Tensors) -> None:
    seen, rows = tensors["logits"] + torch.tensor(given_vectors["nu"]), tensors["q"]
    close(ndlp.update_bank(rows, seen, tensors["S"], 1.0), given_vectors["softmax_in_candidates"])
    close(ndlp.update_bank(rows, seen, tensors["S"], 0.1), given_vectors["q_next_mu0_1"])


def test_ramps(given_vectors: Vectors) -> None:
    for epoch, wanted in given_vectors["ramps"].items():
        close(ndlp.ramps(int(epoch), 10, 0.9, 0.4, 0.8), [wanted["eta"], wanted["alpha"]], 1e-15)
    assert ndlp.ramps(20, 10, 0.9, 0.4, 0.8) == (0.9, 0.8)


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
def test_invariants(made: tuple[Tensor, Tensor, Draw], gamma: float, ratio: float) -> None:
    observed, logits, random = made
    candidates = (observed == 1).float()
    bank = ndlp.initial_bank(observed)
    for _ in range(3):
        bank = ndlp.update_bank(bank, logits, candidates, 0.4)
    filled = candidates.any(1).float()
    assert torch.allclose(bank.sum(1), filled, atol=1e-5)
    assert not bank[candidates == 0].any()
    sharp = ndlp.sharpen(bank, gamma)
    assert torch.allclose(sharp.sum(1), filled, atol=1e-5)
    pseudo = ndlp.pseudo_labels(sharp, ndlp.class_threshold(bank))
    assert not (pseudo & (candidates == 0)).any()

    quota = torch.softmax(random.normal("quota", observed.shape[1]), 0)
    for _ in range(3):
        quota = ndlp.update_quota(quota, bank)
    assert quota.sum().item() == pytest.approx(1.0, abs=1e-5)
    chosen = ndlp.select(logits.mean(1), pseudo, quota, ratio)
    assert chosen.sum() <= len(observed)
    assert not (chosen & ~pseudo.any(1)).any()
    assert chosen.any() == pseudo.any()  # every class with a label keeps at least one image

    first, second = ndlp.pairs(chosen, random.permutation("pairs", len(observed)))
    inside, size = set(torch.nonzero(chosen).flatten().tolist()), int(chosen.sum())
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
    wanted: set[int] = set()
    for k in range(classes):
        members = np.flatnonzero(pseudo[:, k].numpy())
        if len(members):
            share = quota[k].item() * size * ratio - 1e-9  # not above an integer by rounding
            number = max(1, min(int(np.ceil(share)), len(members)))
            wanted |= set(members[np.argsort(scores.numpy()[members])][:number].tolist())
    assert (
        set(torch.nonzero(ndlp.select(scores, pseudo, quota, ratio)).flatten().tolist()) == wanted
    )


def test_ties_are_ties_despite_rounding() -> None:
    # Equal candidate sets: the threshold is the value itself, and nothing exceeds it.
    for size in range(1, 30):
        bank = ndlp.initial_bank(torch.ones(50, size, dtype=torch.int8))
        assert not ndlp.pseudo_labels(ndlp.sharpen(bank, 3.0), ndlp.class_threshold(bank)).any()
    # 20 * 0.5 / 10 is one image, also where 0.1 * 10 is not quite one.
    scores, everything = torch.arange(20.0), torch.ones(20, 10, dtype=torch.bool)
    assert ndlp.select(scores, everything, torch.full((10,), 0.1), 0.5).sum() == 1


def test_quota_of_a_class_that_the_batch_lacks() -> None:
    # eps = [.75, .25, 0 -> u = .2]: the ratios are .4, 1.2 and 1.
    rows = torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0]], dtype=torch.float64)
    quota = ndlp.update_quota(torch.tensor([0.3, 0.3, 0.2], dtype=torch.float64), rows)
    np.testing.assert_allclose(quota, np.array([0.4, 1.2, 1.0]) / 2.6, rtol=1e-6)


def test_quota_alternative_is_the_inverse_of_the_moving_mean() -> None:
    share = torch.tensor([0.5, 0.25, 0.25, 0.0], dtype=torch.float64)
    rows = torch.tensor([[1.0, 0, 0, 0], [0.5, 0.5, 0, 0]], dtype=torch.float64)
    share = ndlp.update_share(share, rows, 0.1)
    close(share, [0.525, 0.25, 0.225, 0.0])
    inverse = np.array([1 / 0.525, 1 / 0.25, 1 / 0.225, 0.0])
    np.testing.assert_allclose(ndlp.inverse_quota(share), inverse / inverse.sum(), rtol=1e-7)
    assert torch.equal(ndlp.update_share(share, torch.zeros_like(rows), 0.1), share)


def test_prior_inversion() -> None:
    observed = torch.zeros(100, 3, dtype=torch.int8)
    observed[:80, 0] = observed[:44, 1] = observed[:30, 2] = 1
    expected = [100 * (0.8 - 0.3) / 0.7, 100 * (0.44 - 0.3) / 0.7, 1.0]
    np.testing.assert_allclose(ndlp.invert_prior(observed), expected, rtol=1e-5)
    np.testing.assert_allclose(ndlp.invert_prior(observed, 0.3), expected, rtol=1e-5)
    np.testing.assert_allclose(ndlp.invert_prior(observed, 0.0), [80, 44, 30], rtol=1e-6)
    assert ndlp.invert_prior(torch.ones(4, 2, dtype=torch.int8)).tolist() == [1.0, 1.0]


def test_inverted_counts_of_the_tail_do_not_cancel() -> None:
    observed = torch.zeros(30011, 2, dtype=torch.int8)
    observed[:9003, 0] = observed[:9002, 1] = 1
    expected = 1 / (1 - 9002 / 30011)
    assert ndlp.invert_prior(observed)[0].item() == pytest.approx(expected, rel=1e-6)
    exact = ndlp.invert_prior(observed, 0.29, torch.float64)[1].item()
    assert exact == pytest.approx((9002 - 0.29 * 30011) / 0.71, rel=1e-9)


def test_the_bank_starts_in_double_if_told_to() -> None:
    observed = torch.ones(2, 3, dtype=torch.int8)
    assert ndlp.initial_bank(observed, torch.float64).tolist() == [[1 / 3] * 3] * 2


def test_mixing_share_has_the_law_of_the_larger_side_of_beta_4_4() -> None:
    share = torch.stack([ndlp.mixing_share(row) for row in Draw(3).uniform("u", 4000, 7)])
    assert share.min() >= 0.5
    # E max(b, 1-b) = 1/2 + E|b - 1/2|, with E|b - 1/2| = 35/256 for Beta(4, 4).
    assert share.mean().item() == pytest.approx(0.5 + 35 / 256, abs=0.005)
    second_moment = ((share - 0.5) ** 2).mean().item()
    assert second_moment == pytest.approx(1 / 36, rel=0.06)  # the variance of Beta(4, 4)


def make_problem(seed: int = 0, **oracle: Any) -> Problem:
    random = Draw(seed)
    slope = torch.linspace(0.6, 0.05, CLASSES)
    true = random.uniform("true", IMAGES, CLASSES) < slope
    observed = (true | (random.uniform("noise", IMAGES, CLASSES) < 0.3)).to(torch.int8)
    observed[0] = 0  # a row without candidates
    observed[:, -1] = 0  # a class without candidates
    values = {"true_labels": true.to(torch.int8), "true_counts": true.sum(0), "noise_rate": 0.3}
    allowed = tuple(oracle.get("allowed", ()))
    return Problem(LabelTable.of(observed), FEATURES, "candidates", 10, Oracle(values, allowed))


def make_batch(problem: Problem, seed: int = 0) -> Batch:
    rows = Draw(seed).permutation("rows", IMAGES)[:BATCH]
    rows[0] = 0
    return Batch(rows, Draw(seed).normal("features", BATCH, FEATURES), problem.observed[rows])


def make_method(**values: Any) -> NDLP:
    return NDLP(replace(NDLP.Hyper(), **values))


def test_what_each_variant_may_see() -> None:
    assert make_method().oracle() == ()
    assert make_method(rho="given").oracle() == ("noise_rate",)
    assert make_method(variant="repository").oracle() == ("true_counts", "true_labels")
    assert make_method(prior="true").oracle() == ("true_counts",)
    with pytest.raises(MethodError, match="without declaring it"):
        make_method(variant="repository").setup(make_problem(), Draw(1))


OPTIONS = (
    "", "rho=given", "prior=true", "prior=inverted", "selection=off", "quota=off",
    "quota_rule=inverse-ema", "variant=repository", "variant=repository prior=pseudo",
    "variant=repository prior=inverted rho=given",
)  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS)
def test_two_epochs_read_only_what_is_declared(options: str) -> None:
    method = NDLP(parse("ndlp", NDLP.Hyper, dict(o.split("=") for o in options.split())))
    problem = make_problem(allowed=method.oracle())
    draw = Draw(4)
    run = method.setup(problem, draw)
    length = method.epoch_length(problem, 0)
    for epoch in (1, 2):
        clock = Clock(0, epoch, 10, 0, 1)
        run = method.epoch_start(run, problem, torch.zeros(0), clock, draw.at(0, epoch))
        method.sampling(run, problem, clock)
        batch = make_batch(problem, epoch)
        result = method.step(run, batch, clock, draw.at(0, epoch, 0))
        assert torch.isfinite(result.loss)
        bank = run.memory["bank"].clone()
        bank[batch.rows] = result.memory["bank"]
        run = replace(run, state=run.state | result.state, memory={"bank": bank})
        assert run.state["quota"].sum().item() == pytest.approx(1.0, abs=1e-5)
    assert method.epoch_length(problem, 0) == length
    if options == "quota=off":
        assert torch.equal(run.state["quota"], torch.full((CLASSES,), 1 / CLASSES))


def test_sampling_and_epoch_length() -> None:
    problem = make_problem(allowed=("true_counts", "true_labels"))
    true = problem.oracle["true_labels"].whole()
    repository = make_method(variant="repository")
    run = repository.setup(problem, Draw(1))
    order = repository.sampling(run, problem, Clock(0, 1, 10, 0, 1))
    assert isinstance(order, ClassAware)
    assert order.per_class == 3
    assert torch.equal(order.lists.whole(), true)
    assert torch.equal(run.state["counts"], true.sum(0).float())
    assert repository.epoch_length(problem, 0) == IMAGES

    faithful = make_method()
    run = faithful.setup(problem, Draw(1))
    clock, draw = Clock(0, 1, 10, 0, 1), Draw(1).at(0, 1)
    assert isinstance(faithful.sampling(run, problem, clock), Shuffle)
    started = faithful.epoch_start(run, problem, torch.zeros(0), clock, draw)
    assert torch.equal(started.state["counts"], ndlp.invert_prior(problem.observed))
    order = faithful.sampling(run, problem, Clock(0, 2, 10, 0, 1))
    assert isinstance(order, ClassAware)
    bank = run.memory["bank"]
    expected = ndlp.pseudo_labels(ndlp.sharpen(bank, 3.0), ndlp.class_threshold(bank))
    assert expected.any()
    assert torch.equal(order.lists.whole(), expected)
    started = faithful.epoch_start(run, problem, torch.zeros(0), replace(clock, epoch=2), draw)
    assert torch.equal(started.state["counts"], expected.sum(0).clamp(min=1).float())
    assert faithful.epoch_length(problem, 0) == IMAGES
    longer = make_method(length="classes")
    inverted = ndlp.invert_prior(problem.observed)
    assert longer.epoch_length(problem, 0) == epoch_length("classes", inverted, IMAGES)

    nothing = replace(problem, labels=LabelTable.of(torch.zeros_like(problem.observed)))
    run = faithful.setup(nothing, Draw(1))
    assert isinstance(faithful.sampling(run, nothing, Clock(0, 2, 10, 0, 1)), Shuffle)


def test_step_is_the_sum_of_its_parts() -> None:
    method, problem = make_method(), make_problem()
    run = method.setup(problem, Draw(2))
    seen, candidates = Draw(8).normal("bank", IMAGES, CLASSES), (problem.observed == 1).float()
    run.memory["bank"] = ndlp.update_bank(run.memory["bank"], seen, candidates, 0.8)
    batch, clock, draw = make_batch(problem), Clock(0, 5, 10, 0, 1), Draw(2).at(0, 5, 0)
    result = method.step(run, batch, clock, draw)

    law = dict(alpha=0.1, beta=10.0, mu=0.3, neg_scale=5.0, kappa=0.05)
    counts, bank = run.state["counts"], run.memory["bank"]
    sharp = ndlp.sharpen(bank[batch.rows], 3.0)
    labels = ndlp.pseudo_labels(sharp, ndlp.class_threshold(bank))
    logits = method.logits(run, batch.features)
    elements = distribution_balanced_loss(logits, labels.float(), counts, IMAGES, **law)
    chosen = torch.nonzero(
        ndlp.select(elements.mean(1), labels, run.state["quota"], 0.56)
    ).flatten()
    assert 1 < len(chosen) < BATCH
    order = draw.permutation("ndlp/pairs", BATCH)
    other = order[torch.isin(order, chosen)]
    share = ndlp.mixing_share(draw.uniform("ndlp/share", 7))
    mixed = share * batch.features[chosen] + (1 - share) * batch.features[other]
    target = share * sharp[chosen] + (1 - share) * sharp[other]
    again = method.logits(run, mixed)
    second = distribution_balanced_loss(again, target, counts, IMAGES, **law).mean()
    assert result.loss.item() == pytest.approx((elements.mean() + 0.36 * second).item(), rel=1e-5)
    assert result.corrected is not None
    assert torch.equal(result.corrected, (batch.observed == 1) & ~labels)
    rows, seen = bank[batch.rows], logits + class_bias(counts, IMAGES, 0.05, 5.0)
    assert torch.equal(result.state["quota"], ndlp.update_quota(run.state["quota"], rows))
    moved = ndlp.update_bank(rows, seen, (batch.observed == 1).float(), 0.1)
    torch.testing.assert_close(result.memory["bank"], moved)
    first_epoch = method.step(run, batch, Clock(0, 1, 10, 0, 1), draw)
    assert first_epoch.loss.item() == pytest.approx(elements.mean().item(), rel=1e-6)


@pytest.mark.parametrize("scale", [0.0, 50.0])
@pytest.mark.parametrize("rows", [[0], [0, 0, 0], [3], list(range(12))])
def test_finite_loss_and_gradient(scale: float, rows: list[int]) -> None:
    method, problem, clock = make_method(), make_problem(), Clock(0, 3, 10, 0, 1)
    problem.observed[1] = -1  # nothing observed
    run = method.setup(problem, Draw(2))
    features = torch.sign(Draw(3).normal("features", len(rows), FEATURES))
    batch = Batch(torch.tensor(rows), features, problem.observed[rows])
    run.params["head.weight"] = torch.full_like(run.params["head.weight"], scale / FEATURES)

    def loss(params: Tensors) -> Tensor:
        return method.step(replace(run, params=params), batch, clock, Draw(1).at(0, 3, 0)).loss

    gradient, value = torch.func.grad_and_value(loss)(run.params)
    assert torch.isfinite(value)
    assert all(torch.isfinite(part).all() for part in gradient.values())


@pytest.mark.parametrize("rule", ["product", "inverse-ema"])
def test_stacked_runs_equal_single_runs(rule: str) -> None:
    seeds, clock = [1, 2, 3], Clock(0, 4, 10, 1, 5)
    hypers = {
        "sharpen": torch.tensor([2.0, 3.0, 1.5]),
        "bank_rate": torch.tensor([0.1, 0.3, 0.0]),
        "mixup_weight": torch.tensor([0.9, 0.1, 2.0]),
        "ratio_end": torch.tensor([0.8, 0.5, 0.9]),
        "mu": torch.tensor([0.3, 0.2, 0.1]),
        "neg_scale": torch.tensor([5.0, 2.0, 1.0]),
        "kappa": torch.tensor([0.05, 0.0, 0.2]),
    }

    def start(seed: int) -> dict[str, Any]:
        problem = make_problem(seed)
        run = make_method(quota_rule=rule).setup(problem, Draw(seed))
        return vars(run) | {"batch": vars(make_batch(problem, seed))}

    def one(parts: dict[str, Any], values: Tensors, seed: Tensor) -> Any:
        method = make_method(quota_rule=rule).with_hyper(**values)
        batch = Batch(**parts["batch"])

        def loss(params: Tensors) -> Any:
            run = Run(params, parts["state"], parts["memory"])
            step = method.step(run, batch, clock, Draw(seed).at(0, 4, 1))
            return step.loss, (step.loss, step.state, step.memory, step.corrected)

        return torch.func.grad(loss, has_aux=True)(parts["params"])

    parts = [start(seed) for seed in seeds]
    stacked = tree_map(lambda *leaves: torch.stack(leaves), *parts)
    together = torch.func.vmap(one)(stacked, hypers, torch.tensor(seeds))
    for index, seed in enumerate(seeds):
        values = {name: value[index] for name, value in hypers.items()}
        alone = one(parts[index], values, torch.tensor(seed))
        mine = tree_map(lambda value, i=index: value[i], together)
        torch.testing.assert_close(mine, alone, rtol=1e-5, atol=1e-6)


def test_unknown_labels_are_candidates_at_the_rate_that_pal_hides_them() -> None:
    observed = torch.tensor([[1, -1, 0], [-1, -1, 0], [0, 1, -1]], dtype=torch.int8)
    bank = ndlp.initial_bank(observed)
    assert torch.equal(bank > 0, torch.tensor([[True, True, False]] * 2 + [[False, True, True]]))
    true = (Draw(5).uniform("true", 4000, 3) < torch.tensor([0.5, 0.2, 0.01])).to(torch.int8)
    hidden = Draw(6).uniform("hidden", 4000, 3) >= 0.6
    counts = ndlp.invert_prior(torch.where(hidden, -1, true).to(torch.int8), 0.4)
    np.testing.assert_allclose(counts[:2], true.sum(0)[:2], rtol=0.15)
