"""The COMIC methods: the composed step, state, rates, ablations, stacked runs, corrections."""

from __future__ import annotations

import dataclasses
from functools import partial

import pytest
import torch
from torch import Tensor

from baselines.comic import COMIC, Hyper
from baselines.comic_head import COMICHead
from baselines.comic_tail import COMICTail
from baselines.core import Batch, Clock, LabelTable, Oracle, Problem, Rate, registry
from baselines.shared import comic_losses as losses
from baselines.shared import comic_network as network
from benchkit.base.draw import Draw
from benchkit.runs.specs import hyper_of
from benchkit.training.inputs import TrainingSet
from benchkit.training.recipe import Recipe
from benchkit.training.trainer import train

BRANCHES = ("balanced", "head_branch", "tail_branch")
# Initial scores that differ from image to image, some of them high enough for a correction.
SPREAD = Hyper(projection_activation="none", width=6)


@dataclasses.dataclass
class Forward:
    """Logits of a first step without dropout, composed of the pure functions."""

    plain: dict[str, Tensor]  # branch -> [B, C]
    shifted: dict[str, Tensor]  # the same for the head and tail branch, along their directions
    directions: dict[str, Tensor]  # branch -> [D], the batch mean of its features


def forward(run, batch, activation="log_softmax"):
    params, features = run.params, {}
    for branch in BRANCHES:
        weight, bias = (params[f"{branch}.projection.{part}"] for part in ("weight", "bias"))
        features[branch] = batch.features @ weight + bias
        if activation == "log_softmax":
            features[branch] = features[branch] - features[branch].logsumexp(1, keepdim=True)
    keys = torch.stack([features["head_branch"], features["tail_branch"]], 1).detach()
    query, key, score = (params[f"attention.{k}.weight"] for k in ("query", "key", "score"))
    attention = network.attend(features["balanced"], keys, query, key, score[:, 0])
    features["balanced"] = network.fuse(features["balanced"], keys, attention, 0.1)
    weights = {branch: params[f"{branch}.classifier.weight"] for branch in BRANCHES}
    directions = {branch: features[branch].detach().mean(0) for branch in BRANCHES}
    plain = {
        branch: network.cosine_logits(features[branch], weights[branch]) for branch in BRANCHES
    }
    shifted = {
        branch: network.cosine_logits(
            features[branch], weights[branch], direction=directions[branch], shift=shift
        )
        for branch, shift in (("head_branch", -1.0), ("tail_branch", 2.0))
    }
    return Forward(plain, shifted, directions)


@pytest.mark.parametrize("activation", ["log_softmax", "none"])
def test_step_is_the_sum_of_its_parts(toy_problem, first_step, assert_close, activation):
    method = COMIC(
        Hyper(attention_dropout=0.0, projection_activation=activation, rlc_tau=0.6, width=16)
    )
    run, batch, step = first_step(method, toy_problem(2), 2)
    target, counts = (batch.observed == 1).float(), run.constants["counts"]
    parts = forward(run, batch, activation)

    def mfm(logits, target=target, class_counts=counts, power=1 / 3):
        weight = losses.class_weight(class_counts, power)
        return losses.multi_focal_loss(logits, target, weight=weight, exponent=weight)

    def corrected(logits):
        return losses.correct(
            logits, batch.observed, torch.full_like(counts, -1.0), counts, tau=0.6
        )

    balanced = parts.plain["balanced"]
    head, tail = parts.shifted["head_branch"], parts.shifted["tail_branch"]
    corrections = [corrected(logits) for logits in (balanced, head, tail)]
    rlc = partial(mfm, power=1 / 6)
    expected = sum(mfm(logits) for logits in parts.plain.values())
    expected = expected + 0.2 * sum(losses.correction_loss(each, rlc) for each in corrections)
    expected = expected + losses.balancer_loss(balanced, head, tail, mfm)
    assert step.loss.item() == pytest.approx(expected.item() / target.numel(), rel=1e-6)
    assert corrections[0].corrected.any()
    assert torch.equal(step.corrected, corrections[0].corrected)
    assert not (step.corrected & (batch.observed != -1)).any()
    direction = parts.directions["head_branch"]
    assert_close(step.state["head_branch.direction"], direction, 2e-6)
    for branch, correction in zip(BRANCHES, corrections, strict=True):
        assert_close(step.state[f"{branch}.counts"], correction.counts, 2e-6)
        assert_close(step.state[f"{branch}.probability"], correction.probability, 2e-6)
    assert_close(method.logits(run, batch.features), balanced, 2e-6)


