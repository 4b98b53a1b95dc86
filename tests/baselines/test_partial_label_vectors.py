"""Partial-label losses against numbers of the authors' code.

Value and gradient: 1e-9 in float64, 1e-5 in float32, relative to the largest entry.
"""

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

Loss = Callable[[Tensor], Tensor]
Case = dict[str, Any]


@pytest.fixture(params=[torch.float64, torch.float32], ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


def only_positives(case: Case) -> Tensor:
    """The observed positives of a case; every other label becomes unknown."""
    return torch.where(torch.tensor(case["observed"]) == 1, 1, -1)


def our_codes(labels: Tensor) -> Tensor:
    """From 1 positive, -1 negative, 0 unknown to 1, 0, -1."""
    return torch.where(labels == 1, 1, torch.where(labels == -1, 0, -1))


def an(case: Case) -> Loss:
    return lambda logits: assume_negative(logits, torch.tensor(case["observed"]))


def an_ls(case: Case) -> Loss:
    observed, smoothing = torch.tensor(case["observed"]), case["hyper"]["ls_coef"]
    return lambda logits: smoothed_assume_negative(logits, observed, smoothing)


def wan(case: Case) -> Loss:
    return lambda logits: weak_assume_negative(logits, torch.tensor(case["observed"]))


def epr(case: Case) -> Loss:
    observed, expected = torch.tensor(case["observed"]), case["hyper"]["expected_num_pos"]
    return lambda logits: expected_positive_loss(logits, observed, expected)


def iu(case: Case) -> Loss:
    """IU, or IUN where the case has the true labels."""
    observed = torch.tensor(case["observed"])
    negative = torch.tensor(case.get("true", case["observed"])) == -1
    return lambda logits: ignore_unknown(logits, observed == 1, negative)


def partial_bce_of(case: Case) -> Loss:
    hyper, observed = case["hyper"], torch.tensor(case["observed"])
    if "alpha" not in hyper:
        return lambda logits: known_bce(logits, our_codes(observed))
    options = dict(a=hyper["alpha"], b=hyper["beta"], gamma=hyper["gamma"])
    return lambda logits: partial_bce(logits, observed, **options)


def em(case: Case) -> Loss:
    """EM, or EM + APL where a label -s in (-1, 0) is the soft pseudo label s."""
    observed = torch.tensor(case["observed"], dtype=torch.float64)
    options: dict[str, Any] = dict(alpha=case["hyper"]["alpha"])
    if case["hyper"]["beta"] is not None:
        options |= dict(beta=case["hyper"]["beta"], soft=-observed, marked=observed < 0)
    return lambda logits: entropy_maximisation(logits, only_positives(case), **options)


def hill(case: Case) -> Loss:
    hyper = dict(case["hyper"])
    lam = hyper.pop("lamb")
    positive = torch.tensor(case.get("observed", case.get("targets")))
    return lambda logits: hill_loss(logits, positive, lam=lam, **hyper)


def splc(case: Case) -> Loss:
    hyper, observed = case["hyper"], only_positives(case)
    options = {name: hyper[name] for name in ("margin", "gamma", "reduction")}

    def loss(logits: Tensor) -> Tensor:
        corrected = confident_unknown(logits, observed, hyper["tau"])
        corrected &= hyper["epoch"] >= hyper["change_epoch"]
        return splc_loss(logits, observed, corrected, **options)

    return loss


LOSSES: dict[str, Callable[[Case], Loss]] = {
    "pl_an": an,
    "pl_an_ls": an_ls,
    "pl_wan": wan,
    "pl_epr": epr,
    "pl_iu": iu,
    "pl_partial_bce": partial_bce_of,
    "pl_em": em,
    "pl_hill": hill,
    "comic_hill": hill,
    "pl_splc": splc,
}


@pytest.mark.parametrize("name", LOSSES)
def test_equals_the_authors_code(vectors, assert_matches, name, dtype):
    for case in vectors(name)["cases"]:
        loss = LOSSES[name](case)
        assert_matches(loss, case["logits"], case["loss"], case["grad_logits"], dtype)


def label_weights(case: Case, logits: Tensor, observed: Tensor) -> Tensor:
    """W of P-ASL or CSL."""
    hyper = case["hyper"]
    if hyper["partial_loss_mode"] == "selective":
        prior = torch.tensor(case["prior"], dtype=logits.dtype) if "prior" in case else None
        options = {name: hyper[name] for name in ("likelihood_topk", "prior_threshold")}
        return selective_weights(logits, observed, prior=prior, **options)
    modes = {None: "negative", "ignore_normalize_classes": "ignore-normalised"}
    mode = modes.get(hyper["partial_loss_mode"], hyper["partial_loss_mode"])
    return mode_weights(observed, mode, logits.dtype)


@pytest.mark.parametrize("name", ["pl_pasl_csl", "comic_pasl"])
def test_partial_asymmetric_loss_equals_the_authors_code(
    vectors, assert_matches, assert_close, name, dtype
):
    kinds = {"pos": "positive", "neg": "negative", "unann": "unknown"}
    for case in vectors(name)["cases"]:
        hyper = case["hyper"]
        observed = torch.tensor(case.get("observed", case.get("targets")))
        options = {
            f"{symbol}_{kind}": hyper[f"{symbol}_{short}"]
            for symbol in ("gamma", "alpha")
            for short, kind in kinds.items()
        }

        def loss(logits, case=case, observed=observed, options=options):
            weights = label_weights(case, logits, observed)
            clip = case["hyper"]["clip"]
            return partial_asymmetric_loss(logits, observed, weights, clip=clip, **options)

        # The authors' code rounds the weights 1 + 1 / (1 + n) to float32, whatever the logits are.
        rounded = hyper["partial_loss_mode"] == "ignore_normalize_classes"
        tolerance = 1e-6 if rounded and dtype == torch.float64 else None
        numbers = case["logits"], case["loss"], case["grad_logits"]
        assert_matches(loss, *numbers, dtype, tolerance)
        if "target_weights" in case:
            logits = torch.tensor(case["logits"], dtype=dtype)
            expected = torch.tensor(case["target_weights"], dtype=torch.float64)
            weights = label_weights(case, logits, observed)
            assert_close(weights, expected.expand(observed.shape), 1e-7 if rounded else 0.0)


def test_large_loss_equals_the_authors_code(vectors, assert_matches, dtype):
    cases = vectors("pl_large_loss")["cases"]
    assert len(cases) == 7
    for case in cases:
        hyper, observed = case["hyper"], only_positives(case)
        logits = torch.tensor(case["logits"], dtype=dtype)
        if case["name"].endswith("intended"):  # LL-Cp as published, from the second epoch on
            count = constant_count(logits, 100 * hyper["delta_rel"], 2)
        else:
            count = large_count(logits.numel(), hyper["clean_rate"], logits)
        assert count.item() == (case["k"] or 0), case["name"]
        large, above = large_losses(logits, observed, count)
        replace = rejection if hyper["mod_scheme"] == "LL-R" else correction

        def loss(logits, replace=replace, observed=observed, large=large):
            return replace(logits, observed, large)

        assert_matches(loss, case["logits"], case["loss"], case["grad_logits"], dtype)
        corrected = torch.zeros_like(above)
        if case["correction_idx"] is not None:
            corrected[tuple(torch.tensor(index) for index in case["correction_idx"])] = True
        assert torch.equal(above, corrected), case["name"]
        assert large.sum() == count
