"""The built-in scenes: reproducible, readable as COCO, complete or absent."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchkit.base import random
from benchkit.base.errors import BenchkitError
from benchkit.images import scenes
from splits.sources import coco


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes") / "set"
    scenes.write(folder, images=70, test_images=10)
    return folder


def test_the_same_parameters_give_the_same_bytes(small: Path, tmp_path: Path) -> None:
    scenes.write(tmp_path / "again", images=70, test_images=10)
    assert contents(tmp_path / "again") == contents(small)
    scenes.write(tmp_path / "other", images=70, test_images=10, seed=1)
    other, original = contents(tmp_path / "other"), contents(small)
    assert not any(other[name] == original[name] for name in original if name.endswith(".jpg"))


def test_a_scene_does_not_depend_on_the_size_of_the_set(small: Path, tmp_path: Path) -> None:
    scenes.write(tmp_path / "few", images=3, test_images=2)
    few, many = contents(tmp_path / "few"), contents(small)
    names = [name for name in few if name.endswith(".jpg")]
    assert len(names) == 5
    assert all(few[name] == many[name] for name in names)
    first, all_scenes = (
        json.loads((folder / "annotations/instances_train.json").read_text())
        for folder in (tmp_path / "few", small)
    )
    assert first["images"] == all_scenes["images"][:3]
    assert first["annotations"] == all_scenes["annotations"][: len(first["annotations"])]


def test_the_set_is_read_as_coco(small: Path) -> None:
    source = coco.load(
        small / "annotations" / "instances_train.json",
        images=small / "train",
        test=small / "annotations" / "instances_test.json",
        test_images=small / "test",
    )
    assert source.class_names == scenes.CLASS_NAMES
    assert len(set(scenes.CLASS_NAMES)) == 24
    assert source.labels.shape == (80, 24)
    assert source.part is not None and source.part.sum() == 10
    _, instances = scenes.draw_scene(0, "train", 5)
    expected = np.zeros(24, np.int8)
    expected[[instance.label for instance in instances]] = 1
    np.testing.assert_array_equal(source.labels[5], expected)
    ids = [c.id for c in scenes.CLASSES]
    assert ids == sorted(ids) and ids != list(range(1, 25))


def test_boxes_are_inside_the_picture_and_contain_the_glyph(small: Path) -> None:
    document = json.loads((small / "annotations" / "instances_train.json").read_text())
    assert len({row["id"] for row in document["annotations"]}) == len(document["annotations"])
    for row in document["annotations"]:
        x, y, width, height = row["bbox"]
        assert x >= 0 and y >= 0 and x + width <= 96 and y + height <= 96
        assert 0 < row["area"] <= width * height
        assert row["iscrowd"] == 0
    for image in document["images"]:
        with Image.open(small / "train" / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"]) == (96, 96)
            assert picture.format == "JPEG"


def test_labels_are_skewed_and_structured() -> None:
    labels = np.zeros((5000, 24), np.int64)
    for row in range(5000):
        drawn = scenes.draw_labels(random.generator(0, "test/labels", row))
        assert len(set(drawn)) == len(drawn)
        labels[row, drawn] = 1
    counts = labels.sum(1)
    assert counts.min() == 1 and counts.max() == 6 and 2.5 < counts.mean() < 3.0
    frequency = labels.mean(0)
    assert 0.15 < frequency.max() < 0.25
    assert frequency.min() > 0.05  # about 50 positives in 1,000 test scenes, never under 25
    king, queen, club = (
        scenes.CLASS_NAMES.index(name) for name in ("chess king", "chess queen", "club")
    )
    beside_king = labels[labels[:, king] == 1].mean(0)
    assert beside_king[queen] > 1.7 * frequency[queen]
    assert beside_king[club] < frequency[club]


def test_glyphs_scale_with_the_picture() -> None:
    sides = {}
    for size in (96, 192):
        drawn = [scenes.draw_scene(0, "train", index, size) for index in range(30)]
        assert all(picture.size == (size, size) for picture, _ in drawn)
        sides[size] = np.mean([max(i.box[2:]) for _, instances in drawn for i in instances])
    assert 1.7 < sides[192] / sides[96] < 2.3


def test_a_complete_set_is_not_drawn_again(small: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in small.rglob("*")}
    steps: list[int] = []
    scenes.write(small, images=70, test_images=10, progress=steps.append)
    assert {file: file.stat().st_mtime_ns for file in small.rglob("*")} == before
    assert sum(steps) == 80


def test_other_parameters_and_foreign_folders_are_refused(small: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchkitError, match="holds scenes with seed 0, not 3"):
        scenes.write(small, images=70, test_images=10, seed=3)
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(BenchkitError, match="holds no finished scenes"):
        scenes.write(tmp_path, images=1, test_images=1)
    assert (tmp_path / "mine.txt").read_text() == "keep"
    with pytest.raises(BenchkitError, match="not 0 and 5 of 96"):
        scenes.write(tmp_path / "new", images=0, test_images=5)


def test_a_missing_picture_is_an_error(tmp_path: Path) -> None:
    scenes.write(tmp_path / "set", images=4, test_images=1)
    (tmp_path / "set" / "train" / "000002.jpg").unlink()
    with pytest.raises(BenchkitError, match="3 of 4 train scenes"):
        scenes.write(tmp_path / "set", images=4, test_images=1)


def test_a_killed_writer_leaves_no_set(tmp_path: Path) -> None:
    target = tmp_path / "set"
    work = {"images": 2000, "test_images": 1}
    writer = multiprocessing.get_context("spawn").Process(
        target=scenes.write, args=(target,), kwargs=work
    )
    writer.start()
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".set.*.partial/set/train/*.jpg")):
        assert writer.is_alive() and time.monotonic() < deadline
        time.sleep(0.01)
    assert writer.pid is not None
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    assert not target.exists()
    messages: list[str] = []
    scenes.write(target, images=3, test_images=1, log=messages.append)
    assert len(messages) == 1 and messages[0].endswith("its writer was interrupted")
    assert len(list((target / "train").glob("*.jpg"))) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
