"""Heads: from features [B, D] to logits [B, C], as pure functions of a dictionary of tensors.

Weights are stored [inputs, outputs]. The gradient x^T g then has the layout of the parameter.
Measured for 16 stacked heads at D = 2048, C = 80 and batch 32, a step takes two thirds of the time
of torch's usual [outputs, inputs], which copies every gradient once more.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from baselines.core.draw import Draw


def scaled_norm(row_norm: float, inputs: int) -> float:
    """The norm of the rows of D features: `row_norm` sqrt(1024 / D).

    A step of an adaptive optimiser changes every weight by about the learning rate, and decoupled
    weight decay bounds every weight. Both therefore act on a logit in proportion to the sum of the
    absolute values of a row, which is then the same for few and many features.
    """
    return row_norm * math.sqrt(1024.0 / inputs)


class Head(Protocol):
    """A function from features to logits, with parameters.

    The parameters of the classifier are named `head.*`, those of layers before it `neck.*`.
    """

    def init(self, inputs: int, outputs: int, draw: Draw) -> dict[str, Tensor]:
        """Draw initial parameters."""

    def apply(self, params: dict[str, Tensor], features: Tensor) -> Tensor:
        """Compute the logits [B, C] of features [B, D]."""


def dense(name: str, inputs: int, outputs: int, draw: Draw) -> dict[str, Tensor]:
    """Parameters of a linear layer, uniform in +-1/sqrt(inputs) as in `torch.nn.Linear`."""
    bound = 1.0 / math.sqrt(inputs)
    return {
        f"{name}.weight": (draw.uniform(f"{name}.weight", inputs, outputs) * 2.0 - 1.0) * bound,
        f"{name}.bias": (draw.uniform(f"{name}.bias", outputs) * 2.0 - 1.0) * bound,
    }


def affine(params: dict[str, Tensor], name: str, inputs: Tensor) -> Tensor:
    """The affine map x W + b with parameters from `dense`."""
    return inputs @ params[f"{name}.weight"] + params[f"{name}.bias"]


def classifier(inputs: int, outputs: int, draw: Draw) -> dict[str, Tensor]:
    """Parameters of a classifier: W normal with deviation 0.01, b zero, as in the DB-loss code.

    Rare classes hardly move their weights, so the initial values stay in their scores. On 374 real
    classes the wider initialisation of `dense` cost BCE 0.7 mAP at batch size 128, and 0.9 with a
    cosine schedule of ten epochs; at batch size 32 with a constant rate it cost nothing.
    """
    return {
        "head.weight": draw.normal("head.weight", inputs, outputs) * 0.01,
        "head.bias": torch.zeros(outputs),
    }


@dataclass(frozen=True)
class LinearHead:
    """logits = x W + s b, with s = 1, or s = the norm of a row if the bias is scaled.

    Positive labels are rare, so every logit must first fall by a few units. With the features of a
    network, their mean brings this about. Centred features have no mean, and a plain bias is only
    one weight among D: the weights then fit the low logits through directions that the visited rows
    happen to share, and the weights of rare classes never recover. The scaled bias is multiplied by
    the norm of a row, so its effective learning rate matches that of the weights.

    Attributes:
        scaled: whether the bias is scaled.
        row_norm: the norm of a row is `scaled_norm(row_norm, D)`; 0 for sqrt(D), the norm of a
            standardised row.
        uniform: whether initial values are those of `torch.nn.Linear` (see `dense`) instead of
            those of `classifier`.
    """

    scaled: bool = False
    row_norm: float = 0.0
    uniform: bool = False

    def init(self, inputs: int, outputs: int, draw: Draw) -> dict[str, Tensor]:
        """Draw W [D, C] and b [C]."""
        draw_layer = functools.partial(dense, "head") if self.uniform else classifier
        return draw_layer(inputs, outputs, draw)

    def apply(self, params: dict[str, Tensor], features: Tensor) -> Tensor:
        """Map features [B, D] to logits [B, C]."""
        if not self.scaled:
            return affine(params, "head", features)
        inputs = features.shape[-1]
        scale = scaled_norm(self.row_norm, inputs) if self.row_norm else math.sqrt(inputs)
        return features @ params["head.weight"] + scale * params["head.bias"]


@dataclass(frozen=True)
class HiddenHead:
    """logits = relu(x V + a) W + b: one hidden layer, for claims about representation learning."""

    width: int = 256

    def init(self, inputs: int, outputs: int, draw: Draw) -> dict[str, Tensor]:
        """Draw V [D, width], a [width], W [width, C] and b [C]."""
        return dense("neck", inputs, self.width, draw) | classifier(self.width, outputs, draw)

    def apply(self, params: dict[str, Tensor], features: Tensor) -> Tensor:
        """Map features [B, D] to logits [B, C]."""
        return affine(params, "head", torch.relu(affine(params, "neck", features)))
