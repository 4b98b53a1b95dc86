"""The noise rate of candidate labels, estimated or given."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.core import Draw, LabelTable, Method, Problem, Setup, hyper
from baselines.shared.candidate_labels import candidate_frequency

_MOST = 0.99  # a rate of one would leave no negatives


def estimate_rate(labels: LabelTable | Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The noise rate as the smallest candidate frequency, min_k c_k.

    Args:
        labels: [N, C]; under a long tail almost all candidates of the rarest class are false, so
            the estimate is close, and slightly low if there are many classes.
        dtype: of the result.

    Returns:
        A scalar tensor.
    """
    return candidate_frequency(labels).min().to(dtype)


@dataclass(frozen=True)
class RateHyper:
    """The hyperparameter that selects the noise rate."""

    rho: str = hyper(
        "estimated",
        "noise rate: the smallest class frequency of the candidates, or the true rate",
        choices=("estimated", "given"),
    )


class Rated(Method):
    """A method that uses the noise rate, rho; its `Hyper` is a `RateHyper`."""

    def oracle(self) -> tuple[str, ...]:
        """The noise rate, if it is given."""
        names = ("noise_rate",) if self.hyper.rho == "given" else ()
        return tuple(dict.fromkeys(names + super().oracle()))

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """Create the head and rho, which is at most 0.99."""
        setup = super().setup(problem, draw)
        rate = estimate_rate(problem.labels)
        if self.hyper.rho == "given":
            rate = rate.new_tensor(float(problem.oracle["noise_rate"]))
        setup.constants["noise_rate"] = rate.clamp(max=_MOST)
        return setup
