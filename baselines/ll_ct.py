"""LL-Ct: unknown labels count as negative, those with the largest losses as positive for a step."""

from __future__ import annotations

from dataclasses import dataclass

from baselines.core import Batch, Clock, Draw, Method, MethodInfo, Run, Step, hyper
from baselines.ll_r import PAPER, REGIMES, SEARCH, correction, cumulative_count, large_losses


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters of LL-Ct."""

    delta: float = hyper(
        0.2,
        "percent of a batch's labels by which the corrected ones grow per epoch",
        search=SEARCH,
        low=0.0,
        high=100.0,
    )
    as_released: bool = hyper(
        False, "with fewer unknown labels than are wanted, flip whole batches as the code does"
    )


class LLCt(Method):
    """Large loss correction, temporary.

    Meant where labels are unknown, because only those are corrected.
    """

    info = MethodInfo(
        key="ll-ct",
        title="LL-Ct",
        paper=PAPER,
        year=2022,
        equation="L = mean_{b,c} H(y, p),  unknown -> y = 1 where -log(1-p) >= T, else 0,\n"
        "T = k-th largest in the batch,  k = ceil(BC (t-1) delta/100) in epoch t",
        unknown="estimated",
        regimes=REGIMES,
        differs="The authors' code lowers the clean rate by repeated subtraction, here it is a "
        "product; k may differ by one. Where fewer than k labels are unknown it flips the whole "
        "batch, observed positives included (as_released=true); here the unknown ones.",
        source="authors' code",
        reference="snucml/LargeLossMatters@5025d16, losses.py: compute_batch_loss",
        tolerance="1e-9; step 1e-5 in float32",
        evidence=(
            "tests/baselines/test_partial_label_vectors.py::test_large_loss_equals_the_authors_code",
            "tests/baselines/test_large_loss.py::test_numpy_reference",
            "tests/baselines/test_large_loss.py::test_first_epoch_is_plain_then_the_share_grows",
        ),
    )
    Hyper = Hyper

    def step(self, run: Run, batch: Batch, clock: Clock, draw: Draw) -> Step:
        """The equation of `correction`."""
        logits = self.logits(run, batch.features)
        count = cumulative_count(logits, self.hyper.delta, clock.epoch)
        released = self.hyper.as_released
        large, _ = large_losses(logits, batch.observed, count, as_released=released)
        loss = correction(logits, batch.observed, large)
        return Step(loss, corrected=large & (batch.observed == -1))
