"""COMIC's losses and network: the authors' numbers, cases worked by hand, hard cases."""

from __future__ import annotations

import math

import pytest
import torch

from baselines.comic import Hyper
from baselines.shared import comic_branch as branch
from baselines.shared import comic_losses as losses
from baselines.shared import comic_network as network
from benchkit.base.draw import Draw


def double(values, **options):
    return torch.tensor(values, dtype=torch.float64, **options)


@pytest.fixture
def assert_gradient(assert_close):
    def check(value, leaf, expected):
        (gradient,) = torch.autograd.grad(value, leaf, retain_graph=True)
        assert_close(gradient, expected, name="gradient")

    return check


def modifier(case, power, **options):
    """MFM or PFM with the hyperparameters of a case, and the class weights: logits -> loss."""
    hyper, statistics = case["hyper"], case["class_statistics"]
    weight = losses.class_weight(double(statistics["class_counts"]), power)
    together = statistics.get("co_occurrence")

    def loss(logits):
        target = double(case["targets"])
        shares = None if together is None else losses.column_shares(double(together))
        return losses.multi_focal_loss(
            logits,
            target,
            weight=weight,
            exponent=weight,
            gamma_negative=hyper["gamma_neg"],
            gamma_positive=hyper["gamma_pos"],
            clip=hyper["clip"],
            expected=None if shares is None else losses.expected_classes(target, shares),
            **options,
        )

    return loss, weight


@pytest.mark.parametrize("name", ["comic_mfm", "comic_pfm"])
def test_modifier_equals_the_authors_code(vectors, assert_matches, assert_close, name):
    for case in vectors(name)["cases"]:
        hyper = case["hyper"]
        relief = {"relief": hyper["gamma_class_ng"]} if name == "comic_pfm" else {}
        loss, weight = modifier(case, hyper["weight_exponent"], eps=hyper["eps"], **relief)
        assert_close(weight, case["extra_state"]["weight"])
        assert_matches(loss, case["logits"], case["loss"], case["grad_logits"])


def test_corrector_equals_the_authors_code_step_by_step(vectors, assert_close, assert_gradient):
    cases = vectors("comic_rlc")["cases"]
    assert (
        cases[0]["hyper"]["epoch"] < cases[0]["hyper"]["compute_epoch"]
    )  # nothing is corrected yet
    original = double(cases[1]["class_statistics"]["class_counts"])
    counts, epoch = original, 0
    for case in cases[1:]:
        hyper, state = case["hyper"], case["extra_state"]
        before, after = state["before"], state["after"]
        assert_close(counts, before["distribution"])
        if hyper["epoch"] != epoch:
            counts, epoch = original, hyper["epoch"]
        logits = double(case["logits"], requires_grad=True)
        positive = torch.tensor(case["targets"]).to(torch.int8)
        observed = torch.where(positive == 1, positive, -1)
        correction = losses.correct(
            logits,
            observed,
            torch.full_like(original, -1.0),
            counts,
            tau=hyper["tau"],
            margin=hyper["margin"],
            momentum=0.0,
        )
        counts = correction.counts
        assert_close(correction.probability, state["batch_mean_prob"])
        assert correction.labels.tolist() == state["corrected_targets"]
        assert int(correction.corrected.sum()) == state["n_corrected"]
        assert_close(counts, after["distribution"])
        assert_close(losses.class_weight(counts, hyper["weight_exponent"]), after["weight"])

        def mfm(logits, target, class_counts, hyper=hyper):
            weight = losses.class_weight(class_counts, hyper["weight_exponent"])
            return losses.multi_focal_loss(
                logits,
                target,
                weight=weight,
                exponent=weight,
                gamma_negative=hyper["gamma_neg"],
                gamma_positive=hyper["gamma_pos"],
                clip=hyper["clip"],
                eps=hyper["eps"],
            )

        loss = losses.correction_loss(correction, mfm, hyper["batch_size"])
        assert_close(loss, case["loss"])
        assert_gradient(loss, logits, case["grad_logits"])


