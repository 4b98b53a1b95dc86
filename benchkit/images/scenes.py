"""A small multi-label image set that is drawn here: no network, no download, COCO's format.

Each scene shows one to six classes of glyphs over clutter. The glyphs come from the fonts that
matplotlib ships, at random position, size, rotation and colour; the clutter is a coloured
background, lines, blobs, and characters that belong to no class. Which classes meet is structured:
a scene has a theme (weather, chess, music, cards, planets, journey), most of its classes come from
it, some from the theme beside it, a few from anywhere.

Scene k of a part is a pure function of (seed, part, k, size) and of the installed libraries: it
does not depend on how many scenes are drawn, nor on which thread draws it. The painting is public,
because `scripts/train_glyphs.py` draws isolated glyphs with the same brush.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchkit.base import random
from benchkit.base.errors import BenchkitError
from benchkit.base.files import atomic

PARTS = ("train", "test")
DEFAULT_SIZE = 96
_GENERATOR = 1  # raised when the same parameters draw other pictures
_RECIPE = "scenes.json"
_FIRST_ID = {"train": 1_000_000, "test": 2_000_000}  # ids that no number of scenes can shift
_FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono")
_STAMP = 80  # glyphs are rendered once at this many pixels, and resized from there
_CHUNK = 64  # scenes per task of the thread pool


@dataclass(frozen=True)
class SceneClass:
    """One class: its name, its symbol, the theme it lives in, and how common it is there."""

    id: int
    name: str
    symbol: str
    theme: str
    weight: float


# The ids have gaps, as COCO's have, so that a reader that takes them for columns fails here first.
CLASSES = (
    SceneClass(1, "sun", "☀", "weather", 1.5),
    SceneClass(2, "cloud", "☁", "weather", 1.2),
    SceneClass(3, "umbrella", "☂", "weather", 0.9),
    SceneClass(4, "snowman", "☃", "weather", 0.6),
    SceneClass(6, "snowflake", "❄", "weather", 0.5),
    SceneClass(7, "chess king", "♚", "chess", 1.1),
    SceneClass(8, "chess queen", "♛", "chess", 0.9),
    SceneClass(9, "chess rook", "♜", "chess", 0.6),
    SceneClass(11, "chess knight", "♞", "chess", 0.5),
    SceneClass(13, "eighth note", "♪", "music", 1.4),
    SceneClass(14, "beamed notes", "♫", "music", 1.0),
    SceneClass(15, "sharp", "♯", "music", 0.6),
    SceneClass(17, "spade", "♠", "cards", 1.2),
    SceneClass(18, "heart", "♥", "cards", 1.6),
    SceneClass(19, "club", "♣", "cards", 0.8),
    SceneClass(20, "diamond", "♦", "cards", 0.6),
    SceneClass(22, "venus", "♀", "planets", 1.1),
    SceneClass(23, "mars", "♂", "planets", 0.9),
    SceneClass(24, "mercury", "☿", "planets", 0.6),
    SceneClass(25, "saturn", "♄", "planets", 0.5),
    SceneClass(27, "anchor", "⚓", "journey", 0.9),
    SceneClass(28, "airplane", "✈", "journey", 1.2),
    SceneClass(31, "skull", "☠", "journey", 0.6),
    SceneClass(32, "telephone", "☎", "journey", 0.5),
)
CLASS_NAMES = tuple(c.name for c in CLASSES)
THEMES = tuple(dict.fromkeys(c.theme for c in CLASSES))

# What lies about without being of any class: characters, and symbols that resemble classes.
LETTERS = "ABEGKMNRSXZ234579adeghkmnqwΩΨΞΔΣλπ&@%?§"
LOOKALIKES = "☆♧♡♢♖♔♩☾⚑☍"

_THEME_WEIGHTS = np.array([1.2, 0.9, 0.8, 1.1, 0.8, 0.8])
_LABEL_COUNTS = np.array([0.26, 0.28, 0.22, 0.13, 0.07, 0.04])  # of 1, 2, ... labels


# ----------------------------------------------------------------------------- the set


def write(
    folder: Path,
    *,
    images: int = 4000,
    test_images: int = 1000,
    seed: int = 0,
    size: int = DEFAULT_SIZE,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Draw a set of scenes into a folder, or do nothing where it already stands there.

    Gives `annotations/instances_train.json` and `instances_test.json`, `train/*.jpg`, `test/*.jpg`
    and `scenes.json`, the parameters. The folder appears by one rename when everything is in it.

    Args:
        folder: the target.
        images: training scenes.
        test_images: test scenes.
        seed: of everything random.
        size: side of a scene in pixels; glyphs grow with it.
        progress: told of finished scenes, as a number to add.

    Raises:
        BenchkitError: numbers out of range, a folder that holds something else, no disk space.
    """
    if images < 1 or test_images < 1 or size < 32:
        raise BenchkitError(
            f"scenes need at least one training and one test image of 32 pixels or more, not "
            f"{images} and {test_images} of {size}"
        )
    recipe = {
        "generator": _GENERATOR,
        "images": images,
        "test_images": test_images,
        "seed": seed,
        "size": size,
    }
    advance = progress or (lambda _: None)
    if _finished(folder, recipe):
        advance(images + test_images)
        return
    versions = {p: metadata.version(p) for p in ("Pillow", "matplotlib", "numpy")}
    with atomic(folder) as partial:
        (partial / "annotations").mkdir(parents=True)
        for part, count in zip(PARTS, (images, test_images), strict=True):
            _write_part(partial, part, count, seed, size, advance)
        (partial / _RECIPE).write_text(json.dumps({"recipe": recipe, "versions": versions}) + "\n")
        os.sync()  # one flush of everything: file by file it takes longer than the drawing