def gradients(method, run, batch):
    leaves = {name: value.clone().requires_grad_() for name, value in run.params.items()}
    step = method.step(
        dataclasses.replace(run, params=leaves), batch, Clock(0, 1, 10, 0, 3), Draw(0).at(0, 1, 0)
    )
    by_parameter = torch.autograd.grad(step.loss, list(leaves.values()), allow_unused=True)
    return dict(zip(leaves, by_parameter, strict=True))


def test_each_branch_learns_from_its_own_loss(toy_problem, first_step):
    full, unbalanced = COMIC(), COMIC(Hyper(htb_weight=0.0, fusion=0.0))
    run, batch, _ = first_step(full, toy_problem(1), 1)
    with_balance, without = (gradients(method, run, batch) for method in (full, unbalanced))
    for name, gradient in with_balance.items():
        same = torch.equal(gradient, without[name])
        assert same == name.startswith(("head_branch", "tail_branch")), name
    assert with_balance["attention.key.weight"].abs().max() > 0


def test_every_epoch_resets_the_counts_but_not_the_mean(toy_problem, first_step, assert_close):
    method, problem = COMIC(SPREAD), toy_problem(3)
    run, batch, step = first_step(method, problem, 3)
    assert step.corrected.any()
    run.state.update(step.state)
    start, before = run.constants["counts"], step.corrected.sum(0)
    draw = Draw(0).at(0, 1, 1)
    second = method.step(run, batch, Clock(0, 1, 10, 1, 3), draw)
    assert torch.equal(second.state["balanced.counts"], start + before + second.corrected.sum(0))
    third = method.step(run, batch, Clock(0, 2, 10, 0, 3), draw)
    assert torch.equal(third.state["balanced.counts"], start + third.corrected.sum(0))
    assert torch.equal(third.state["balanced.probability"], second.state["balanced.probability"])
    for name in ("head_branch", "tail_branch"):
        moved = 1.9 * step.state[f"{name}.direction"]  # mu e + mean, the parameters unchanged
        assert_close(second.state[f"{name}.direction"], moved, 2e-6)
    late = COMIC(dataclasses.replace(SPREAD, rlc_start_epoch=3)).step(
        run, batch, Clock(0, 2, 10, 0, 3), draw
    )
    assert not late.corrected.any()
    assert set(late.state) == {"head_branch.direction", "tail_branch.direction"}


def test_without_a_weight_nothing_is_corrected(toy_problem, first_step):
    method = COMIC(dataclasses.replace(SPREAD, rlc_weight=0.0))
    assert not first_step(method, toy_problem(3), 3)[2].corrected.any()


def test_corrections_may_enter_the_modifier(toy_problem, first_step):
    method = COMIC(
        dataclasses.replace(SPREAD, mfm_targets="corrected", branches="b", rlc_weight=0.0)
    )
    run, batch, step = first_step(method, toy_problem(3), 3)
    assert step.corrected.any()
    weight = losses.class_weight(run.constants["counts"], 1 / 3)
    labels = ((batch.observed == 1) | step.corrected).float()
    logits = method.logits(run, batch.features)
    value = losses.multi_focal_loss(logits, labels, weight=weight, exponent=weight)
    assert step.loss.item() == pytest.approx(value.item() / labels.numel(), rel=1e-6)


