"""COMIC's losses and network: the authors' numbers, cases by hand, hard cases."""

from __future__ import annotations

import math

import pytest
import torch

from baselines.comic import Hyper
from baselines.comic_parts import branch, losses, network
from benchkit.base.draw import Draw

EXACT = dict(rtol=1e-9, atol=1e-9)


def double(values, **options):
    return torch.tensor(values, dtype=torch.float64, **options)


def assert_gradient(value, leaf, expected):
    (slope,) = torch.autograd.grad(value, leaf, retain_graph=True)
    torch.testing.assert_close(slope, double(expected), **EXACT)


def modifier(case, power, **options):
    """MFM or PFM as a vector file describes it: (logits, target) -> loss."""
    given, statistics = case["hyper"], case["class_statistics"]
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
            gamma_negative=given["gamma_neg"],
            gamma_positive=given["gamma_pos"],
            clip=given["clip"],
            expected=None if shares is None else losses.expected_classes(target, shares),
            **options,
        )

    return loss, weight


@pytest.mark.parametrize("name", ["comic_mfm", "comic_pfm"])
def test_modifier_equals_the_authors_code(vectors, assert_matches, name):
    for case in vectors(name)["cases"]:
        given = case["hyper"]
        relief = {"relief": given["gamma_class_ng"]} if name == "comic_pfm" else {}
        loss, weight = modifier(case, given["weight_exponent"], eps=given["eps"], **relief)
        torch.testing.assert_close(weight, double(case["extra_state"]["weight"]), **EXACT)
        assert_matches(loss, case["logits"], case["loss"], case["grad_logits"])


def test_corrector_equals_the_authors_code_step_by_step(vectors):
    cases = vectors("comic_rlc")["cases"]
    assert cases[0]["hyper"]["epoch"] < cases[0]["hyper"]["compute_epoch"]  # nothing happens there
    original = double(cases[1]["class_statistics"]["class_counts"])
    counts, epoch = original, 0
    for case in cases[1:]:
        given, before, after = case["hyper"], *(case["extra_state"][k] for k in ("before", "after"))
        torch.testing.assert_close(counts, double(before["distribution"]), **EXACT)
        if given["epoch"] != epoch:
            counts, epoch = original, given["epoch"]
        logits = double(case["logits"], requires_grad=True)
        positive = torch.tensor(case["targets"]).to(torch.int8)
        observed = torch.where(positive == 1, positive, -1)
        correction = losses.correct(
            logits,
            observed,
            torch.full_like(original, -1.0),
            counts,
            tau=given["tau"],
            margin=given["margin"],
            momentum=0.0,
        )
        counts = correction.counts
        mean = double(case["extra_state"]["batch_mean_prob"])
        torch.testing.assert_close(correction.probability, mean, **EXACT)
        assert correction.labels.tolist() == case["extra_state"]["corrected_targets"]
        assert int(correction.corrected.sum()) == case["extra_state"]["n_corrected"]
        torch.testing.assert_close(counts, double(after["distribution"]), **EXACT)
        weight = losses.class_weight(counts, given["weight_exponent"])
        torch.testing.assert_close(weight, double(after["weight"]), **EXACT)

        def inner(z, y, n, given=given):
            w = losses.class_weight(n, given["weight_exponent"])
            options = dict(gamma_negative=given["gamma_neg"], gamma_positive=given["gamma_pos"])
            return losses.multi_focal_loss(
                z, y, weight=w, exponent=w, clip=given["clip"], eps=given["eps"], **options
            )

        loss = losses.correction_loss(correction, inner, given["batch_size"])
        assert loss.item() == pytest.approx(case["loss"], rel=1e-9, abs=1e-9)
        assert_gradient(loss, logits, case["grad_logits"])


@pytest.mark.parametrize("detach", [False, True])
def test_balancer_equals_the_authors_code(vectors, detach):
    for case in vectors("comic_htb")["cases"]:
        extra = case["extra_state"]
        power = {"pfm": 1 / 3, "mfm": 1 / 6}[case["hyper"]["inner"]]
        loss, _ = modifier(case, power)
        balanced = double(case["logits"], requires_grad=True)
        head, tail = (double(extra[f"{k}_logits"], requires_grad=True) for k in ("head", "tail"))
        assert loss(head).item() == pytest.approx(extra["loss_head"], rel=1e-9)
        assert loss(tail).item() == pytest.approx(extra["loss_tail"], rel=1e-9)
        value = losses.balancer_loss(
            balanced, head, tail, loss, alpha=case["hyper"]["alpha"], detach=detach
        )
        assert value.item() == pytest.approx(case["loss"], rel=1e-9, abs=1e-9)
        assert_gradient(value, balanced, case["grad_logits"])
        if detach:
            slopes = torch.autograd.grad(value, [head, tail], allow_unused=True)
            assert slopes == (None, None)
        else:
            assert_gradient(value, head, extra["grad_head_logits"])
            assert_gradient(value, tail, extra["grad_tail_logits"])


