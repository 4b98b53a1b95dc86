"""COMIC: corrected labels, modified losses, and a head and a tail branch balanced into a third.

Three branches have the same features as input; each has a projection and a normalised classifier.
The balanced branch attends to the other two and alone predicts. A step
  (1) projects the features of every branch;
  (2) fuses the balanced features with those of head and tail by attention;
  (3) computes the plain logits z_k of every branch;
  (4) computes the shifted logits z'_k, without the common direction of the features (head) or with
      more of it (tail), and updates this direction, the moving vector;
  (5) corrects unknown labels by the shifted logits of each branch;
  (6) sums the multi-focal modifier loss (MFM) of the branches,
  (7) the reflective correction losses (RLC), and
  (8) the head-tail balancer (HTB).
The branches also differ in the epochs at which their learning rates decay. The paper states these
epochs for a training of 40; by default they follow the length of the run.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.core import (
    Batch,
    Clock,
    Draw,
    Method,
    MethodInfo,
    Problem,
    Rate,
    Run,
    Setup,
    Step,
    hyper,
    positives,
)
from baselines.shared.comic_branch import (
    BranchHyper,
    branch_constants,
    branch_params,
    branch_rates,
    classify,
    expected_of,
    modified_loss,
    project,
    step_rate,
)
from baselines.shared.comic_losses import Correction, balancer_loss, correct, correction_loss
from baselines.shared.comic_network import attend, dropped, fuse, weights

BALANCED, HEAD, TAIL = "balanced", "head_branch", "tail_branch"
STEPS = (12, 18, 24, 40)


@dataclass(frozen=True)
class Hyper(BranchHyper):
    """Hyperparameters of COMIC; paper values are given where COCO and VOC differ."""

    mfm_targets: str = hyper(
        "observed",
        "labels in the MFM of a branch: the observed ones, or the corrected ones",
        choices=("observed", "corrected"),
    )
    rlc_weight: float = hyper(
        0.2, "weight of the loss on corrected labels; 0 for none", search=(0.0, 1.0), low=0.0
    )
    rlc_tau: float = hyper(
        0.7,
        "smallest confidence of a correction",
        search=(0.5, 0.6, 0.7, 0.8, 0.9),
        low=0.0,
        high=1.0,
    )
    rlc_margin: float = hyper(
        1.0, "subtracted from the logits of observed positives", search=(0.0, 2.0), low=0.0
    )
    rlc_momentum: float = hyper(
        0.9,
        "momentum of the mean probability; 0 uses the mean of the batch, as in the code",
        search=(0.0, 0.99),
        low=0.0,
        high=1.0,
    )
    rlc_power: float = hyper(
        1 / 6, "exponent of the head-tail weight in corrections", search=(0.0, 0.5), low=0.0
    )
    rlc_start_epoch: int = hyper(1, "first epoch with corrections", search=(1, 2, 5, 10), low=1)
    branches: str = hyper(
        "bht",
        "balanced, head and tail; b is the balanced branch alone, without fusion and HTB",
        choices=("bht", "b"),
    )
    htb_weight: float = hyper(
        1.0, "weight of the head-tail balancer; 0.5 in older code", search=(0.0, 2.0), low=0.0
    )
    htb_alpha: float = hyper(
        2.0, "power of the losses in kappa", search=(0.5, 1.0, 2.0, 3.0, 4.0), low=0.0
    )
    shift_head: float = hyper(
        -1.0, "weight of the moving vector in the head logits", search=(-1.0, 0.0)
    )
    shift_tail: float = hyper(
        2.0,
        "weight of the moving vector in the tail logits; 1 in the paper",
        search=(0.0, 1.0, 2.0),
    )
    shift_momentum: float = hyper(
        0.9, "momentum of the moving vector", search=(0.5, 0.99), low=0.0, high=1.0
    )
    fusion: float = hyper(
        0.1, "weight of head and tail features in the balanced features", search=(0.0, 0.5), low=0.0
    )
    attention_dropout: float = hyper(
        0.1, "dropout of the two attention weights", search=(0.0, 0.5), low=0.0, high=0.9
    )
    step_projection: int = hyper(
        12, "epochs between decays of the balanced projection's rate", search=STEPS, low=1
    )
    step_classifier: int = hyper(
        18, "epochs between decays of the balanced classifier's rate", search=STEPS, low=1
    )
    step_attention: int = hyper(
        18, "epochs between decays of the attention's rate", search=STEPS, low=1
    )
    step_head: int = hyper(
        24,
        "epochs between decays of the head branch's rates",
        search=STEPS,
        paper={"coco": 24, "voc": 12},
        low=1,
    )
    step_tail: int = hyper(
        12,
        "epochs between decays of the tail branch's rates",
        search=STEPS,
        paper={"coco": 12, "voc": 24},
        low=1,
    )


class COMIC(Method):
    """Correction, modification and balance on the features of a split."""

    info = MethodInfo(
        key="comic",
        title="COMIC",
        paper="Zhang et al., Learning in Imperfect Environment: Multi-Label Classification with "
        "Long-Tailed Distribution and Partial Labels, ICCV 2023",
        year=2023,
        equation="L = mean over B*C of sum_{k in b,h,t} [ MFM(z_k) + 0.2 RLC(z'_k) ] "
        "+ HTB(z'_h, z'_t, z_b)\n"
        "MFM: -w_c [ y ln p + (1-y) (1-q)^(3 + w_c) ln q ],  q = min(1 - p + 0.05, 1),  "
        "w_c = (1 - ln(n_c / max n))^(1/3)\n"
        "RLC: (B/N) MFM with y = 1 where p > max(0.7, P_c) and the label is unknown, n + "
        "corrections\n"
        "HTB: sum_k kappa_k MFM(softmax(z'_k) softmax(z_b)),  kappa_k ~ MFM(z'_k)^2\n"
        "z = 16 cos(f, w_c),  f = log softmax(P x);  z'_k: f + s cos(f, e) e,  "
        "s = -1 head, 2 tail;  f_b + 0.1 attention(f_b; f_h, f_t)",
        unknown="estimated",
        version="2",
        regimes=("missing", "ppl", "spl", "pal", "full"),
        needs=(
            "class counts",
            "state per class and branch",
            "class co-occurrence (mfm_kind=pfm)",
            "its own learning rates",
        ),
        family="both",
        summary="label correction, loss modification and balance of three branches",
    )
    Hyper = Hyper

    def _names(self) -> tuple[str, ...]:
        return (BALANCED, HEAD, TAIL) if self.hyper.branches == "bht" else (BALANCED,)

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """Create branches, attention, counts, and the state of corrections and moving vectors."""
        inputs, classes, width = problem.feature_dim, problem.num_classes, self.hyper.width
        setup = Setup({}, constants=branch_constants(self.hyper, problem))
        counts = setup.constants["counts"]
        for name in self._names():
            setup.params |= branch_params(name, inputs, width, classes, draw)
            setup.state[f"{name}.counts"] = counts.clone()
            setup.state[f"{name}.probability"] = torch.full_like(counts, -1.0)  # not yet set
            if name != BALANCED:
                setup.state[f"{name}.direction"] = counts.new_zeros(width)
        if self.hyper.branches == "bht":
            setup.params |= weights("attention.query", width, width, draw)
            setup.params |= weights("attention.key", width, width, draw)
            setup.params |= weights("attention.score", width, 1, draw)
        return setup

    def rates(self) -> dict[str, Rate]:
        """A step schedule per branch; classifiers at a tenth of the recipe's rate."""
        h = self.hyper
        return (
            branch_rates(h, BALANCED, h.step_projection, h.step_classifier)
            | branch_rates(h, HEAD, h.step_head, h.step_head)
            | branch_rates(h, TAIL, h.step_tail, h.step_tail)
            | {"attention.": step_rate(h, h.step_attention)}
        )

    def logits(self, run: Run, features: Tensor) -> Tensor:
        """The balanced branch with fusion: [B, D] -> [B, C]."""
        projected = self._project(run, features)
        return classify(self.hyper, run.params, BALANCED, self._fuse(run, projected))

    def _project(self, run: Run, features: Tensor) -> dict[str, Tensor]:
        """Step (1): the branch features [B, d] of every branch."""
        return {name: project(self.hyper, run.params, name, features) for name in self._names()}

    def _fuse(self, run: Run, projected: dict[str, Tensor], draw: Draw | None = None) -> Tensor:
        """Step (2): balanced features that attend to head and tail; dropout if `draw` is given."""
        query = projected[BALANCED]
        if self.hyper.branches == "b":
            return query
        keys = torch.stack([projected[HEAD], projected[TAIL]], 1).detach()  # [B, 2, d]
        attention = attend(
            query,
            keys,
            run.params["attention.query.weight"],
            run.params["attention.key.weight"],
            run.params["attention.score.weight"][:, 0],
        )
        if draw is not None:
            uniform = draw.uniform("attention/dropout", *attention.shape)
            attention = dropped(attention, uniform, self.hyper.attention_dropout)
        return fuse(query, keys, attention, self.hyper.fusion)

    def _classify(self, run: Run, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Step (3): the plain logits z_k [B, C] of every branch."""
        return {name: classify(self.hyper, run.params, name, features[name]) for name in features}

    def _shift(
        self, run: Run, plain: dict[str, Tensor], projected: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Step (4): the shifted logits z'_k of every branch, and the next moving vectors [d].

        The balanced branch has no moving vector; its z'_b is z_b.
        """
        shifted, directions = {BALANCED: plain[BALANCED]}, {}
        for name in self._names()[1:]:
            mean = projected[name].detach().mean(0)
            direction = self.hyper.shift_momentum * run.state[f"{name}.direction"] + mean
            share = self.hyper.shift_head if name == HEAD else self.hyper.shift_tail
            shifted[name] = classify(
                self.hyper, run.params, name, projected[name], direction, share
            )
            directions[f"{name}.direction"] = direction
        return shifted, directions

    def _correct(
        self, run: Run, shifted: dict[str, Tensor], observed: Tensor, clock: Clock
    ) -> dict[str, Correction]:
        """Step (5): the corrections of every branch; none before `rlc_start_epoch`.

        The counts restart in every epoch.
        """
        if clock.epoch < self.hyper.rlc_start_epoch:
            return {}
        return {
            name: correct(
                logits,
                observed,
                run.state[f"{name}.probability"],
                run.constants["counts"] if clock.step == 0 else run.state[f"{name}.counts"],
                tau=self.hyper.rlc_tau,
                margin=self.hyper.rlc_margin,
                momentum=self.hyper.rlc_momentum,
            )
            for name, logits in shifted.items()
        }

    def _modified(self, run: Run, logits: Tensor, labels: Tensor) -> Tensor:
        """MFM(z) with the class counts of the training set, summed over B*C."""
        expected, counts = expected_of(self.hyper, run, labels), run.constants["counts"]
        return modified_loss(self.hyper, logits, labels, counts, self.hyper.mfm_power, expected)

    def _modification(
        self,
        run: Run,
        plain: dict[str, Tensor],
        target: Tensor,
        corrections: dict[str, Correction],
    ) -> Tensor:
        """Step (6): sum_k MFM(z_k), on the observed or on each branch's corrected labels."""
        labels = dict.fromkeys(plain, target)
        if self.hyper.mfm_targets == "corrected":
            labels |= {name: correction.labels for name, correction in corrections.items()}
        return torch.stack([self._modified(run, plain[name], labels[name]) for name in plain]).sum()

    def _correction_loss(self, correction: Correction) -> Tensor:
        """Step (7): RLC(z'_k) of one branch, with the counts that its corrections give."""
        return correction_loss(
            correction, lambda z, y, n: modified_loss(self.hyper, z, y, n, self.hyper.rlc_power)
        )

    def _balance(self, run: Run, shifted: dict[str, Tensor], target: Tensor) -> Tensor:
        """Step (8): HTB(z'_h, z'_t, z_b)."""
        return balancer_loss(
            shifted[BALANCED],
            shifted[HEAD],
            shifted[TAIL],
            lambda logits: self._modified(run, logits, target),
            alpha=self.hyper.htb_alpha,
        )

    def step(self, run: Run, batch: Batch, clock: Clock, draw: Draw) -> Step:
        """Steps (1) to (8), all branches on one batch; the sum is divided by B*C."""
        target = positives(batch.observed, batch.features.dtype)
        projected = self._project(run, batch.features)
        plain = self._classify(run, projected | {BALANCED: self._fuse(run, projected, draw)})
        shifted, state = self._shift(run, plain, projected)
        corrections = self._correct(run, shifted, batch.observed, clock)

        loss = self._modification(run, plain, target, corrections)
        for name, correction in corrections.items():
            loss = loss + self.hyper.rlc_weight * self._correction_loss(correction)
            state[f"{name}.counts"] = correction.counts
            state[f"{name}.probability"] = correction.probability
        if self.hyper.branches == "bht":
            loss = loss + self.hyper.htb_weight * self._balance(run, shifted, target)

        corrected = torch.zeros_like(batch.observed, dtype=torch.bool)
        if corrections:
            trained_on = self.hyper.mfm_targets == "corrected" or self.hyper.rlc_weight > 0
            corrected = corrections[BALANCED].corrected & trained_on
        return Step(loss / target.numel(), state=state, corrected=corrected)
