"""The COMIC methods: the composed step, state and rates, ablations, stacked runs, the record."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from baselines.comic import COMIC, Hyper
from baselines.comic_head import COMICHead
from baselines.comic_parts import losses, network
from baselines.comic_tail import COMICTail
from baselines.core import Batch, Clock, LabelTable, Oracle, Problem, Rate, registry
from baselines.core.hyperparameters import parse
from benchkit.base.draw import Draw
from benchkit.training.recipe import Recipe
from benchkit.training.trainer import TrainingSet, train


def parts(run, batch):
    """Logits and losses of a first step without dropout, put together from the pure functions."""
    target = (batch.observed == 1).float()
    counts = run.constants["counts"]
    weight = losses.class_weight(counts, 1 / 3)

    def mfm(z):
        return losses.multi_focal_loss(z, target, weight=weight, exponent=weight)

    def rlc(z):
        found = losses.correct(z, batch.observed, torch.full_like(counts, -1.0), counts)

        def inner(s, y, n):
            w = losses.class_weight(n, 1 / 6)
            return losses.multi_focal_loss(s, y, weight=w, exponent=w)

        return losses.correction_loss(found, inner), found

    names = ("balanced", "head_branch", "tail_branch")
    p = run.params
    f = {k: batch.features @ p[f"{k}.projection.weight"] + p[f"{k}.projection.bias"] for k in names}
    keys = torch.stack([f["head_branch"], f["tail_branch"]], 1).detach()
    q, k, v = (p[f"attention.{part}.weight"] for part in ("query", "key", "score"))
    f["balanced"] = network.fuse(
        f["balanced"], keys, network.attend(f["balanced"], keys, q, k, v[:, 0]), 0.1
    )
    w = {k: p[f"{k}.classifier.weight"] for k in names}
    z = {k: network.cosine_logits(f[k], w[k]) for k in names}
    mean = {k: f[k].detach().mean(0) for k in names}
    moved = {
        k: network.cosine_logits(f[k], w[k], direction=mean[k], shift=s)
        for k, s in (("head_branch", -1.0), ("tail_branch", 2.0))
    }
    return mfm, rlc, z, moved, mean


def test_step_is_the_sum_of_its_parts(toy_problem, first_step):
    method = COMIC(Hyper(attention_dropout=0.0))
    run, batch, step = first_step(method, toy_problem(2), 2)
    mfm, rlc, z, moved, mean = parts(run, batch)
    b, h, t = (z[k] for k in ("balanced", "head_branch", "tail_branch"))
    head, tail = moved["head_branch"], moved["tail_branch"]
    corrections = [rlc(logits) for logits in (b, head, tail)]
    expected = mfm(b) + mfm(h) + mfm(t) + 0.2 * sum(loss for loss, _ in corrections)
    expected = expected + losses.balancer_loss(b, head, tail, mfm)
    assert step.loss.item() == pytest.approx(expected.item() / b.numel(), rel=1e-6)
    assert corrections[0][1].corrected.any()
    assert torch.equal(step.corrected, corrections[0][1].corrected)
    assert not (step.corrected & (batch.observed != -1)).any()
    torch.testing.assert_close(step.state["head_branch.direction"], mean["head_branch"])
    for name, (_, found) in zip(z, corrections, strict=True):
        torch.testing.assert_close(step.state[f"{name}.counts"], found.counts)
        torch.testing.assert_close(step.state[f"{name}.probability"], found.probability)
    torch.testing.assert_close(method.logits(run, batch.features), b)


def gradients(method, run, batch):
    leaves = {name: value.clone().requires_grad_() for name, value in run.params.items()}
    step = method.step(
        dataclasses.replace(run, params=leaves), batch, Clock(0, 1, 10, 0, 3), Draw(0).at(0, 1, 0)
    )
    found = torch.autograd.grad(step.loss, list(leaves.values()), allow_unused=True)
    return dict(zip(leaves, found, strict=True))


def test_each_branch_learns_from_its_own_loss(toy_problem, first_step):
    full, less = COMIC(), COMIC(Hyper(htb_weight=0.0, fusion=0.0))
    run, batch, _ = first_step(full, toy_problem(1), 1)
    with_balance, without = gradients(full, run, batch), gradients(less, run, batch)
    for name, slope in with_balance.items():
        same = torch.equal(slope, without[name])
        assert same == name.startswith(("head_branch", "tail_branch")), name
    assert with_balance["attention.key.weight"].abs().max() > 0


def test_counts_start_anew_with_every_epoch_and_the_mean_does_not(toy_problem, first_step):
    method, problem = COMIC(), toy_problem(3)
    run, batch, step = first_step(method, problem, 3)
    assert step.corrected.any()
    run.state.update(step.state)
    start, went = run.constants["counts"], step.corrected.sum(0)
    draw = Draw(0).at(0, 1, 1)
    second = method.step(run, batch, Clock(0, 1, 10, 1, 3), draw)
    assert torch.equal(second.state["balanced.counts"], start + went + second.corrected.sum(0))
    third = method.step(run, batch, Clock(0, 2, 10, 0, 3), draw)
    assert torch.equal(third.state["balanced.counts"], start + third.corrected.sum(0))
    assert torch.equal(third.state["balanced.probability"], second.state["balanced.probability"])
    for name in ("head_branch", "tail_branch"):
        moved = 1.9 * step.state[f"{name}.direction"]  # mu e + mean, the parameters unchanged
        torch.testing.assert_close(second.state[f"{name}.direction"], moved)
    late = COMIC(Hyper(rlc_start_epoch=3)).step(run, batch, Clock(0, 2, 10, 0, 3), draw)
    assert not late.corrected.any()
    assert set(late.state) == {"head_branch.direction", "tail_branch.direction"}


def test_without_weight_nothing_counts_as_corrected(toy_problem, first_step):
    assert not first_step(COMIC(Hyper(rlc_weight=0.0)), toy_problem(3), 3)[2].corrected.any()


def test_corrections_may_enter_the_modifier(toy_problem, first_step):
    method = COMIC(Hyper(mfm_targets="corrected", branches="b", rlc_weight=0.0))
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
    "projection_activation=log_softmax", "htb_alpha=0.5", "rlc_tau=0.5", "shift_tail=0", "width=3",
    "mfm_gamma_positive=1", "attention_dropout=0", "mfm_targets=corrected",
)  # fmt: skip


@pytest.mark.parametrize("options", ABLATIONS)
def test_ablations_change_the_loss_and_stay_finite(toy_problem, first_step, options):
    method = COMIC(parse("comic", Hyper, dict(o.split("=") for o in options.split())))
    run, batch, step = first_step(method, toy_problem(3), 3)
    assert torch.isfinite(step.loss)
    first = first_step(COMIC(), toy_problem(3), 3)[2]
    # The mean begins at the batch's, so its momentum shows from the second step on.
    assert (step.loss.item() == first.loss.item()) == (options == "rlc_momentum=0")
    for scale in (0.0, 50.0, -50.0, 1e4):
        for rows in ([0], [0, 0], [1, 2, 3, 4]):
            index = torch.tensor(rows)
            hard = Batch(index, scale * batch.features[: len(rows)], batch.observed[: len(rows)])
            if rows[0] == 0:
                hard = dataclasses.replace(hard, observed=torch.full_like(hard.observed, -1))
            slopes = gradients(method, run, hard)
            for name, slope in slopes.items():
                assert slope is None or torch.isfinite(slope).all(), (name, scale, rows)


def tiny_problem():
    observed = torch.tensor([[1, -1], [-1, 1]], dtype=torch.int8)
    return Problem(LabelTable.of(observed), 4, "missing", 3, Oracle({}, ()))


def test_rates_follow_the_branches():
    rates = COMIC().rates()
    names = COMIC().setup(tiny_problem(), Draw(0).at(0, 0)).params
    first = {name: next(r for p, r in rates.items() if name.startswith(p)) for name in names}
    assert first["balanced.projection.bias"] == Rate(step_every=12)
    assert first["balanced.classifier.weight"] == Rate(multiplier=0.1, step_every=18)
    assert first["attention.score.weight"] == Rate(step_every=18)
    assert first["head_branch.projection.weight"] == Rate(step_every=24)
    assert first["head_branch.classifier.weight"] == Rate(multiplier=0.1, step_every=24)
    assert first["tail_branch.projection.weight"] == Rate(step_every=12)
    assert first["tail_branch.classifier.weight"] == Rate(multiplier=0.1, step_every=12)
    for single, step in ((COMICHead(), 40), (COMICTail(), 12)):
        assert single.rates()["single.projection."] == Rate(step_every=step)
        assert single.rates()["single.classifier."] == Rate(multiplier=0.1, step_every=step)


@pytest.mark.parametrize("single", [COMICHead, COMICTail])
@pytest.mark.parametrize("kind", ["mfm", "pfm"])
def test_single_branch_is_the_modifier_alone(toy_problem, first_step, single, kind):
    problem = toy_problem(1)
    method = single(single.Hyper(mfm_kind=kind))
    run, batch, step = first_step(method, problem)
    p, target = run.params, (batch.observed == 1).float()
    projected = batch.features @ p["single.projection.weight"] + p["single.projection.bias"]
    logits = network.cosine_logits(projected, p["single.classifier.weight"])
    torch.testing.assert_close(method.logits(run, batch.features), logits)
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
    recipe = Recipe(epochs=8, batch=16, lr=0.02)
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