def test_classifier_equals_the_authors_code(vectors):
    for case in vectors("comic_classifier")["cases"]:
        given, extra = case["hyper"], case["extra_state"]
        shift = {"b": 0.0, "h": -1.0, "t": given["alpha"]}[case["name"].split("_")[1][0]]
        features = double(case["features"], requires_grad=True)
        weight, options = double(extra["weight"]).T, dict(scale=given["rho"], floor=given["eta"])
        plain = network.cosine_logits(features, weight, **options)
        direction = double(extra["embed"])
        moved = network.cosine_logits(features, weight, direction=direction, shift=shift, **options)
        torch.testing.assert_close(plain, double(case["logits"]), **EXACT)
        torch.testing.assert_close(moved, double(extra["logits_moving"]), **EXACT)
        total = plain.sum() + moved.sum()
        assert total.item() == pytest.approx(case["loss"], rel=1e-9, abs=1e-9)
        assert_gradient(total, features, case["grad_features"])
        longer = network.cosine_logits(
            features, weight, direction=7 * direction, shift=shift, **options
        )
        torch.testing.assert_close(longer, moved, **EXACT)  # only its direction counts
        still = network.cosine_logits(
            features, weight, direction=0 * direction, shift=shift, **options
        )
        torch.testing.assert_close(still, plain, **EXACT)


def test_attention_equals_the_authors_code(vectors):
    (case,) = vectors("comic_attention")["cases"]
    extra = {name: double(value) for name, value in case["extra_state"].items()}
    keys = torch.stack([extra["f_h"], extra["f_t"]], 1)
    attention = network.attend(extra["f_b"], keys, extra["W_q"].T, extra["W_k"].T, extra["w_v"][0])
    torch.testing.assert_close(attention, extra["attention"][:, 0], **EXACT)
    fused = network.fuse(extra["f_b"], keys, attention, case["hyper"]["fusion_coef"])
    torch.testing.assert_close(fused, extra["fused"], **EXACT)


# ------------------------------------------------------------------------------ by hand


def test_class_weight_by_hand():
    weight = losses.class_weight(double([1240.0, 6.0, 1240.0]), 1 / 3)
    assert weight.tolist() == pytest.approx([1.0, (1 + math.log(1240 / 6)) ** (1 / 3), 1.0])


def test_a_class_without_positives_weighs_as_one_with_one():
    few, none = (losses.class_weight(double([90.0, 7.0, n]), 1 / 3) for n in (1.0, 0.0))
    assert torch.equal(few, none)


def test_positive_and_negative_exponents_alone_are_asl(uniform):
    target = double(uniform("labels", (6, 5)) < 0.4)
    given = double(uniform("logits", (6, 5), -9, 9)), target, double([50.0, 9, 4, 1, 1]), 1 / 3
    alone = Hyper(mfm_gamma_negative=4.0, mfm_head_tail=False)
    value = branch.modified_loss(alone, *given).item()
    assert value == pytest.approx(branch.modified_loss(Hyper(mfm_kind="asl"), *given).item())


def test_focal_has_no_floor():
    given = double([[-50.0, 50.0, 30.0]]), double([[1.0, 0.0, 0.0]]), double([1.0, 1.0, 1.0]), 1 / 3
    assert branch.modified_loss(Hyper(mfm_kind="focal"), *given).item() == pytest.approx(130.0)


