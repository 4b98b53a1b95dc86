"""PAL-loss with half of the labels against a plain loop."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from plain_training import EPOCHS, SEEDS, PlainRun, assert_equal_runs, plain_recipe, training_set
from torch import Tensor

from baselines.pal import PAL

Q, MARGIN = 0.5, 1.0


class PlainPAL(PlainRun):
    """The loss image by image, with the pseudo labels of the image's previous epoch."""

    def __init__(self, *args: Any, floor: float, threshold: float, even: bool) -> None:
        super().__init__(*args)
        self.floor, self.threshold, self.even = floor, threshold, even
        self.pseudo = torch.where(self.z == -1, 0.5, self.z.double())
        self.penalised = 0

    def memory(self) -> dict[str, Tensor]:
        return {"pseudo": self.pseudo}

    def loss(self, rows: Tensor, x: Tensor) -> Tensor:
        logits, batch = self.logits(x), self.z[rows]
        share = int((batch == 1).sum()) / batch.numel()
        beta = max(share, self.floor)
        alpha = 1 - beta
        unknown_alpha, unknown_beta = (0.5, 0.5) if self.even else (alpha, beta)
        d = math.exp((self.epoch + MARGIN - EPOCHS) / EPOCHS)
        uniform = self.draw_of_epoch().row_uniform("subset", rows, batch.shape[1])

        total = torch.zeros(())
        for i, z, numbers, logit in zip(rows.tolist(), batch, uniform, logits, strict=True):
            log_p, log_not_p = F.logsigmoid(logit), F.logsigmoid(-logit)
            p = torch.sigmoid(logit).detach()
            known = torch.nonzero(z != -1).flatten().tolist()
            unknown = torch.nonzero(z == -1).flatten().tolist()
            size = max(1, math.floor(Q * len(unknown) + 0.5)) if unknown else 0
            subset = sorted(unknown, key=numbers.tolist().__getitem__)[:size]

            term = torch.zeros(())
            for k in known:
                y = float(z[k])
                term = term + (alpha * y * log_p[k] + beta * (1 - y) * log_not_p[k]) / len(known)
            for k in subset:
                t = float(self.pseudo[i, k])
                both = unknown_alpha * t * log_p[k] + unknown_beta * (1 - t) * log_not_p[k]
                term = term + d * both / len(subset)
            penalty = 2 if p.max() <= self.threshold else 1
            self.penalised += penalty == 2
            total = total - penalty * term
            self.pseudo[i, unknown] = p[unknown]
        return total / len(rows)


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize(
    ("floor", "threshold", "even"), [(0.05, 0.1, False), (0.3, 0.52, False), (0.05, 0.1, True)]
)
def test_pal_equals_a_plain_loop(
    floor: float, threshold: float, even: bool, seeds: list[int]
) -> None:
    hyper = PAL.Hyper(
        q=Q,
        margin=MARGIN,
        floor=floor,
        threshold=threshold,
        weights=True,
        schedule=True,
        penalty=True,
        total="all",
        online=False,
        even_unknown=even,
    )
    data, recipe = training_set("pal:0.5"), plain_recipe(lr=0.02)
    options: dict[str, Any] = dict(floor=floor, threshold=threshold, even=even)
    runs = assert_equal_runs(PAL, hyper, PlainPAL, data, recipe, seeds, **options)
    for run in runs:
        assert (run.penalised > 0) == (threshold == 0.52)
