"""A small drawn data set: glyphs of several classes over clutter, in COCO's format.

The caller draws the images; this module reads their annotations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from splits.source import Source
from splits.sources import coco
from splits.sources.registry import Option

FORM = "scenes[:FOLDER]"
HELP = "Small images of 24 classes of glyphs, which are drawn into FOLDER; nothing is downloaded."
OPTIONS = {
    "train": Option(4000, "training images to draw", low=1, recorded_as="scenes_train"),
    "test": Option(1000, "test images to draw", low=1, recorded_as="scenes_test"),
}
TOOLS = ("draw_scenes",)
DEFAULT_PATH = "scenes"
HAS_TEST_PART = True


def default_backbone(_options: Mapping[str, Any]) -> str:
    """The backbone if none is named: the small network that is trained on glyphs."""
    return "glyphs"


def load(
    path: Path,
    *,
    draw_scenes: Callable[..., None],
    train: int = 4000,
    test: int = 1000,
) -> Source:
    """Draw the scenes and read their annotations.

    Args:
        path: the folder of the images; scenes that are already there are kept.
        draw_scenes: `draw_scenes(folder, images=..., test_images=...)` draws `images` training and
            `test_images` test images and their annotations into a folder.
        train: training images.
        test: test images.

    Returns:
        The source, with a test part.

    Raises:
        InputError: the errors of `splits.sources.coco.load`; `draw_scenes` may raise its own.
    """
    path = Path(path)
    draw_scenes(path, images=train, test_images=test)
    return coco.load(
        path / "annotations" / "instances_train.json",
        images=path / "train",
        test=path / "annotations" / "instances_test.json",
        test_images=path / "test",
        name="scenes",
    )
