"""ASL against the authors' numbers, an independent implementation and its own identities."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from baselines.asl import ASL, Hyper, asymmetric_loss
from baselines.core import LabelTable, registry


def loss_of(case, labels):
    given = case["hyper"]
    detached = given.get("focal_weight_detached", given.get("disable_torch_grad_focal_loss", True))
    return lambda z: asymmetric_loss(
        z,
        torch.tensor(case[labels]),
        gamma_negative=given["gamma_neg"],
        gamma_positive=given["gamma_pos"],
        clip=given["clip"],
        eps=given["eps"],
        focal_gradient=not detached,
    )


@pytest.mark.parametrize(
    ("name", "labels"),
    [("comic_asl", "targets"), ("pl_asl", "observed"), ("pl_bce_asl", "observed")],
)
def test_equals_the_authors_code(vectors, assert_matches, name, labels):
    for case in vectors(name)["cases"]:
        assert_matches(loss_of(case, labels), case["logits"], case["loss"], case["grad_logits"])


def reference(z, y, g_neg, g_pos, clip, weights_at=None):
    """The equation, entry by entry; `weights_at`: logits at which the powers are held."""
    p = 1 / (1 + np.exp(-z))
    w = p if weights_at is None else 1 / (1 + np.exp(-weights_at))
    total = 0.0
    for place in np.ndindex(z.shape):
        if y[place]:
            total -= (1 - w[place]) ** g_pos * np.log(max(p[place], 1e-8))
        else:
            shifted, held = max(p[place] - clip, 0), max(w[place] - clip, 0)
            total -= held**g_neg * np.log(max(1 - shifted, 1e-8))
    return total


@pytest.mark.parametrize("setting", [(2.5, 0.7, 0.0), (1.0, 3.0, 0.2), (0.5, 0.3, 0.1), (6, 2, 0)])
@pytest.mark.parametrize("focal_gradient", [True, False])
def test_numpy_reference(uniform, assert_reference, setting, focal_gradient):
    g_neg, g_pos, clip = setting
    positive = uniform("positive", (4, 5)) < 0.4
    logits = uniform("logits", (4, 5), -5, 5)
    held = None if focal_gradient else logits
    assert_reference(
        lambda z: asymmetric_loss(
            z,
            torch.from_numpy(positive),
            gamma_negative=g_neg,
            gamma_positive=g_pos,
            clip=clip,
            focal_gradient=focal_gradient,
        ),
        lambda z: reference(z, positive, g_neg, g_pos, clip, held),
        logits,
    )


def test_gradient_has_the_closed_form():
    z = torch.linspace(-6, 6, 25, dtype=torch.float64).reshape(5, 5).requires_grad_()
    p = torch.sigmoid(z.detach())
    for label in (0, 1):
        target = torch.full_like(p, label)
        loss = asymmetric_loss(z, target, gamma_negative=4.0, gamma_positive=1.0, clip=0.05)
        (slope,) = torch.autograd.grad(loss, z)
        shifted = p - 0.05
        negative = torch.where(shifted > 0, shifted**4 * p * (1 - p) / (1 - shifted), 0.0)
        expected = -((1 - p) ** 2) if label else negative
        torch.testing.assert_close(slope, expected, rtol=1e-12, atol=1e-14)


def test_entries_at_the_floor_have_no_gradient():
    z = torch.tensor([[-30.0, 30.0]], dtype=torch.float64, requires_grad=True)
    loss = asymmetric_loss(
        z, torch.tensor([[1, 0]]), gamma_negative=0.0, gamma_positive=0.0, clip=0.0
    )
    (slope,) = torch.autograd.grad(loss, z)
    assert loss.item() == pytest.approx(-2 * np.log(1e-8), rel=1e-12)
    assert slope.tolist() == [[0.0, 0.0]]


def test_reductions(uniform):
    z = torch.from_numpy(uniform("logits", (3, 4), -4, 4))
    y = torch.from_numpy(uniform("positive", (3, 4)) < 0.5)

    def value(**options):
        return asymmetric_loss(z, y, gamma_negative=4.0, gamma_positive=0.0, clip=0.05, **options)

    entries = value(reduction="none")
    assert entries.shape == (3, 4)
    assert value().item() == pytest.approx(entries.sum().item())
    assert value(reduction="mean").item() == pytest.approx(entries.sum().item() / 12)
    with pytest.raises(ValueError, match="reduction is 'median'"):
        value(reduction="median")


@pytest.mark.parametrize("focal_gradient", [True, False])
@pytest.mark.parametrize("gammas", [(4.0, 0.0), (0.0, 0.0), (0.5, 0.5), (0.01, 0.3)])
@pytest.mark.parametrize("clip", [0.0, 0.05, 0.5])
def test_finite_in_float32(assert_finite, gammas, clip, focal_gradient):
    def loss(z, observed):
        return asymmetric_loss(
            z,
            observed == 1,
            gamma_negative=gammas[0],
            gamma_positive=gammas[1],
            clip=clip,
            focal_gradient=focal_gradient,
        )

    assert_finite(loss)
    assert_finite(lambda z, observed: loss(20 * z, observed))


def test_method_is_the_mean_and_takes_unknown_as_negative(toy_problem, first_step):
    problem = toy_problem(1)
    run, batch, step = first_step(ASL(), problem)
    logits = ASL().logits(run, batch.features)
    expected = asymmetric_loss(
        logits, batch.observed == 1, gamma_negative=4.0, gamma_positive=0.0, clip=0.05
    )
    assert step.loss.item() == pytest.approx(expected.item() / logits.numel(), rel=1e-6)

    known = dataclasses.replace(problem, labels=LabelTable.of(problem.observed.clamp(min=0)))
    assert first_step(ASL(), known)[2].loss.item() == step.loss.item()


def test_stacks(assert_stacks):
    assert_stacks(ASL())
    assert_stacks(
        ASL(Hyper(focal_gradient=True)),
        gamma_negative=[4.0, 0.0, 1.5],
        gamma_positive=[0.0, 1.0, 0.5],
        clip=[0.0, 0.05, 0.2],
    )


def test_is_registered():
    assert registry.get("asl") is ASL
