"""ASL: the authors' numbers, a NumPy reference, the closed-form gradient, the method."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from baselines.asl import ASL, Hyper, asymmetric_loss
from baselines.core import LabelTable, registry


def loss_of(case, labels):
    """The loss with the hyperparameters of a case; the sources name the last one differently."""
    hyper = case["hyper"]
    detached = hyper.get("focal_weight_detached", hyper.get("disable_torch_grad_focal_loss", True))
    return lambda logits: asymmetric_loss(
        logits,
        torch.tensor(case[labels]),
        gamma_negative=hyper["gamma_neg"],
        gamma_positive=hyper["gamma_pos"],
        clip=hyper["clip"],
        eps=hyper["eps"],
        focal_gradient=not detached,
    )


@pytest.mark.parametrize(
    ("name", "labels"),
    [("comic_asl", "targets"), ("pl_asl", "observed"), ("pl_bce_asl", "observed")],
)
def test_equals_the_authors_code(vectors, assert_matches, name, labels):
    for case in vectors(name)["cases"]:
        assert_matches(loss_of(case, labels), case["logits"], case["loss"], case["grad_logits"])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def reference(logits, positive, gamma_negative, gamma_positive, clip, constant_logits=None):
    """-(1 - p)^g+ log p for positives, -p_m^g- log(1 - p_m) for negatives; their sum.

    p_m = max(p - clip, 0). The powers are taken at `constant_logits` if they carry no gradient.
    """
    probability = sigmoid(logits)
    power_base = probability if constant_logits is None else sigmoid(constant_logits)
    shifted = np.maximum(probability - clip, 0)
    shifted_base = np.maximum(power_base - clip, 0)
    positive_terms = (1 - power_base) ** gamma_positive * np.log(np.maximum(probability, 1e-8))
    negative_terms = shifted_base**gamma_negative * np.log(np.maximum(1 - shifted, 1e-8))
    return -np.where(positive, positive_terms, negative_terms).sum()


@pytest.mark.parametrize("setting", [(2.5, 0.7, 0.0), (1.0, 3.0, 0.2), (0.5, 0.3, 0.1), (6, 2, 0)])
@pytest.mark.parametrize("focal_gradient", [True, False])
def test_numpy_reference(uniform, assert_reference, setting, focal_gradient):
    gamma_negative, gamma_positive, clip = setting
    positive = uniform("positive", (4, 5)) < 0.4
    logits = uniform("logits", (4, 5), -5, 5)
    constant_logits = None if focal_gradient else logits
    options = dict(gamma_negative=gamma_negative, gamma_positive=gamma_positive, clip=clip)
    assert_reference(
        lambda logits: asymmetric_loss(
            logits, torch.from_numpy(positive), **options, focal_gradient=focal_gradient
        ),
        lambda logits: reference(logits, positive, **options, constant_logits=constant_logits),
        logits,
    )


def test_gradient_has_the_closed_form(assert_close):
    logits = torch.linspace(-6, 6, 25, dtype=torch.float64).reshape(5, 5).requires_grad_()
    p = torch.sigmoid(logits.detach())
    shifted = p - 0.05
    expected = {
        0: torch.where(shifted > 0, shifted**4 * p * (1 - p) / (1 - shifted), 0.0),
        1: -((1 - p) ** 2),
    }
    for label in (0, 1):
        target = torch.full_like(p, label)
        loss = asymmetric_loss(logits, target, gamma_negative=4.0, gamma_positive=1.0, clip=0.05)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert_close(gradient, expected[label], 1e-12)


def test_entries_at_the_floor_have_no_gradient():
    logits = torch.tensor([[-30.0, 30.0]], dtype=torch.float64, requires_grad=True)
    loss = asymmetric_loss(
        logits, torch.tensor([[1, 0]]), gamma_negative=0.0, gamma_positive=0.0, clip=0.0
    )
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(-2 * np.log(1e-8), rel=1e-12)
    assert gradient.tolist() == [[0.0, 0.0]]


def test_reductions(uniform):
    logits = torch.from_numpy(uniform("logits", (3, 4), -4, 4))
    positive = torch.from_numpy(uniform("positive", (3, 4)) < 0.5)

    def value(**options):
        return asymmetric_loss(
            logits, positive, gamma_negative=4.0, gamma_positive=0.0, clip=0.05, **options
        )

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
    def loss(logits, observed):
        return asymmetric_loss(
            logits,
            observed == 1,
            gamma_negative=gammas[0],
            gamma_positive=gammas[1],
            clip=clip,
            focal_gradient=focal_gradient,
        )

    assert_finite(loss)
    assert_finite(lambda logits, observed: loss(20 * logits, observed))


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
