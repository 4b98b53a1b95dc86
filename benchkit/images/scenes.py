"""A small multi-label image set in COCO's format, drawn by benchkit: it needs no download.

Each scene shows one to six classes of glyphs over clutter. The glyphs come from matplotlib's fonts,
at random position, size, rotation and colour. The clutter is a coloured background with lines,
blobs, and characters that belong to no class. Classes co-occur by theme (weather, chess, music,
cards, planets, journey): most classes of a scene belong to its theme, some to the next theme, and a
few to any other.

Scene k of a part is a pure function of (seed, part, k, size) and of the installed libraries. It
does not depend on the number of scenes or on the thread that draws it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchkit.base import random
from benchkit.base.errors import BenchkitError
from benchkit.base.files import atomic
from benchkit.base.messages import Log, no_log
from benchkit.images import brush

PARTS = ("train", "test")
DEFAULT_SIZE = 96
_GENERATOR = 1  # increased when the same parameters draw different pictures
_PARAMETERS = "scenes.json"
_FIRST_ID = {"train": 1_000_000, "test": 2_000_000}  # image ids do not depend on the set's size
_CHUNK = 64  # scenes per task of the thread pool


@dataclass(frozen=True)
class SceneClass:
    """One class.

    Attributes:
        id: its category id in the annotation files.
        name: its name.
        symbol: the character that is drawn.
        theme: the theme it belongs to.
        weight: its relative frequency in the theme.
    """

    id: int
    name: str
    symbol: str
    theme: str
    weight: float


# The ids have gaps, as in COCO, to expose readers that use an id as a column index.
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

# Distractors of no class: characters, and symbols that resemble those of classes.
LETTERS = "ABEGKMNRSXZ234579adeghkmnqwΩΨΞΔΣλπ&@%?§"
LOOKALIKES = "☆♧♡♢♖♔♩☾⚑☍"

_THEME_WEIGHTS = np.array([1.2, 0.9, 0.8, 1.1, 0.8, 0.8])
_LABEL_COUNTS = np.array([0.26, 0.28, 0.22, 0.13, 0.07, 0.04])  # probability of 1, 2, ... labels


# ----------------------------------------------------------------------------- the set


def write(
    folder: Path,
    *,
    images: int = 4000,
    test_images: int = 1000,
    seed: int = 0,
    size: int = DEFAULT_SIZE,
    progress: Callable[[int], None] | None = None,
    log: Log = no_log,
) -> None:
    """Draw a set of scenes into a folder, unless the folder already holds the same set.

    Writes `annotations/instances_train.json`, `annotations/instances_test.json`, `train/*.jpg`,
    `test/*.jpg`, and the parameters in `scenes.json`. The folder is renamed into place when it is
    complete.

    Args:
        folder: the target.
        images: number of training scenes.
        test_images: number of test scenes.
        seed: the seed of all random numbers.
        size: side of a scene in pixels; glyphs scale with it.
        progress: called with the number of newly finished scenes.
        log: called with a message for each leftover of an interrupted writer that is removed.

    Raises:
        BenchkitError: a number is out of range, the folder holds something else, or the disk is
            full.
    """
    if images < 1 or test_images < 1 or size < 32:
        raise BenchkitError(
            f"scenes need at least one training and one test image of 32 pixels or more, not "
            f"{images} and {test_images} of {size}"
        )
    parameters = {
        "generator": _GENERATOR,
        "images": images,
        "test_images": test_images,
        "seed": seed,
        "size": size,
    }
    advance = progress or (lambda _: None)
    if _is_complete(folder, parameters):
        advance(images + test_images)
        return
    versions = {p: metadata.version(p) for p in ("Pillow", "matplotlib", "numpy")}
    with atomic(folder, log) as partial:
        (partial / "annotations").mkdir(parents=True)
        for part, count in zip(PARTS, (images, test_images), strict=True):
            _write_part(partial, part, count, seed, size, advance)
        document = {"recipe": parameters, "versions": versions}
        (partial / _PARAMETERS).write_text(json.dumps(document) + "\n")
        os.sync()  # one flush of all files; one per file takes longer than the drawing


def _is_complete(folder: Path, parameters: dict[str, int]) -> bool:
    """Whether the folder holds exactly this set.

    Raises:
        BenchkitError: the folder holds something else, or images are missing.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        existing = json.loads((folder / _PARAMETERS).read_text())["recipe"]
    except (OSError, ValueError, KeyError, TypeError):
        raise BenchkitError(
            f"{folder} exists and holds no finished scenes; choose another folder or delete it"
        ) from None
    for key, value in parameters.items():
        if existing.get(key) != value:
            raise BenchkitError(
                f"{folder} holds scenes with {key} {existing.get(key)}, not {value}; choose "
                f"another folder or delete it"
            )
    for part, count in zip(PARTS, (parameters["images"], parameters["test_images"]), strict=True):
        present = sum(1 for _ in (folder / part).glob("*.jpg"))
        if present != count or not _annotations(folder, part).is_file():
            raise BenchkitError(
                f"{folder} holds {present} of {count} {part} scenes; delete it to draw them again"
            )
    return True