@pytest.mark.parametrize("groups", [2, 3])
def test_groups_of_features_are_averaged(uniform, groups):
    f, w = double(uniform("f", (5, 6), -1, 1)), double(uniform("w", (6, 3), -1, 1))
    e, options = double(uniform("e", (6,), -1, 1)), dict(shift=2.0, scale=8.0)
    cut = [slice(k, k + 6 // groups) for k in range(0, 6, 6 // groups)]
    parts = [network.cosine_logits(f[:, k], w[k], direction=e[k], **options) for k in cut]
    got = network.cosine_logits(f, w, direction=e, groups=groups, **options)
    torch.testing.assert_close(got, sum(parts) / groups, **EXACT)
    parts = [network.cosine_logits(f[:, k], w[k]) for k in cut]
    torch.testing.assert_close(
        network.cosine_logits(f, w, groups=groups), sum(parts) / groups, **EXACT
    )


def test_what_is_corrected_by_hand():
    logits = double([[2.0, 2.0, 2.0, 0.5], [2.0, -2.0, 3.0, 3.0]])
    observed = torch.tensor([[-1, 0, 1, -1], [-1, -1, 1, -1]], dtype=torch.int8)
    state = double([0.95, 0.2, 0.2, -1.0]), double([4.0, 3.0, 2.0, 1.0])
    found = losses.correct(logits, observed, *state, tau=0.7, margin=1.0, momentum=0.9)

    def p(z):
        return 1 / (1 + math.exp(-z))

    # Class 0 is confident, but less so than usual; 1 is known absent; 2 is observed; in 3 the
    # mean has not begun, so the batch's stands for it.
    assert found.corrected.tolist() == [[False] * 4, [False, False, False, True]]
    expected = [
        0.9 * 0.95 + 0.1 * p(2.0),
        0.9 * 0.2 + 0.05 * (p(2.0) + p(-2.0)),
        0.9 * 0.2 + 0.05 * (p(1.0) + p(2.0)),
        0.5 * (p(0.5) + p(3.0)),
    ]
    assert found.probability.tolist() == pytest.approx(expected)
    assert found.counts.tolist() == [4, 3, 2, 2]
    assert found.labels.tolist() == [[0, 0, 1, 0], [0, 0, 1, 1]]
    assert found.logits.tolist() == [[2, 2, 1, 0.5], [2, -2, 2, 3]]
    loss = losses.correction_loss(found, lambda z, y, n: z.sum() + y.sum() + n.sum())
    assert loss.item() == pytest.approx(2 / 3 * (10.5 + 3 + 11))


def test_expected_classes_by_hand():
    shares = losses.column_shares(double([[4.0, 2, 0], [2, 2, 0], [0, 0, 0]]))
    assert shares.tolist() == [[4 / 6, 0.5, 0], [2 / 6, 0.5, 0], [0, 0, 0]]
    expected = losses.expected_classes(double([[1.0, 0, 0], [0, 0, 0], [0, 0, 1]]), shares)
    assert expected.tolist() == [pytest.approx([4 / 7, 3 / 7, 0]), [0, 0, 0], [0, 0, 0]]
    fractions = losses.column_shares(double([[0.3, 0.1], [0.1, 0.0]]))
    torch.testing.assert_close(fractions, double([[0.75, 1], [0.25, 0]]))


def test_dropout_keeps_the_mean():
    uniform = Draw(3).uniform("u", 20000, 2)
    values = network.dropped(torch.ones(20000, 2), uniform, 0.1)
    assert sorted(set(values.flatten().tolist())) == pytest.approx([0, 1 / 0.9])
    assert values.mean().item() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("kind", ["mfm", "pfm", "asl", "focal", "bce"])
def test_losses_are_finite_in_float32(assert_finite, kind):
    hyper, counts = Hyper(mfm_kind=kind, mfm_gamma_positive=0.5), torch.tensor([900.0, 30, 1, 1])
    shares = losses.column_shares(torch.diag(torch.tensor([900.0, 30.0, 1.0, 0.0])))

    def modified(z, y, n):
        expected = losses.expected_classes(y, shares) if kind == "pfm" else None
        return branch.modified_loss(hyper, z, y, n, 1 / 3, expected)

    def every(z, observed):
        target = (observed == 1).float()
        found = losses.correct(z, observed, torch.full((4,), -1.0), counts)
        balance = losses.balancer_loss(
            z, z, -z, lambda values: modified(values, target, counts), detach=False
        )
        return balance + losses.correction_loss(found, modified) + modified(z, target, counts)

    assert_finite(every)
    assert_finite(lambda z, observed: every(20 * z, observed))


def test_kappa_survives_losses_that_vanish():
    logits = torch.zeros(2, 3, requires_grad=True)
    value = losses.balancer_loss(logits, logits, logits, lambda z: 0.0 * z.sum(), alpha=2.0)
    assert value.item() == 0.0
    huge = losses.balancer_loss(logits, logits, logits, lambda z: z.sum() * 0 + 1e30, alpha=4.0)
    assert huge.item() == pytest.approx(1e30)
