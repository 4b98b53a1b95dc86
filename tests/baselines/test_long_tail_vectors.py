"""The long-tailed losses against the authors' code and the corrected equations, in both precisions.

Value and gradient at 1e-9 in float64 and at 1e-5 in float32.
"""

from __future__ import annotations

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


def factors(case: Case, z: Tensor) -> Factors:
    """The base factors of a case: what its `hyper` says in words."""
    tail = torch.zeros(20, dtype=torch.bool)
    tail[case["groups"]["tail"]] = True
    steep = torch.where(tail, z.new_tensor(7.0), z.new_tensor(5.0))
    divisor = torch.where(tail, z.new_tensor(2.0), z.new_tensor(1.0))
    return Factors(steep, 5.0, 1.0, divisor)


def guided(case: Case, z: Tensor, y: Tensor, n: Tensor, **switches: str) -> Tensor:
    shift, shot = z.new_tensor(case["v"]), shot_groups(n)
    guidance = Guidance(**switches)
    return probability_guided_loss(z, y, shift, shot, factors(case, z), guidance)


LOSSES = {
    "lt_rw_sqrt_inv": lambda case, z, y, n: reweighted_bce(z, y, n, case["train_num"]),
    "lt_focal_resample": lambda case, z, y, n: focal_loss(z, y),
    "lt_cb_focal__average_w": lambda case, z, y, n: class_balanced_focal_loss(z, y, n),
    "lt_cb_focal__by_class": lambda case, z, y, n: class_balanced_focal_loss(
        z, y, n, mode="by_class"
    ),
    "lt_ldam__s1": lambda case, z, y, n: ldam_loss(z, y, n),
    "lt_rbce__voc": lambda case, z, y, n: rebalanced_bce(z, y, n, **WEIGHT),
    "lt_ntr__voc": lambda case, z, y, n: negative_tolerant_loss(z, y, n, case["train_num"], **VOC),
    "lt_db__voc": lambda case, z, y, n: distribution_balanced_loss(
        z, y, n, case["train_num"], **WEIGHT, **VOC, focal=False, reduction="mean"
    ),
    "lt_pr__voc_tail": lambda case, z, y, n: probability_rebalancing_loss(
        z, y, z.new_tensor(case["v"]), factors(case, z)
    ),
    "lt_apaf__a": lambda case, z, y, n: adaptive_focal_loss(z, y, shot_groups(n)),
    "lt_apr__voc": lambda case, z, y, n: guided(case, z, y, n, focal="none"),
    "lt_pg__voc_raw": lambda case, z, y, n: guided(case, z, y, n),
    "lt_pg__voc_reg": lambda case, z, y, n: guided(case, z, y, n, probability="regularised"),
}


def assert_holds(loss: Any, case: Case, dtype: torch.dtype) -> None:
    """Value and gradient, relative to the largest gradient in float32."""
    z = torch.tensor(case["logits"], dtype=dtype, requires_grad=True)
    value = loss(z)
    (gradient,) = torch.autograd.grad(value, z)
    tolerance = 1e-9 if dtype == torch.float64 else 1e-5
    assert value.dtype == gradient.dtype == dtype
    assert value.item() == pytest.approx(case["loss"], rel=tolerance)
    expected = torch.tensor(case["grad_logits"], dtype=torch.float64)
    torch.testing.assert_close(gradient.double(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", LOSSES)
def test_equals_the_vectors(vectors, name, dtype):
    case = vectors(name)
    target, counts = torch.tensor(case["targets"]), torch.tensor(case["class_freq"])
    assert_holds(lambda z: LOSSES[name](case, z, target, counts), case, dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_focal_of_other_codes(vectors, dtype):
    for case in vectors("pl_focal")["cases"]:
        given, target = case["hyper"], torch.tensor(case["observed"])
        options = dict(balance=1.0, reduction="sum")
        if "alpha" in given:
            options = dict(form="alpha", alpha=given["alpha"])
        options["focal_gradient"] = not given.get("disable_torch_grad_focal_loss", False)
        assert_holds(lambda z, y=target, o=options: focal_loss(z, y, **o), case, dtype)
    for case in vectors("comic_focal")["cases"]:
        given, target = case["hyper"], torch.tensor(case["targets"])
        options = dict(form="focal-loss", alpha=given["balance_param"], gamma=given["gamma"])
        assert_holds(
            lambda z, y=target, o=options: focal_loss(z, y, **o, reduction="sum"), case, dtype
        )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_smoothed_labels(vectors, dtype):
    plain, smooth = vectors("pl_bce_spml")["cases"]
    for case, smoothing in ((plain, 0.0), (smooth, 0.1)):
        target = torch.tensor(case["observed"])
        assert_holds(lambda z, y=target, e=smoothing: smoothed_bce(z, y, smoothing=e), case, dtype)


def test_what_the_vectors_say_of_the_groups(vectors):
    case = vectors("lt_pg__voc_raw")
    shot = shot_groups(torch.tensor(case["class_freq"]))
    for group, name in enumerate(("head", "medium", "tail")):
        assert torch.nonzero(shot == group).flatten().tolist() == case["groups"][name]