def _annotations(folder: Path, part: str) -> Path:
    return folder / "annotations" / f"instances_{part}.json"


def _write_part(
    folder: Path, part: str, count: int, seed: int, size: int, advance: Callable[[int], None]
) -> None:
    """Draw one part, in threads: Pillow and file writes release the interpreter lock."""
    (folder / part).mkdir()

    def draw_chunk(start: int) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
        rows = []
        for index in range(start, min(start + _CHUNK, count)):
            picture, instances = draw_scene(seed, part, index, size)
            name = f"{index:06d}.jpg"
            picture.save(folder / part / name, quality=90)
            rows.append(_coco_rows(part, index, name, size, instances))
        return rows

    with ThreadPoolExecutor() as pool:
        entries = []
        for rows in pool.map(draw_chunk, range(0, count, _CHUNK)):
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
    """One glyph in a scene.

    Attributes:
        label: the index of its class.
        box: x, y, width, height in pixels.
        area: the number of pixels of the symbol.
    """

    label: int
    box: tuple[int, int, int, int]
    area: int


def _coco_rows(
    part: str, index: int, name: str, size: int, instances: list[Instance]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The entries of a scene in COCO's lists of images and annotations."""
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


def draw_scene(
    seed: int, part: str, index: int, size: int = DEFAULT_SIZE
) -> tuple[Image.Image, list[Instance]]:
    """Draw one scene.

    Args:
        seed: the seed of the set.
        part: `train` or `test`.
        index: the number of the scene in its part.
        size: side in pixels.

    Returns:
        The image, and its glyphs that belong to a class.
    """
    rng = random.generator(seed, f"scenes/{part}", index, size)
    image = brush.clutter(rng, size, LETTERS + LOOKALIKES)
    instances: list[Instance] = []
    labels = draw_labels(rng)
    if rng.random() < 0.25:
        labels.append(labels[0])  # in a quarter of the scenes, one class appears twice
    # The more glyphs, the smaller they are, so that all of them fit.
    max_share = 0.42 - 0.025 * len(labels)
    for label in labels:
        mask = brush.glyph_mask(rng, CLASSES[label].symbol, size * rng.uniform(0.19, max_share))
        x, y = _free_position(rng, size, mask, instances)
        brush.paint(rng, image, mask, x, y)
        left, top, right, bottom = mask.getbbox() or (0, 0, *mask.size)
        instances.append(
            Instance(
                label,
                (x + left, y + top, right - left, bottom - top),
                int((np.asarray(mask) > 127).sum()),
            )
        )
    return brush.add_noise(rng, image), instances


def draw_labels(rng: np.random.Generator) -> list[int]:
    """The class indices of one scene, without repetition, in the order of drawing."""
    themes = np.array([THEMES.index(c.theme) for c in CLASSES])
    weights = np.array([c.weight for c in CLASSES])
    theme = rng.choice(len(THEMES), p=_THEME_WEIGHTS / _THEME_WEIGHTS.sum())
    # Weights of the scene's theme, the next theme and all others: the strength of co-occurrence.
    affinity = np.where(
        themes == theme, 1.0, np.where(themes == (theme + 1) % len(THEMES), 0.2, 0.1)
    )
    weights = weights * affinity
    count = 1 + rng.choice(len(_LABEL_COUNTS), p=_LABEL_COUNTS)
    return rng.choice(len(CLASSES), count, replace=False, p=weights / weights.sum()).tolist()


def _free_position(
    rng: np.random.Generator, size: int, mask: Image.Image, instances: list[Instance]
) -> tuple[int, int]:
    """Of six random positions, the one that covers the least of the existing glyphs' boxes."""
    width, height = mask.size
    xs = rng.integers(0, max(1, size - width + 1), 6)
    ys = rng.integers(0, max(1, size - height + 1), 6)
    covered = np.zeros(6)
    for instance in instances:
        x, y, w, h = instance.box
        across = np.minimum(xs + width, x + w) - np.maximum(xs, x)
        down = np.minimum(ys + height, y + h) - np.maximum(ys, y)
        covered += np.maximum(across, 0) * np.maximum(down, 0) / (w * h)
    best = int(covered.argmin())
    return int(xs[best]), int(ys[best])