ABLATIONS = (
    "rlc_weight=0", "mfm_kind=pfm", "mfm_kind=asl", "mfm_kind=focal", "mfm_kind=bce",
    "branches=b classifier=linear", "branches=b", "classifier=linear", "htb_weight=0", "fusion=0",
    "mfm_gamma_negative=0", "mfm_head_tail=off", "mfm_class_weight=off", "rlc_momentum=0",
    "projection_activation=none", "htb_alpha=0.5", "rlc_tau=0.5", "shift_tail=0", "width=3",
    "mfm_gamma_positive=1", "attention_dropout=0", "mfm_targets=corrected",
)  # fmt: skip


@pytest.mark.parametrize("options", ABLATIONS)
def test_ablations_change_the_loss_and_stay_finite(toy_problem, first_step, options):
    method = COMIC(hyper_of(COMIC, dict(o.split("=") for o in options.split())))
    run, batch, step = first_step(method, toy_problem(3), 3)
    assert torch.isfinite(step.loss)
    first = first_step(COMIC(), toy_problem(3), 3)[2]
    # The running mean starts as the mean of the batch: its momentum acts from the second step on.
    assert (step.loss.item() == first.loss.item()) == (options == "rlc_momentum=0")
    for scale in (0.0, 50.0, -50.0, 1e4):
        for rows in ([0], [0, 0], [1, 2, 3, 4]):
            index = torch.tensor(rows)
            hard = Batch(index, scale * batch.features[: len(rows)], batch.observed[: len(rows)])
            if rows[0] == 0:
                hard = dataclasses.replace(hard, observed=torch.full_like(hard.observed, -1))
            for name, gradient in gradients(method, run, hard).items():
                assert gradient is None or torch.isfinite(gradient).all(), (name, scale, rows)


def tiny_problem():
    observed = torch.tensor([[1, -1], [-1, 1]], dtype=torch.int8)
    return Problem(LabelTable.of(observed), 4, "missing", 3, Oracle({}, ()))


def test_rates_follow_the_branches():
    rates = COMIC().rates()
    names = COMIC().setup(tiny_problem(), Draw(0).at(0, 0)).params
    rate_of = {
        name: next(rate for prefix, rate in rates.items() if name.startswith(prefix))
        for name in names
    }
    of_forty = partial(Rate, schedule_epochs=40, decay=0.25)
    assert rate_of["balanced.projection.bias"] == of_forty(step_every=12)
    assert rate_of["balanced.classifier.weight"] == of_forty(multiplier=0.1, step_every=18)
    assert rate_of["attention.score.weight"] == of_forty(step_every=18)
    assert rate_of["head_branch.projection.weight"] == of_forty(step_every=24)
    assert rate_of["head_branch.classifier.weight"] == of_forty(multiplier=0.1, step_every=24)
    assert rate_of["tail_branch.projection.weight"] == of_forty(step_every=12)
    assert rate_of["tail_branch.classifier.weight"] == of_forty(multiplier=0.1, step_every=12)
    for single, step in ((COMICHead(), 40), (COMICTail(), 12)):
        assert single.rates()["single.projection."] == of_forty(step_every=step)
        assert single.rates()["single.classifier."] == of_forty(multiplier=0.1, step_every=step)


def test_rates_can_count_the_epochs_of_the_run():
    rates = COMIC(Hyper(schedule_epochs=0, decay_divisor=1, step_attention=7)).rates()
    assert rates["attention."] == Rate(step_every=7)
    assert rates["tail_branch.classifier."] == Rate(multiplier=0.1, step_every=12)


def test_branches_have_the_width_of_the_paper_whatever_the_width_of_the_features():
    params = COMIC().setup(tiny_problem(), Draw(0).at(0, 0)).params
    assert params["tail_branch.projection.weight"].shape == (4, 1024)
    assert params["attention.key.weight"].shape == (1024, 1024)
    params = COMICTail(COMICTail.Hyper(width=3)).setup(tiny_problem(), Draw(0).at(0, 0)).params
    assert params["single.classifier.weight"].shape == (3, 2)


