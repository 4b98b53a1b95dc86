"""The network of COMIC: cosine classifier, moving vector, fusion by attention."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.core import Draw


def cosine_logits(
    features: Tensor,
    weight: Tensor,
    *,
    scale: float | Tensor = 16.0,
    floor: float = 1 / 32,
    direction: Tensor | None = None,
    shift: float | Tensor = 0.0,
    groups: int = 1,
) -> Tensor:
    """The normalised classifier, shifted by the moving vector if a direction is given.

        z_bc = rho (f_b + s cos(f_b, e) e) . w_c / (||w_c|| + eta),   f_b and e of unit length

    With several groups of features, each group is normalised separately, and z is the mean over the
    groups.

    Args:
        features: f [B, d].
        weight: w [d, C], one column per class.
        scale: rho; |z| < rho without a shift.
        floor: eta.
        direction: e [d], the moving mean of features, of any length; zero for no shift.
        shift: s; -1 removes the common direction, a positive value adds to it.
        groups: number of parts of equal width of the d features; 1 in all configurations.

    Returns:
        [B, C].

    Source: the authors' `CausalNormClassifier`, `HeadNormClassifier` (s = -1) and
    `TailNormClassifier` (s = 2).
    """
    if groups > 1:
        directions = (None,) * groups if direction is None else direction.chunk(groups)
        parts = zip(features.chunk(groups, 1), weight.chunk(groups), directions, strict=True)
        options: dict[str, Any] = dict(scale=scale / groups, floor=floor, shift=shift)
        logits = [cosine_logits(f, w, direction=e, **options) for f, w, e in parts]
        return torch.stack(logits).sum(0)
    unit = F.normalize(features, dim=1)
    if direction is not None:
        common = F.normalize(direction, dim=0)
        unit = unit + shift * (unit @ common)[:, None] * common
    return scale * (unit @ (weight / (torch.linalg.vector_norm(weight, dim=0) + floor)))


def attend(query: Tensor, keys: Tensor, of_query: Tensor, of_key: Tensor, scorer: Tensor) -> Tensor:
    """Additive attention weights a_bj = softmax_j v . tanh(f_b W_q + k_bj W_k).

    Args:
        query: f [B, d].
        keys: k [B, J, d].
        of_query: W_q [d, h].
        of_key: W_k [d, h].
        scorer: v [h].

    Returns:
        a [B, J].

    Source: the authors' `AdditivetionAttention`.
    """
    hidden = torch.tanh((query @ of_query)[:, None] + keys @ of_key)  # [B, J, h]
    return torch.softmax(hidden @ scorer, 1)


def fuse(query: Tensor, keys: Tensor, attention: Tensor, coefficient: float | Tensor) -> Tensor:
    """f_b + beta sum_j a_bj k_bj, [B, d]: query [B, d], keys [B, J, d], attention [B, J].

    Source: the authors' `BalancedlNetwork`, beta = 0.1; the paper has no coefficient.
    """
    return query + coefficient * (attention[:, None] @ keys)[:, 0]


def dropped(values: Tensor, uniform: Tensor, rate: float | Tensor) -> Tensor:
    """Inverted dropout: `values` / (1 - rate) where `uniform` is at least `rate`, else 0."""
    return values * (uniform >= rate).to(values.dtype) / (1.0 - rate)


def weights(name: str, inputs: int, outputs: int, draw: Draw) -> dict[str, Tensor]:
    """A layer [inputs, outputs] without bias, uniform in +-1/sqrt(inputs)."""
    bound = 1.0 / math.sqrt(inputs)
    return {f"{name}.weight": (draw.uniform(f"{name}.weight", inputs, outputs) * 2.0 - 1.0) * bound}
