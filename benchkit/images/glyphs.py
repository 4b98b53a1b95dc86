"""The built-in backbone `glyphs`: a small convolutional network that knows symbols.

It is to the built-in scenes what ImageNet weights are to COCO: trained on isolated glyphs of a
vocabulary larger than the scenes' classes, never on scenes (`scripts/train_glyphs.py`), and shipped
beside this module as float16 arrays of half a megabyte.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

WEIGHTS = Path(__file__).with_name("glyphs.npz")
WIDTHS = (32, 48, 64, 128, 128)
STRIDES = (2, 2, 1, 2, 1)
DIM = 2 * WIDTHS[-1]
IMAGE_SIZE = 96
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


class Magnitude(nn.Module):
    """|x|, after the first filters: whether a glyph is light on dark or dark on light is noise.

    Measured: after 400 steps of training, 20 per cent of the symbols are named instead of 8.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """The absolute value."""
        return maps.abs()


class Glyphs(nn.Module):
    """Convolution blocks, then the mean and the maximum of every channel: [B, 3, H, W] -> [B, D].

    A glyph covers a few per cent of a scene: the mean dilutes it, the maximum keeps it.
    """

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for before, width, stride in zip((3, *WIDTHS), WIDTHS, STRIDES, strict=False):
            first = before == 3
            side = 5 if first else 3
            blocks += [
                nn.Conv2d(before, width, side, stride, padding=side // 2, bias=False),
                nn.BatchNorm2d(width),
                Magnitude() if first else nn.ReLU(inplace=True),
            ]
        self.blocks = nn.Sequential(*blocks)

    def forward(self, images: Tensor) -> Tensor:
        """Pooled features of normalised images."""
        return pool(self.blocks(images))


def pool(maps: Tensor) -> Tensor:
    """Mean and maximum over the places of [B, C, h, w], side by side: [B, 2 C]."""
    return torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)