@pytest.mark.parametrize("detach", [False, True])
def test_balancer_equals_the_authors_code(vectors, assert_close, assert_gradient, detach):
    for case in vectors("comic_htb")["cases"]:
        extra = case["extra_state"]
        power = {"pfm": 1 / 3, "mfm": 1 / 6}[case["hyper"]["inner"]]
        loss, _ = modifier(case, power)
        balanced = double(case["logits"], requires_grad=True)
        head, tail = (double(extra[f"{k}_logits"], requires_grad=True) for k in ("head", "tail"))
        assert_close(loss(head), extra["loss_head"])
        assert_close(loss(tail), extra["loss_tail"])
        value = losses.balancer_loss(
            balanced, head, tail, loss, alpha=case["hyper"]["alpha"], detach=detach
        )
        assert_close(value, case["loss"])
        assert_gradient(value, balanced, case["grad_logits"])
        if detach:
            gradients = torch.autograd.grad(value, [head, tail], allow_unused=True)
            assert gradients == (None, None)
        else:
            assert_gradient(value, head, extra["grad_head_logits"])
            assert_gradient(value, tail, extra["grad_tail_logits"])


def test_classifier_equals_the_authors_code(vectors, assert_close, assert_gradient):
    for case in vectors("comic_classifier")["cases"]:
        hyper, extra = case["hyper"], case["extra_state"]
        branch_name = case["name"].split("_")[1][0]
        shift = {"b": 0.0, "h": -1.0, "t": hyper["alpha"]}[branch_name]
        features = double(case["features"], requires_grad=True)
        weight, direction = double(extra["weight"]).T, double(extra["embed"])

        def shifted(direction, features=features, weight=weight, shift=shift, hyper=hyper):
            options = dict(scale=hyper["rho"], floor=hyper["eta"], shift=shift)
            return network.cosine_logits(features, weight, direction=direction, **options)

        plain = network.cosine_logits(features, weight, scale=hyper["rho"], floor=hyper["eta"])
        moved = shifted(direction)
        assert_close(plain, case["logits"])
        assert_close(moved, extra["logits_moving"])
        total = plain.sum() + moved.sum()
        assert_close(total, case["loss"])
        assert_gradient(total, features, case["grad_features"])
        assert_close(shifted(7 * direction), moved)  # the length does not matter
        assert_close(shifted(0 * direction), plain)


def test_attention_equals_the_authors_code(vectors, assert_close):
    (case,) = vectors("comic_attention")["cases"]
    extra = {name: double(value) for name, value in case["extra_state"].items()}
    keys = torch.stack([extra["f_h"], extra["f_t"]], 1)
    attention = network.attend(extra["f_b"], keys, extra["W_q"].T, extra["W_k"].T, extra["w_v"][0])
    assert_close(attention, extra["attention"][:, 0])
    fused = network.fuse(extra["f_b"], keys, attention, case["hyper"]["fusion_coef"])
    assert_close(fused, extra["fused"])


# ------------------------------------------------------------------------------ by hand


def test_class_weight_by_hand():
    weight = losses.class_weight(double([1240.0, 6.0, 1240.0]), 1 / 3)
    assert weight.tolist() == pytest.approx([1.0, (1 + math.log(1240 / 6)) ** (1 / 3), 1.0])


def test_a_class_without_positives_has_the_weight_of_one_positive():
    one, none = (losses.class_weight(double([90.0, 7.0, n]), 1 / 3) for n in (1.0, 0.0))
    assert torch.equal(one, none)


def test_without_head_tail_weights_mfm_is_asl(uniform):
    target = double(uniform("labels", (6, 5)) < 0.4)
    inputs = double(uniform("logits", (6, 5), -9, 9)), target, double([50.0, 9, 4, 1, 1]), 1 / 3
    mfm = branch.modified_loss(Hyper(mfm_gamma_negative=4.0, mfm_head_tail=False), *inputs)
    asl = branch.modified_loss(Hyper(mfm_kind="asl"), *inputs)
    assert mfm.item() == pytest.approx(asl.item())


def test_focal_has_no_floor():
    logits, target = double([[-50.0, 50.0, 30.0]]), double([[1.0, 0.0, 0.0]])
    inputs = logits, target, double([1.0, 1.0, 1.0]), 1 / 3
    assert branch.modified_loss(Hyper(mfm_kind="focal"), *inputs).item() == pytest.approx(130.0)


