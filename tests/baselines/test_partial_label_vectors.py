"""Every partial-label law against the authors' numbers: value and gradient, float64 and float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from baselines.an import assume_negative
from baselines.an_ls import smoothed_assume_negative
from baselines.csl import selective_weights
from baselines.em import entropy_maximisation
from baselines.epr import expected_positive_loss
from baselines.hill import hill_loss
from baselines.iu import ignore_unknown
from baselines.ll_cp import constant_count
from baselines.ll_r import correction, large_count, large_losses, rejection
from baselines.p_asl import mode_weights, partial_asymmetric_loss
from baselines.partial_bce import known_bce, partial_bce
from baselines.splc import confident_unknown, splc_loss
from baselines.wan import weak_assume_negative

Law = Callable[[Tensor], Tensor]
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}


def assert_numbers(law: Law, case: dict[str, Any], dtype: torch.dtype) -> None:
    rtol = TOLERANCE[dtype]
    z = torch.tensor(case["logits"], dtype=dtype, requires_grad=True)
    loss = law(z)
    (slope,) = torch.autograd.grad(loss, z)
    gradient = torch.tensor(case["grad_logits"], dtype=torch.float64)
    scale = float(gradient.abs().max())
    assert loss.dtype == dtype
    assert loss.item() == pytest.approx(case["loss"], rel=rtol)
    torch.testing.assert_close(slope.double(), gradient, rtol=rtol, atol=rtol * min(scale, 1.0))


def missing(case: dict[str, Any]) -> Tensor:
    """1 stays positive, everything else becomes unknown."""
    return torch.where(torch.tensor(case["observed"]) == 1, 1, -1)


def ours(labels: Tensor) -> Tensor:
    """From 1 positive, -1 negative, 0 unknown."""
    return torch.where(labels == 1, 1, torch.where(labels == -1, 0, -1))


def iu(case: dict[str, Any]) -> Law:
    observed = torch.tensor(case["observed"])
    negative = torch.tensor(case.get("true", case["observed"])) == -1
    return lambda z: ignore_unknown(z, observed == 1, negative)


def durand(case: dict[str, Any]) -> Law:
    given, observed = case["hyper"], torch.tensor(case["observed"])
    if "alpha" not in given:
        return lambda z: known_bce(z, ours(observed))
    options = dict(a=given["alpha"], b=given["beta"], gamma=given["gamma"])
    return lambda z: partial_bce(z, observed, **options)


def em(case: dict[str, Any]) -> Law:
    observed = torch.tensor(case["observed"], dtype=torch.float64)
    options: dict[str, Any] = dict(alpha=case["hyper"]["alpha"])
    if case["hyper"]["beta"] is not None:
        options |= dict(beta=case["hyper"]["beta"], soft=-observed, marked=observed < 0)
    return lambda z: entropy_maximisation(z, missing(case), **options)


def hill(case: dict[str, Any]) -> Law:
    given = dict(case["hyper"])
    lam = given.pop("lamb")
    positive = torch.tensor(case.get("observed", case.get("targets")))
    return lambda z: hill_loss(z, positive, lam=lam, **given)


def splc(case: dict[str, Any]) -> Law:
    given, observed = case["hyper"], missing(case)
    options = dict(margin=given["margin"], gamma=given["gamma"], reduction=given["reduction"])

    def law(z: Tensor) -> Tensor:
        corrected = confident_unknown(z, observed, given["tau"])
        corrected &= given["epoch"] >= given["change_epoch"]
        return splc_loss(z, observed, corrected, **options)

    return law


def epr(case: dict[str, Any]) -> Law:
    observed, expected = torch.tensor(case["observed"]), case["hyper"]["expected_num_pos"]
    return lambda z: expected_positive_loss(z, observed, expected)


LAWS: dict[str, Callable[[dict[str, Any]], Law]] = {
    "pl_an": lambda case: lambda z: assume_negative(z, torch.tensor(case["observed"])),
    "pl_an_ls": lambda case: (
        lambda z: smoothed_assume_negative(
            z, torch.tensor(case["observed"]), case["hyper"]["ls_coef"]
        )
    ),
    "pl_wan": lambda case: lambda z: weak_assume_negative(z, torch.tensor(case["observed"])),
    "pl_epr": epr,
    "pl_iu": iu,
    "pl_partial_bce": durand,
    "pl_em": em,
    "pl_hill": hill,
    "comic_hill": hill,
    "pl_splc": splc,
}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", LAWS)
def test_equals_the_authors_code(vectors, name, dtype):
    for case in vectors(name)["cases"]:
        assert_numbers(LAWS[name](case), case, dtype)


def weights_of(case: dict[str, Any], z: Tensor, observed: Tensor) -> Tensor:
    given = case["hyper"]
    if given["partial_loss_mode"] == "selective":
        prior = torch.tensor(case["prior"], dtype=z.dtype) if "prior" in case else None
        options = {name: given[name] for name in ("likelihood_topk", "prior_threshold")}
        return selective_weights(z, observed, prior=prior, **options)
    modes = {None: "negative", "ignore_normalize_classes": "ignore-normalised"}
    mode = modes.get(given["partial_loss_mode"], given["partial_loss_mode"])
    return mode_weights(observed, mode, z.dtype)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", ["pl_pasl_csl", "comic_pasl"])
def test_partial_asymmetric_loss_equals_the_authors_code(vectors, name, dtype):
    names = {"pos": "positive", "neg": "negative", "unann": "unknown"}
    for case in vectors(name)["cases"]:
        given = case["hyper"]
        observed = torch.tensor(case.get("observed", case.get("targets")))
        options = {
            f"{kind}_{ours}": given[f"{kind}_{theirs}"]
            for kind in ("gamma", "alpha")
            for theirs, ours in names.items()
        }

        def law(z, case=case, observed=observed, options=options):
            weights = weights_of(case, z, observed)
            clip = case["hyper"]["clip"]
            return partial_asymmetric_loss(z, observed, weights, clip=clip, **options)

        assert_numbers(law, case, dtype)
        if "target_weights" in case and dtype == torch.float64:
            wanted = torch.as_tensor(case["target_weights"], dtype=dtype).expand(observed.shape)
            weights = weights_of(case, torch.tensor(case["logits"], dtype=dtype), observed)
            torch.testing.assert_close(weights, wanted, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_large_loss_equals_the_authors_code(vectors, dtype):
    cases = vectors("pl_large_loss")["cases"]
    assert len(cases) == 7
    for case in cases:
        given, observed = case["hyper"], missing(case)
        z = torch.tensor(case["logits"], dtype=dtype)
        if case["name"].endswith("intended"):
            count = constant_count(z, 100 * given["delta_rel"], 2)
        else:
            count = large_count(z.numel(), given["clean_rate"], z)
        assert count.item() == (case["k"] or 0), case["name"]
        large, above = large_losses(z, observed, count)
        law = rejection if given["mod_scheme"] == "LL-R" else correction
        assert_numbers(
            lambda z, law=law, observed=observed, large=large: law(z, observed, large), case, dtype
        )
        wanted = torch.zeros_like(above)
        if case["correction_idx"] is not None:
            wanted[tuple(torch.tensor(index) for index in case["correction_idx"])] = True
        assert torch.equal(above, wanted), case["name"]
        assert large.sum() == count