def _finished(folder: Path, recipe: dict[str, int]) -> bool:
    """Whether the folder holds exactly this set; raises where it holds something else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        found = json.loads((folder / _RECIPE).read_text())["recipe"]
    except (OSError, ValueError, KeyError, TypeError):
        raise BenchkitError(
            f"{folder} exists and holds no finished scenes; name another folder, or remove it"
        ) from None
    different = [key for key in recipe if found.get(key) != recipe[key]]
    if different:
        key = different[0]
        raise BenchkitError(
            f"{folder} holds scenes with {key} {found.get(key)}, and {recipe[key]} was asked for; "
            f"name another folder, or remove it"
        )
    for part, count in zip(PARTS, (recipe["images"], recipe["test_images"]), strict=True):
        standing = sum(1 for _ in (folder / part).glob("*.jpg"))
        if standing != count or not _annotations(folder, part).is_file():
            raise BenchkitError(
                f"{folder} holds {standing} of {count} {part} scenes; remove it, to draw them again"
            )
    return True


def _annotations(folder: Path, part: str) -> Path:
    return folder / "annotations" / f"instances_{part}.json"


def _write_part(
    folder: Path, part: str, count: int, seed: int, size: int, advance: Callable[[int], None]
) -> None:
    """Draw one part; threads share the work, because Pillow and file writes release the lock."""
    (folder / part).mkdir()

    def some(start: int) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
        rows = []
        for index in range(start, min(start + _CHUNK, count)):
            picture, instances = scene(seed, part, index, size)
            name = f"{index:06d}.jpg"
            picture.save(folder / part / name, quality=90)
            rows.append(_rows(part, index, name, size, instances))
        return rows

    with ThreadPoolExecutor() as pool:
        entries = []
        for rows in pool.map(some, range(0, count, _CHUNK)):
            entries += rows
            advance(len(rows))
    document = {
        "info": {"description": f"benchkit scenes, {part}", "version": str(_GENERATOR)},
        "licenses": [],
        "images": [image for image, _ in entries],
        "annotations": [row for _, annotations in entries for row in annotations],
        "categories": [{"id": c.id, "name": c.name, "supercategory": c.theme} for c in CLASSES],
    }
    _annotations(folder, part).write_text(json.dumps(document) + "\n")


@dataclass(frozen=True)
class Instance:
    """One glyph in a scene: its class's index, its box (x, y, width, height), its area."""

    label: int
    box: tuple[int, int, int, int]
    area: int


