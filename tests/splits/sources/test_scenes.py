import json

import pytest

from splits.errors import InputError
from splits.sources import scenes


@pytest.fixture
def draw():
    """A tool that writes annotations of as many images as it is asked for, and no images."""

    def draw_scenes(folder, *, images, test_images):
        for part, first, count in (("train", 1, images), ("test", 100, test_images)):
            (folder / part).mkdir(parents=True)
            document = {
                "categories": [{"id": 3, "name": "sun"}],
                "images": [{"id": first + i, "file_name": f"{i}.jpg"} for i in range(count)],
                "annotations": [
                    {"id": i, "image_id": first + i, "category_id": 3} for i in range(count)
                ],
            }
            path = folder / "annotations" / f"instances_{part}.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(document))

    return draw_scenes


def test_scenes_are_drawn_and_read(draw, tmp_path):
    folder = tmp_path / "scenes"
    source = scenes.load(folder, draw_scenes=draw, train=3, test=2)
    assert source.name == "scenes"
    assert source.part.tolist() == [0, 0, 0, 1, 1]
    assert source.roots == (folder / "train", folder / "test")
    assert sorted(source.digests) == ["instances_test.json", "instances_train.json"]


def test_nothing_drawn_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"there is no such folder of images"):
        scenes.load(tmp_path, draw_scenes=lambda folder, **numbers: None)
