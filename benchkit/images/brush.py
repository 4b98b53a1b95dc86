"""Painting of glyphs over clutter, used by the scenes and by `scripts/train_glyphs.py`.

Every function takes a NumPy generator as its first argument and draws from it in a fixed order, so
that a picture is a function of its generator's key.
"""

from __future__ import annotations

import functools
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

_FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono")  # part of matplotlib
_STAMP = 80  # pixels: a symbol is rendered once at this size, then resized


@functools.lru_cache(maxsize=4096)
def _stamp(font: str, symbol: str) -> Image.Image:
    """A trimmed mask of a symbol; shared, so it must not be modified."""
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"
    mask = Image.new("L", (3 * _STAMP, 3 * _STAMP))
    loaded = ImageFont.truetype(str(path), _STAMP, layout_engine=ImageFont.Layout.BASIC)
    ImageDraw.Draw(mask).text((_STAMP, _STAMP // 2), symbol, font=loaded, fill=255)
    return mask.crop(mask.getbbox())


def glyph_mask(
    rng: np.random.Generator, symbol: str, pixels: float, max_angle: float = 50.0
) -> Image.Image:
    """A symbol in a random font, stretched and rotated at random.

    Args:
        rng: the generator.
        symbol: one character.
        pixels: length of the longer side before stretching and rotation.
        max_angle: the largest rotation in degrees, in either direction.

    Returns:
        A greyscale mask, 255 inside the symbol.
    """
    stamp = _stamp(_FONTS[rng.integers(len(_FONTS))], symbol)
    scale = pixels / max(stamp.size)
    stretch = rng.uniform(0.85, 1.15)
    width = max(2, round(stamp.width * scale * stretch))
    height = max(2, round(stamp.height * scale / stretch))
    small = stamp.resize((width, height), Image.Resampling.BILINEAR)
    return small.rotate(rng.uniform(-max_angle, max_angle), Image.Resampling.BICUBIC, expand=True)


def paint(
    rng: np.random.Generator,
    image: Image.Image,
    mask: Image.Image,
    x: int,
    y: int,
    min_contrast: float = 55.0,
) -> None:
    """Paint a mask onto an image in a random colour that contrasts with the pixels below.

    Args:
        rng: the generator.
        image: an RGB image, modified in place.
        mask: from `glyph_mask`.
        x: the left edge of the mask in the image, in pixels.
        y: the top edge.
        min_contrast: difference in luma (0 to 255) from the mean colour below the mask. Of twelve
            random colours the first with more contrast is used, else the one with the most.
    """
    box = (x, y, x + mask.width, y + mask.height)
    below = np.asarray(image.crop(box).resize((1, 1), Image.Resampling.BOX))[0, 0]
    colours = rng.integers(0, 256, (12, 3))
    contrast = np.abs((colours - below.astype(np.int64)) @ [0.299, 0.587, 0.114])
    enough = np.flatnonzero(contrast > min_contrast)
    colour = colours[enough[0] if len(enough) else contrast.argmax()]
    opacity = rng.uniform(0.75, 1.0)
    image.paste(tuple(int(c) for c in colour), box, mask.point(lambda v: v * opacity))


def clutter(rng: np.random.Generator, size: int, distractors: str) -> Image.Image:
    """A square background of soft colours, covered with blobs, lines and characters.

    Args:
        rng: the generator.
        size: side in pixels.
        distractors: the characters to draw from; none are drawn if it is empty.
    """
    coarse = int(rng.integers(2, 7))
    centre = rng.integers(40, 216, 3)
    spread = rng.uniform(10, 70)
    colours = np.clip(centre + spread * rng.standard_normal((coarse, coarse, 3)), 0, 255)
    image = Image.fromarray(colours.astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(2, 6)):
        x, y, w, h = (size * rng.uniform([0, 0, 0.03, 0.03], [1, 1, 0.3, 0.3])).tolist()
        colour = _similar_colour(rng, centre, 60)
        shape = draw.ellipse if rng.random() < 0.6 else draw.rectangle
        shape((x - w / 2, y - h / 2, x + w / 2, y + h / 2), fill=colour)
    for _ in range(rng.integers(2, 8)):
        ends = (size * rng.uniform(-0.1, 1.1, 4)).tolist()
        draw.line(ends, fill=_similar_colour(rng, centre, 80), width=int(rng.integers(1, 4)))
    for _ in range(rng.integers(1, 5) if distractors else 0):
        symbol = distractors[rng.integers(len(distractors))]
        mask = glyph_mask(rng, symbol, size * rng.uniform(0.12, 0.3))
        x, y = (int(v) for v in rng.integers(0, max(1, size - max(mask.size)), 2))
        paint(rng, image, mask, x, y)
    return image


def _similar_colour(rng: np.random.Generator, centre: np.ndarray, spread: float) -> tuple[int, ...]:
    return tuple(int(c) for c in np.clip(centre + spread * rng.standard_normal(3), 0, 255))


def add_noise(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """A copy of an image with grey Gaussian noise of a random strength."""
    noise = rng.uniform(2, 14) * rng.standard_normal((*image.size, 1), dtype=np.float32)
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))