@pytest.mark.parametrize("groups", [2, 3])
def test_groups_of_features_are_averaged(uniform, assert_close, groups):
    features, weight = double(uniform("f", (5, 6), -1, 1)), double(uniform("w", (6, 3), -1, 1))
    direction, options = double(uniform("e", (6,), -1, 1)), dict(shift=2.0, scale=8.0)
    slices = [slice(start, start + 6 // groups) for start in range(0, 6, 6 // groups)]
    parts = [
        network.cosine_logits(features[:, s], weight[s], direction=direction[s], **options)
        for s in slices
    ]
    logits = network.cosine_logits(features, weight, direction=direction, groups=groups, **options)
    assert_close(logits, sum(parts) / groups)
    parts = [network.cosine_logits(features[:, s], weight[s]) for s in slices]
    assert_close(network.cosine_logits(features, weight, groups=groups), sum(parts) / groups)


def test_corrections_by_hand():
    logits = double([[2.0, 2.0, 2.0, 0.5], [2.0, -2.0, 3.0, 3.0]])
    observed = torch.tensor([[-1, 0, 1, -1], [-1, -1, 1, -1]], dtype=torch.int8)
    state = double([0.95, 0.2, 0.2, -1.0]), double([4.0, 3.0, 2.0, 1.0])
    correction = losses.correct(logits, observed, *state, tau=0.7, margin=1.0, momentum=0.9)

    def p(logit):
        return 1 / (1 + math.exp(-logit))

    # Class 0 is confident, but less than its running mean; 1 is known to be absent; 2 is observed;
    # 3 has no running mean yet and uses the mean of the batch.
    assert correction.corrected.tolist() == [[False] * 4, [False, False, False, True]]
    expected = [
        0.9 * 0.95 + 0.1 * p(2.0),
        0.9 * 0.2 + 0.05 * (p(2.0) + p(-2.0)),
        0.9 * 0.2 + 0.05 * (p(1.0) + p(2.0)),
        0.5 * (p(0.5) + p(3.0)),
    ]
    assert correction.probability.tolist() == pytest.approx(expected)
    assert correction.counts.tolist() == [4, 3, 2, 2]
    assert correction.labels.tolist() == [[0, 0, 1, 0], [0, 0, 1, 1]]
    assert correction.logits.tolist() == [[2, 2, 1, 0.5], [2, -2, 2, 3]]
    loss = losses.correction_loss(
        correction, lambda logits, target, counts: logits.sum() + target.sum() + counts.sum()
    )
    assert loss.item() == pytest.approx(2 / 3 * (10.5 + 3 + 11))


def test_expected_classes_by_hand(assert_close):
    shares = losses.column_shares(double([[4.0, 2, 0], [2, 2, 0], [0, 0, 0]]))
    assert shares.tolist() == [[4 / 6, 0.5, 0], [2 / 6, 0.5, 0], [0, 0, 0]]
    expected = losses.expected_classes(double([[1.0, 0, 0], [0, 0, 0], [0, 0, 1]]), shares)
    assert expected.tolist() == [pytest.approx([4 / 7, 3 / 7, 0]), [0, 0, 0], [0, 0, 0]]
    fractions = losses.column_shares(double([[0.3, 0.1], [0.1, 0.0]]))
    assert_close(fractions, double([[0.75, 1], [0.25, 0]]), 1e-12)


def test_dropout_keeps_the_mean():
    uniform = Draw(3).uniform("u", 20000, 2)
    values = network.dropped(torch.ones(20000, 2), uniform, 0.1)
    assert sorted(set(values.flatten().tolist())) == pytest.approx([0, 1 / 0.9])
    assert values.mean().item() == pytest.approx(1.0, rel=0.01)  # of 40,000 draws


@pytest.mark.parametrize("kind", ["mfm", "pfm", "asl", "focal", "bce"])
def test_losses_are_finite_in_float32(assert_finite, kind):
    hyper, counts = Hyper(mfm_kind=kind, mfm_gamma_positive=0.5), torch.tensor([900.0, 30, 1, 1])
    shares = losses.column_shares(torch.diag(torch.tensor([900.0, 30.0, 1.0, 0.0])))

    def modified(logits, target, class_counts):
        expected = losses.expected_classes(target, shares) if kind == "pfm" else None
        return branch.modified_loss(hyper, logits, target, class_counts, 1 / 3, expected)

    def all_parts(logits, observed):
        target = (observed == 1).float()
        correction = losses.correct(logits, observed, torch.full((4,), -1.0), counts)
        balance = losses.balancer_loss(
            logits, logits, -logits, lambda z: modified(z, target, counts), detach=False
        )
        plain = modified(logits, target, counts)
        return balance + losses.correction_loss(correction, modified) + plain

    assert_finite(all_parts)
    assert_finite(lambda logits, observed: all_parts(20 * logits, observed))


def test_the_balancer_is_finite_for_zero_and_huge_losses():
    logits = torch.zeros(2, 3, requires_grad=True)
    fixed = (logits,) * 3
    zero = losses.balancer_loss(*fixed, lambda z: 0.0 * z.sum(), alpha=2.0)
    assert zero.item() == 0.0
    huge = losses.balancer_loss(*fixed, lambda z: z.sum() * 0 + 1e30, alpha=4.0)
    assert huge.item() == pytest.approx(1e30)
