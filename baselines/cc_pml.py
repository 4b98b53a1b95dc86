"""CC-PML: the exact likelihood of candidates that arise by flipping negatives at one rate.

A true class is always a candidate, a false class with probability rho. The probability of being a
candidate is then an affine function of the probability of being true, and the classifier is trained
through this function.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.core import Batch, Clock, Draw, MethodInfo, Run
from baselines.shared.candidate_labels import REGIMES, candidates_of
from baselines.shared.noise_rate import Rated, RateHyper
from baselines.shared.noise_rate import estimate_rate as estimate_rate


def forward_corrected_terms(logits: Tensor, candidates: Tensor, rho: Tensor) -> Tensor:
    """Negative log-likelihood of the candidates, entry by entry.

        pt = rho + (1 - rho) p,   p = sigmoid(z)
        -s log pt - (1 - s) log((1 - rho)(1 - p))

    Its derivative with respect to z is p for s = 0, and -(1 - rho) p (1 - p) / pt = p - q for s =
    1, where q = p / (p + rho (1 - p)) is the posterior probability that the candidate is true.

    Args:
        logits: z [B, C].
        candidates: s [B, C], 0 or 1.
        rho: a scalar tensor in [0, 1).

    Returns:
        [B, C]; with rho = 0 this is binary cross-entropy on s.

    Source: derived from the distribution of candidates; forward correction of Patrini et al., CVPR
    2017.
    """
    keep = torch.log1p(-rho)
    candidate = torch.logaddexp(torch.log(rho), keep + F.logsigmoid(logits))
    return -candidates * candidate - (1.0 - candidates) * (keep + F.logsigmoid(-logits))


class CCPML(Rated):
    """Forward correction for candidates, with rho given or estimated [standard]."""

    info = MethodInfo(
        key="cc-pml",
        title="CC-PML",
        paper="derived from the distribution of candidates; forward correction as in Patrini et "
        "al., Making Deep Neural Networks Robust to Label Noise, CVPR 2017",
        year=2017,
        equation="pt = rho + (1-rho) p;\n"
        "L = -mean_{b,c} [ s log pt + (1-s) log((1-rho)(1-p)) ],  s = 0 only for known negatives;"
        "\nrho = min_c frequency of candidates, or given",
        unknown="estimated",
        regimes=REGIMES,
        needs=("noise rate",),
        family="candidates",
        summary="forward correction by the noise rate",
    )
    Hyper = RateHyper

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Take the mean of `forward_corrected_terms` over the batch."""
        candidates = candidates_of(batch.observed).to(logits.dtype)
        return forward_corrected_terms(logits, candidates, run.constants["noise_rate"]).mean()