@pytest.mark.parametrize("single", [COMICHead, COMICTail])
@pytest.mark.parametrize("kind", ["mfm", "pfm"])
@pytest.mark.parametrize("activation", ["log_softmax", "none"])
def test_single_branch_is_the_modifier_alone(
    toy_problem, first_step, assert_close, single, kind, activation
):
    problem = toy_problem(1)
    method = single(single.Hyper(mfm_kind=kind, projection_activation=activation))
    run, batch, step = first_step(method, problem)
    params, target = run.params, (batch.observed == 1).float()
    weight, bias = (params[f"single.projection.{part}"] for part in ("weight", "bias"))
    projected = batch.features @ weight + bias
    if activation == "log_softmax":
        projected = projected - projected.logsumexp(1, keepdim=True)
    logits = network.cosine_logits(projected, params["single.classifier.weight"])
    assert_close(method.logits(run, batch.features), logits, 2e-6)
    positive = (problem.observed == 1).float()
    weight = losses.class_weight(positive.sum(0).clamp(min=1), 1 / 3)
    shares = losses.column_shares(positive.T @ positive)
    expected = losses.expected_classes(target, shares) if kind == "pfm" else None
    value = losses.multi_focal_loss(
        logits, target, weight=weight, exponent=weight, expected=expected
    )
    assert step.loss.item() == pytest.approx(value.item() / logits.numel(), rel=1e-6)
    assert step.corrected is None

    known = dataclasses.replace(problem, labels=LabelTable.of(problem.observed.clamp(min=0)))
    assert first_step(method, known)[2].loss.item() == step.loss.item()


@pytest.mark.parametrize("hyper", [Hyper(), Hyper(mfm_kind="pfm"), Hyper(branches="b")])
def test_stacks(assert_stacks, hyper):
    assert_stacks(COMIC(hyper))
    assert_stacks(
        COMIC(hyper),
        rlc_weight=[0.2, 0.0, 1.0],
        rlc_tau=[0.5, 0.7, 0.9],
        rlc_momentum=[0.9, 0.0, 0.5],
        htb_alpha=[0.5, 2.0, 4.0],
        shift_tail=[0.0, 1.0, 2.0],
        fusion=[0.1, 0.0, 0.5],
        attention_dropout=[0.1, 0.0, 0.5],
        mfm_gamma_negative=[3.0, 0.0, 4.0],
        mfm_power=[1 / 3, 1 / 6, 0.0],
    )


def test_corrections_reach_the_record():
    draw = Draw(5)
    features = draw.normal("features", 96, 8)
    true = (features @ draw.normal("teacher", 8, 3) > 1.0).to(torch.int8)
    observed = torch.where((true == 1) & (draw.uniform("kept", 96, 3) < 0.6), 1, -1)
    data = TrainingSet(
        features[:, None],
        LabelTable.of(observed.to(torch.int8)),
        LabelTable.of(true),
        "missing",
        torch.tensor([0, 1, 2]),
    )
    recipe = Recipe(optimiser="adam", weight_decay=1e-4, row_norm=0.0, epochs=8, batch=16, lr=0.02)
    on, off = train([COMIC(), COMIC(Hyper(rlc_weight=0.0))], [0, 0], data, recipe)

    def count(run, side):
        return sum(group[side] for group in run.curve[-1]["corrections"].values())

    assert set(on.curve[-1]["corrections"]) == {"many", "medium", "few"}
    assert count(on, "right") > count(on, "wrong") >= 0
    assert count(off, "right") == count(off, "wrong") == 0


def test_are_registered():
    assert registry.get("comic") is COMIC
    assert registry.get("comic-head") is COMICHead
    assert registry.get("comic-tail") is COMICTail
