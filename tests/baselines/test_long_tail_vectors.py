"""Long-tailed losses against numbers of the authors' code and of the corrected equations.

Value and gradient: 1e-9 in float64, 1e-5 in float32, relative to the largest entry.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from baselines.apaf import adaptive_focal_loss
from baselines.bce_ls import smoothed_bce
from baselines.cb_focal import class_balanced_focal_loss
from baselines.db_focal import distribution_balanced_loss
from baselines.focal import focal_loss
from baselines.ldam import ldam_loss
from baselines.ntr import negative_tolerant_loss
from baselines.pg import Guidance, probability_guided_loss
from baselines.pr import Factors, probability_rebalancing_loss, shot_groups
from baselines.r_bce import rebalanced_bce
from baselines.rw import reweighted_bce

VOC = dict(neg_scale=5.0, kappa=0.05)
WEIGHT = dict(alpha=0.1, beta=10.0, mu=0.3)
Case = dict[str, Any]


def factors(case: Case, logits: Tensor) -> Factors:
    """The base factors of a case: its `hyper` describes them in a sentence."""
    tail = torch.zeros(20, dtype=torch.bool)
    tail[case["groups"]["tail"]] = True
    lambda1_negative = torch.where(tail, logits.new_tensor(7.0), logits.new_tensor(5.0))
    lambda2_positive = torch.where(tail, logits.new_tensor(2.0), logits.new_tensor(1.0))
    return Factors(lambda1_negative, 5.0, 1.0, lambda2_positive)


def guided(case: Case, logits: Tensor, target: Tensor, counts: Tensor, **options: str) -> Tensor:
    shift, shot = logits.new_tensor(case["v"]), shot_groups(counts)
    guidance = Guidance(**options)
    return probability_guided_loss(logits, target, shift, shot, factors(case, logits), guidance)


# File -> loss(case, logits [B, C], target [B, C], class counts [C]).
LOSSES: dict[str, Callable[[Case, Tensor, Tensor, Tensor], Tensor]] = {
    "lt_rw_sqrt_inv": lambda case, logits, target, counts: reweighted_bce(
        logits, target, counts, case["train_num"]
    ),
    "lt_focal_resample": lambda case, logits, target, counts: focal_loss(logits, target),
    "lt_cb_focal__average_w": lambda case, logits, target, counts: class_balanced_focal_loss(
        logits, target, counts
    ),
    "lt_cb_focal__by_class": lambda case, logits, target, counts: class_balanced_focal_loss(
        logits, target, counts, mode="by_class"
    ),
    "lt_ldam__s1": lambda case, logits, target, counts: ldam_loss(logits, target, counts),
    "lt_rbce__voc": lambda case, logits, target, counts: rebalanced_bce(
        logits, target, counts, **WEIGHT
    ),
    "lt_ntr__voc": lambda case, logits, target, counts: negative_tolerant_loss(
        logits, target, counts, case["train_num"], **VOC
    ),
    "lt_db__voc": lambda case, logits, target, counts: distribution_balanced_loss(
        logits, target, counts, case["train_num"], **WEIGHT, **VOC, focal=False, reduction="mean"
    ),
    "lt_pr__voc_tail": lambda case, logits, target, counts: probability_rebalancing_loss(
        logits, target, logits.new_tensor(case["v"]), factors(case, logits)
    ),
    "lt_apaf__a": lambda case, logits, target, counts: adaptive_focal_loss(
        logits, target, shot_groups(counts)
    ),
    "lt_apr__voc": lambda *inputs: guided(*inputs, focal="none"),
    "lt_pg__voc_raw": guided,
    "lt_pg__voc_reg": lambda *inputs: guided(*inputs, probability="regularised"),
}


@pytest.fixture(params=[torch.float64, torch.float32], ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


@pytest.mark.parametrize("name", LOSSES)
def test_equals_the_vectors(vectors, assert_matches, name, dtype):
    case = vectors(name)
    target, counts = torch.tensor(case["targets"]), torch.tensor(case["class_freq"])

    def loss(logits):
        return LOSSES[name](case, logits, target, counts)

    assert_matches(loss, case["logits"], case["loss"], case["grad_logits"], dtype)


def test_focal_of_other_codes(vectors, assert_matches, dtype):
    cases = []
    for case in vectors("pl_focal")["cases"]:
        hyper = case["hyper"]
        options = dict(balance=1.0, reduction="sum")
        if "alpha" in hyper:
            options = dict(form="alpha", alpha=hyper["alpha"])
        options["focal_gradient"] = not hyper.get("disable_torch_grad_focal_loss", False)
        cases.append((case, case["observed"], options))
    for case in vectors("comic_focal")["cases"]:
        hyper = case["hyper"]
        options = dict(form="focal-loss", alpha=hyper["balance_param"], gamma=hyper["gamma"])
        cases.append((case, case["targets"], options | dict(reduction="sum")))
    for case, labels, options in cases:
        target = torch.tensor(labels)
        assert_matches(
            lambda logits, target=target, options=options: focal_loss(logits, target, **options),
            case["logits"],
            case["loss"],
            case["grad_logits"],
            dtype,
        )


def test_smoothed_labels(vectors, assert_matches, dtype):
    plain, smooth = vectors("pl_bce_spml")["cases"]
    for case, smoothing in ((plain, 0.0), (smooth, 0.1)):
        target = torch.tensor(case["observed"])
        assert_matches(
            lambda logits, target=target, smoothing=smoothing: smoothed_bce(
                logits, target, smoothing=smoothing
            ),
            case["logits"],
            case["loss"],
            case["grad_logits"],
            dtype,
        )


def test_shot_groups_of_the_vectors(vectors):
    case = vectors("lt_pg__voc_raw")
    shot = shot_groups(torch.tensor(case["class_freq"]))
    for group, name in enumerate(("head", "medium", "tail")):
        assert torch.nonzero(shot == group).flatten().tolist() == case["groups"][name]
