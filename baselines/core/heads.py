"""Heads: from features [B, D] to logits [B, C], as pure functions of a dictionary of tensors.

Weights are stored [inputs, outputs]. Measured for 16 stacked heads at D = 2048, C = 80, batch 32:
the gradient x^T g then comes out in the layout of the parameter, and a step takes two thirds of
the time that torch's usual [outputs, inputs] costs, where every gradient is copied once more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from baselines.core.draw import Draw


class Head(Protocol):
    """Anything with parameters to start from and a way to apply them.

    Parameters of the classifier itself are named `head.*`; what lies before it `neck.*`.
    """

    def init(self, inputs: int, outputs: int, draw: Draw) -> dict[str, Tensor]:
        """Freshly drawn parameters."""

    def apply(self, params: dict[str, Tensor], features: Tensor) -> Tensor:
        """Logits [B, C] of features [B, D]."""


def dense(name: str, inputs: int, outputs: int, draw: Draw) -> dict[str, Tensor]:
    """A linear layer's parameters, both uniform in +-1/sqrt(inputs), as `torch.nn.Linear` does."""
    bound = 1.0 / math.sqrt(inputs)
    return {
        f"{name}.weight": (draw.uniform(f"{name}.weight", inputs, outputs) * 2.0 - 1.0) * bound,
        f"{name}.bias": (draw.uniform(f"{name}.bias", outputs) * 2.0 - 1.0) * bound,
    }


def affine(params: dict[str, Tensor], name: str, inputs: Tensor) -> Tensor:
    """An affine map, x W + b, with the parameters that `dense` made."""
    return inputs @ params[f"{name}.weight"] + params[f"{name}.bias"]


def classifier(inputs: int, outputs: int, draw: Draw) -> dict[str, Tensor]:
    """A classifier's parameters: W normal with deviation 0.01, b zero, as in the DB-loss code.

    Rare classes hardly move a weight, so what they start from stays in their scores. On 374 real
    classes `dense`'s wider start cost BCE 0.7 mAP at batch 128 and 0.9 under a cosine of ten
    epochs; at batch 32 and a constant rate it cost nothing.
    """
    return {
        "head.weight": draw.normal("head.weight", inputs, outputs) * 0.01,
        "head.bias": torch.zeros(outputs),
    }


@dataclass(frozen=True)
class LinearHead:
    """logits = x W + s b, with s = 1, or s = sqrt(D) if the bias is scaled.

    Labels are rare, so that every logit has to fall by a few units before anything is learnt. The
    features of a network do that through their mean; centred features have none, and a plain bias
    is one weight among D: the weights get there first, by way of whatever the visited rows have in
    common, and those of rare classes stay there. Scaled, the bias stands on a constant feature
    that is as long as a centred and scaled row, sqrt(D), and learns as fast as the weights do.

    Attributes:
        scaled: whether s = sqrt(D).
    """

    scaled: bool = False

    def init(self, inputs: int, outputs: int, draw: Draw) -> dict[str, Tensor]:
        """W [D, C] and b [C]."""
        return classifier(inputs, outputs, draw)

    def apply(self, params: dict[str, Tensor], features: Tensor) -> Tensor:
        """[B, D] -> [B, C]."""
        if not self.scaled:
            return affine(params, "head", features)
        scale = math.sqrt(features.shape[-1])
        return features @ params["head.weight"] + scale * params["head.bias"]


@dataclass(frozen=True)
class HiddenHead:
    """logits = relu(x V + a) W + b: a representation that trains, for what is said of one."""

    width: int = 256

    def init(self, inputs: int, outputs: int, draw: Draw) -> dict[str, Tensor]:
        """V [D, width], a [width], W [width, C] and b [C]."""
        return dense("neck", inputs, self.width, draw) | classifier(self.width, outputs, draw)

    def apply(self, params: dict[str, Tensor], features: Tensor) -> Tensor:
        """[B, D] -> [B, C]."""
        return affine(params, "head", torch.relu(affine(params, "neck", features)))
