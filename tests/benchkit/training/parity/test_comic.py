"""COMIC on missing and on complete labels against a plain loop."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from plain_training import EPOCHS, SEEDS, PlainRun, assert_equal_runs, plain_recipe, training_set
from torch import Tensor

from baselines.comic import COMIC

TAU, WIDTH = 0.55, 8
BRANCHES = ("balanced", "head_branch", "tail_branch")
SHIFT = {"head_branch": -1.0, "tail_branch": 2.0}
# Epochs between decays: of a projection or the attention, and of a classifier.
DECAY_EPOCHS = {
    "balanced": (2, 3),
    "head_branch": (3, 3),
    "tail_branch": (1, 1),
    "attention": (2, 2),
}
WEIGHT_DECAY = 1e-3


class PlainCOMIC(PlainRun):
    """Three branches with one backward pass; the losses are sums that are divided by B*C.

    Attributes:
        log_softmax: whether a log-softmax follows the projections.
        length: the epochs of the training to which `DECAY_EPOCHS` refer.
        divisor: of the weight decay.
        counts: n_c [C], at least 1.
        dynamic: D [C] of every branch.
        probability: P [C] of every branch, from its first batch on.
        moving: e [d] of head and tail.
        corrections: how many labels were corrected so far.
    """

    def __init__(self, *args: Any, log_softmax: bool, length: int, divisor: int) -> None:
        super().__init__(*args)
        self.log_softmax, self.length, self.divisor = log_softmax, length, divisor
        self.counts = (self.z == 1).sum(0).clamp(min=1).double()
        self.dynamic = dict.fromkeys(BRANCHES, self.counts)
        self.probability: dict[str, Tensor] = {}
        self.moving = {name: torch.zeros(WIDTH, dtype=torch.float64) for name in SHIFT}
        self.corrections = 0

    def groups(self) -> list[dict[str, Any]]:
        groups = []
        for name, value in self.params.items():
            owner, layer = name.split(".")[:2]
            classifier = layer == "classifier"
            factor, every = 0.1 if classifier else 1.0, DECAY_EPOCHS[owner][classifier]
            group = {"params": [value], "factor": factor, "every": every * EPOCHS / self.length}
            groups.append(group | {"weight_decay": WEIGHT_DECAY / self.divisor})
        return groups

    def memory(self) -> dict[str, Tensor]:
        tensors = {f"{name}.counts": value for name, value in self.dynamic.items()}
        tensors |= {f"{name}.probability": value for name, value in self.probability.items()}
        return tensors | {f"{name}.direction": value for name, value in self.moving.items()}

    # ------------------------------------------------------------------------- the network

    def project(self, name: str, x: Tensor) -> Tensor:
        weight = self.params[f"{name}.projection.weight"]
        z = x @ weight + self.params[f"{name}.projection.bias"]
        return torch.log(torch.softmax(z, 1)) if self.log_softmax else z

    def classify(self, name: str, unit: Tensor) -> Tensor:
        w = self.params[f"{name}.classifier.weight"]
        return 16.0 * unit @ (w / (w.norm(dim=0) + 1 / 32))

    def fuse(self, f: dict[str, Tensor], keep: Tensor | None = None) -> Tensor:
        """Add 0.1 times what the balanced features attend to; `keep` is the mask of dropout."""
        query, key = self.params["attention.query.weight"], self.params["attention.key.weight"]
        score = self.params["attention.score.weight"][:, 0]
        keys = [f["head_branch"].detach(), f["tail_branch"].detach()]
        scores = [torch.tanh(f["balanced"] @ query + k @ key) @ score for k in keys]
        attention = torch.softmax(torch.stack(scores, 1), 1)
        if keep is not None:
            attention = attention * keep / (1 - 0.1)
        return f["balanced"] + 0.1 * sum(attention[:, [j]] * k for j, k in enumerate(keys))

    def logits(self, x: Tensor) -> Tensor:
        fused = self.fuse({name: self.project(name, x) for name in BRANCHES})
        return self.classify("balanced", fused / fused.norm(dim=1, keepdim=True))

    # ------------------------------------------------------------------------- the losses

    def mfm(self, z: Tensor, y: Tensor, counts: Tensor, power: float) -> Tensor:
        """The multi-focal modifier, a sum over B*C."""
        w = (1 - torch.log(counts / counts.max())) ** power
        p = torch.sigmoid(z)
        q = torch.clamp(1 - p + 0.05, max=1)
        pt = y * p + (1 - y) * q
        focus = (1 - pt) ** ((3 + w) * (1 - y))
        logs = y * torch.log(p.clamp(min=1e-8)) + (1 - y) * torch.log(q.clamp(min=1e-8))
        return -(w * logs * focus.detach()).sum()

    def rlc(self, name: str, z: Tensor, labels: Tensor) -> Tensor:
        """The reflective label corrector of one branch."""
        y = (labels == 1).double()
        s = z - 1.0 * y
        p = torch.sigmoid(s).detach()
        if name in self.probability:
            self.probability[name] = 0.9 * self.probability[name] + 0.1 * p.mean(0)
        else:
            self.probability[name] = p.mean(0)
        new = (p > self.probability[name].clamp(min=TAU)) & (labels == -1)
        self.corrections += int(new.sum())
        if self.step == 0:
            self.dynamic[name] = self.counts
        self.dynamic[name] = self.dynamic[name] + new.sum(0)
        corrected = y + new
        number = max(1.0, corrected.sum().item())
        return len(z) / number * self.mfm(s, corrected, self.dynamic[name], 1 / 6)

    def htb(self, shifted: dict[str, Tensor], z: Tensor, y: Tensor) -> Tensor:
        """The head-tail balancer; only the balanced branch has a gradient."""
        losses = {
            name: self.mfm(shifted[name], y, self.counts, 1 / 3).item() ** 2 for name in SHIFT
        }
        total = torch.zeros(())
        for name in SHIFT:
            product = torch.softmax(shifted[name], 1).detach() * torch.softmax(z, 1)
            kappa = losses[name] / sum(losses.values())
            total = total + kappa * self.mfm(product, y, self.counts, 1 / 3)
        return total

    def loss(self, rows: Tensor, x: Tensor) -> Tensor:
        labels = self.z[rows]
        y = (labels == 1).double()
        f = {name: self.project(name, x) for name in BRANCHES}
        keep = self.draw_of_step().uniform("attention/dropout", len(rows), 2) >= 0.1
        fused = self.fuse(f, keep)
        z = {"balanced": self.classify("balanced", fused / fused.norm(dim=1, keepdim=True))}
        shifted = {"balanced": z["balanced"]}
        for name, shift in SHIFT.items():
            self.moving[name] = 0.9 * self.moving[name] + f[name].detach().mean(0)
            unit = f[name] / f[name].norm(dim=1, keepdim=True)
            common = self.moving[name] / self.moving[name].norm()
            z[name] = self.classify(name, unit)
            cosine = (unit * common).sum(1, keepdim=True)
            shifted[name] = self.classify(name, unit + shift * cosine * common)
        total = self.htb(shifted, z["balanced"], y)
        for name in BRANCHES:
            total = total + self.mfm(z[name], y, self.counts, 1 / 3)
            total = total + 0.2 * self.rlc(name, shifted[name], labels)
        return total / y.numel()


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("regime", ["missing:0.4", "full"])
@pytest.mark.parametrize("activation", ["none", "log_softmax"])
@pytest.mark.parametrize(("length", "divisor"), [(0, 1), (4, 5)])
def test_comic_equals_a_plain_loop(
    regime: str, seeds: list[int], activation: str, length: int, divisor: int
) -> None:
    hyper = COMIC.Hyper(
        mfm_kind="mfm",
        mfm_gamma_negative=3.0,
        mfm_gamma_positive=0.0,
        mfm_clip=0.05,
        mfm_power=1 / 3,
        mfm_head_tail=True,
        mfm_class_weight=True,
        classifier="cosine",
        scale=16.0,
        width=WIDTH,
        projection_activation=activation,
        schedule_epochs=length,
        decay_divisor=divisor,
        mfm_targets="observed",
        rlc_weight=0.2,
        rlc_tau=TAU,
        rlc_margin=1.0,
        rlc_momentum=0.9,
        rlc_power=1 / 6,
        rlc_start_epoch=1,
        branches="bht",
        htb_weight=1.0,
        htb_alpha=2.0,
        shift_head=-1.0,
        shift_tail=2.0,
        shift_momentum=0.9,
        fusion=0.1,
        attention_dropout=0.1,
        step_projection=2,
        step_classifier=3,
        step_attention=2,
        step_head=3,
        step_tail=1,
    )
    data, recipe = training_set(regime), plain_recipe(lr=0.02, weight_decay=WEIGHT_DECAY)
    runs = assert_equal_runs(
        *(COMIC, hyper, PlainCOMIC, data, recipe, seeds),
        log_softmax=activation == "log_softmax",
        length=length or EPOCHS,
        divisor=divisor,
    )
    for run in runs:
        assert (run.corrections > 5) == (regime != "full")
