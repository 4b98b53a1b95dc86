"""CC-PML: the exact likelihood of candidates that arise by flipping negatives at one rate.

A true class is always a candidate, a false one with probability rho. The probability of being a
candidate is then an affine function of the probability of being true, and the classifier is trained
through it. The noise rate, and the methods that need it, live here too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.bce_candidates import REGIMES
from baselines.candidate_parts.labels import candidate_frequency, candidates_of
from baselines.core import (
    Batch,
    Clock,
    Draw,
    LabelTable,
    Method,
    MethodInfo,
    Problem,
    Run,
    Setup,
    hyper,
)

_MOST = 0.99  # a rate of one would leave no negative to learn from


def estimate_rate(labels: LabelTable | Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The noise rate as the smallest candidate frequency, min_k c_k.

    Args:
        labels: [N, C]; under a long tail the rarest class has hardly any but false
            candidates, so the estimate is close, and a little low for many classes.
        dtype: of the result.

    Returns:
        A scalar tensor.
    """
    return candidate_frequency(labels).min().to(dtype)


@dataclass(frozen=True)
class RateHyper:
    """Where the noise rate comes from."""

    rho: str = hyper(
        "estimated",
        "noise rate of the candidates: their smallest class frequency, or the true rate",
        choices=("estimated", "given"),
    )


class Rated(Method):
    """A method that knows the noise rate, rho; its `Hyper` is a `RateHyper`."""

    def oracle(self) -> tuple[str, ...]:
        """The noise rate, where it is given."""
        return (("noise_rate",) if self.hyper.rho == "given" else ()) + super().oracle()

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """The head and rho, kept below 0.99."""
        setup = super().setup(problem, draw)
        rate = estimate_rate(problem.labels)
        if self.hyper.rho == "given":
            rate = rate.new_tensor(float(problem.oracle["noise_rate"]))
        setup.constants["noise_rate"] = rate.clamp(max=_MOST)
        return setup


def forward_corrected_terms(logits: Tensor, candidates: Tensor, rho: Tensor) -> Tensor:
    """Negative log-likelihood of the candidates, entry by entry.

        pt = rho + (1 - rho) p,   p = sigmoid(z)
        -s log pt - (1 - s) log((1 - rho)(1 - p))

    Its derivative is p for s = 0 and -(1 - rho) p (1 - p) / pt = p - q for s = 1, where
    q = p / (p + rho (1 - p)) is the posterior that the candidate is true.

    Args:
        logits: z [B, C].
        candidates: s [B, C], 0 or 1.
        rho: a scalar tensor in [0, 1).

    Returns:
        [B, C]; with rho = 0 it is binary cross-entropy on s.

    Source: derived from the candidate law; forward correction, Patrini et al., CVPR 2017.
    """
    keep = torch.log1p(-rho)
    candidate = torch.logaddexp(torch.log(rho), keep + F.logsigmoid(logits))
    return -candidates * candidate - (1.0 - candidates) * (keep + F.logsigmoid(-logits))


class CCPML(Rated):
    """Forward correction under the candidate law, with rho given or estimated [standard]."""

    info = MethodInfo(
        key="cc-pml",
        title="CC-PML",
        paper="derived from the candidate law; forward correction as in Patrini et al., Making "
        "Deep Neural Networks Robust to Label Noise, CVPR 2017",
        year=2017,
        equation="pt = rho + (1-rho) p;\n"
        "L = -mean_{b,c} [ s log pt + (1-s) log((1-rho)(1-p)) ],  s = 0 only for known negatives;"
        "\nrho = min_c frequency of candidates, or given",
        unknown="estimated",
        regimes=REGIMES,
        needs=("noise rate",),
        differs="The original corrects class-conditional noise of single labels; here it is "
        "applied to each class, which is exact when negatives become candidates independently.",
        source="equations",
        reference="the likelihood of candidates at noise rate rho, derived; forward correction of "
        "Patrini et al., CVPR 2017",
        tolerance="1e-9",
        evidence=(
            "tests/baselines/test_candidates_losses.py::test_forward_correction_equals_the_vectors",
            "tests/baselines/test_candidates_losses.py::test_forward_correction",
            "tests/baselines/test_candidates_steps.py::test_proden_em_moved_all_the_way_is_forward_correction",
        ),
    )
    Hyper = RateHyper

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """The mean of `forward_corrected_terms`."""
        candidates = candidates_of(batch.observed).to(logits.dtype)
        return forward_corrected_terms(logits, candidates, run.constants["noise_rate"]).mean()