def _rows(
    part: str, index: int, name: str, size: int, instances: list[Instance]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A scene's entries in COCO's lists of images and annotations."""
    image_id = _FIRST_ID[part] + index
    annotations = [
        {
            "id": image_id * 16 + position,
            "image_id": image_id,
            "category_id": CLASSES[instance.label].id,
            "bbox": list(instance.box),
            "area": instance.area,
            "iscrowd": 0,
        }
        for position, instance in enumerate(instances)
    ]
    return {"id": image_id, "file_name": name, "width": size, "height": size}, annotations


# ----------------------------------------------------------------------------- one scene


def scene(
    seed: int, part: str, index: int, size: int = DEFAULT_SIZE
) -> tuple[Image.Image, list[Instance]]:
    """Scene `index` of a part, and the glyphs of classes in it."""
    rng = random.generator(seed, f"scenes/{part}", index, size)
    image = clutter(rng, size, LETTERS + LOOKALIKES)
    placed: list[Instance] = []
    labels = draw_labels(rng)
    if rng.random() < 0.25:
        labels.append(labels[0])  # now and then a class comes twice
    # Many glyphs are smaller than few, so that they find room.
    largest = 0.42 - 0.025 * len(labels)
    for label in labels:
        mask = glyph(rng, CLASSES[label].symbol, size * rng.uniform(0.19, largest))
        x, y = _free_place(rng, size, mask, placed)
        stain(rng, image, mask, x, y)
        left, top, right, bottom = mask.getbbox() or (0, 0, *mask.size)
        placed.append(
            Instance(
                label,
                (x + left, y + top, right - left, bottom - top),
                int((np.asarray(mask) > 127).sum()),
            )
        )
    return grain(rng, image), placed


def draw_labels(rng: np.random.Generator) -> list[int]:
    """The classes of one scene, different, in the order of drawing."""
    themes = np.array([THEMES.index(c.theme) for c in CLASSES])
    weights = np.array([c.weight for c in CLASSES])
    theme = rng.choice(len(THEMES), p=_THEME_WEIGHTS / _THEME_WEIGHTS.sum())
    # Its own theme, the theme beside it, and anything: the strength of co-occurrence.
    kin = np.where(themes == theme, 1.0, np.where(themes == (theme + 1) % len(THEMES), 0.2, 0.1))
    weights = weights * kin
    count = 1 + rng.choice(len(_LABEL_COUNTS), p=_LABEL_COUNTS)
    return rng.choice(len(CLASSES), count, replace=False, p=weights / weights.sum()).tolist()


def _free_place(
    rng: np.random.Generator, size: int, mask: Image.Image, placed: list[Instance]
) -> tuple[int, int]:
    """Of six random places, the one that hides least of what is there already."""
    width, height = mask.size
    xs = rng.integers(0, max(1, size - width + 1), 6)
    ys = rng.integers(0, max(1, size - height + 1), 6)
    hidden = np.zeros(6)
    for instance in placed:
        x, y, w, h = instance.box
        across = np.minimum(xs + width, x + w) - np.maximum(xs, x)
        down = np.minimum(ys + height, y + h) - np.maximum(ys, y)
        hidden += np.maximum(across, 0) * np.maximum(down, 0) / (w * h)
    best = int(hidden.argmin())
    return int(xs[best]), int(ys[best])


# ----------------------------------------------------------------------------- the brush


@functools.lru_cache(maxsize=4096)
def _stamp(font: str, symbol: str) -> Image.Image:
    """A symbol as a mask, trimmed; read only."""
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"
    mask = Image.new("L", (3 * _STAMP, 3 * _STAMP))
    brush = ImageFont.truetype(str(path), _STAMP, layout_engine=ImageFont.Layout.BASIC)
    ImageDraw.Draw(mask).text((_STAMP, _STAMP // 2), symbol, font=brush, fill=255)
    return mask.crop(mask.getbbox())


def glyph(rng: np.random.Generator, symbol: str, pixels: float, turn: float = 50.0) -> Image.Image:
    """A symbol's mask, its longer side of so many pixels, then stretched and turned (degrees)."""
    stamp = _stamp(_FONTS[rng.integers(len(_FONTS))], symbol)
    scale = pixels / max(stamp.size)
    stretch = rng.uniform(0.85, 1.15)
    width = max(2, round(stamp.width * scale * stretch))
    height = max(2, round(stamp.height * scale / stretch))
    small = stamp.resize((width, height), Image.Resampling.BILINEAR)
    return small.rotate(rng.uniform(-turn, turn), Image.Resampling.BICUBIC, expand=True)


def stain(
    rng: np.random.Generator,
    image: Image.Image,
    mask: Image.Image,
    x: int,
    y: int,
    least: float = 55.0,
) -> None:
    """Colour an image through a mask, in a colour that stands out from what lies below."""
    box = (x, y, x + mask.width, y + mask.height)
    below = np.asarray(image.crop(box).resize((1, 1), Image.Resampling.BOX))[0, 0]
    colours = rng.integers(0, 256, (12, 3))
    contrast = np.abs((colours - below.astype(np.int64)) @ [0.299, 0.587, 0.114])
    enough = np.flatnonzero(contrast > least)
    chosen = colours[enough[0] if len(enough) else contrast.argmax()]
    opacity = rng.uniform(0.75, 1.0)
    image.paste(tuple(int(c) for c in chosen), box, mask.point(lambda v: v * opacity))


def clutter(rng: np.random.Generator, size: int, distractors: str) -> Image.Image:
    """A background of soft colours, with blobs, lines and characters on it."""
    coarse = int(rng.integers(2, 7))
    centre = rng.integers(40, 216, 3)
    spread = rng.uniform(10, 70)
    colours = np.clip(centre + spread * rng.standard_normal((coarse, coarse, 3)), 0, 255)
    image = Image.fromarray(colours.astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(2, 6)):
        x, y, w, h = (size * rng.uniform([0, 0, 0.03, 0.03], [1, 1, 0.3, 0.3])).tolist()
        colour = _near(rng, centre, 60)
        shape = draw.ellipse if rng.random() < 0.6 else draw.rectangle
        shape((x - w / 2, y - h / 2, x + w / 2, y + h / 2), fill=colour)
    for _ in range(rng.integers(2, 8)):
        ends = (size * rng.uniform(-0.1, 1.1, 4)).tolist()
        draw.line(ends, fill=_near(rng, centre, 80), width=int(rng.integers(1, 4)))
    for _ in range(rng.integers(1, 5) if distractors else 0):
        symbol = distractors[rng.integers(len(distractors))]
        mask = glyph(rng, symbol, size * rng.uniform(0.12, 0.3))
        x, y = (int(v) for v in rng.integers(0, max(1, size - max(mask.size)), 2))
        stain(rng, image, mask, x, y)
    return image


def _near(rng: np.random.Generator, centre: np.ndarray, spread: float) -> tuple[int, ...]:
    return tuple(int(c) for c in np.clip(centre + spread * rng.standard_normal(3), 0, 255))


def grain(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """Sensor noise over everything."""
    noise = rng.uniform(2, 14) * rng.standard_normal((*image.size, 1), dtype=np.float32)
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))
