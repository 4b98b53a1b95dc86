import copy
import hashlib
import json

import numpy as np
import pytest

from splits.errors import InputError
from splits.sources import arrays, coco

# Categories out of order and with gaps; image 30 has only a crowd, 20 only a speck, 10 nothing.
TOY = {
    "categories": [{"id": 90, "name": "zebra"}, {"id": 3, "name": "car"}],
    "images": [
        {"id": 40, "file_name": "d.jpg"},
        {"id": 30, "file_name": "sub/c.jpg"},
        {"id": 20, "file_name": "b.jpg"},
        {"id": 10, "file_name": "a.jpg"},
    ],
    "annotations": [
        {"id": 1, "image_id": 40, "category_id": 3, "area": 9.0, "bbox": [0, 0, 3, 3]},
        {"id": 2, "image_id": 40, "category_id": 3, "area": 9.0, "bbox": [5, 5, 3, 3]},
        {"id": 3, "image_id": 40, "category_id": 90, "area": 9.0, "bbox": [0, 0, 3, 3]},
        {
            "id": 4,
            "image_id": 30,
            "category_id": 90,
            "area": 9.0,
            "bbox": [0, 0, 3, 3],
            "iscrowd": 1,
        },
        {"id": 5, "image_id": 20, "category_id": 3, "area": 0.5, "bbox": [0, 0, 0.5, 1]},
    ],
}


@pytest.fixture
def write(tmp_path):
    def save(content, name="train.json"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return save


def other(first_id=100):
    """The toy set with other image ids."""
    content = copy.deepcopy(TOY)
    for image in content["images"]:
        image["id"] += first_id
    for annotation in content["annotations"]:
        annotation["image_id"] += first_id
    return content


def test_one_file(write, capsys):
    path = write(TOY)
    source = coco.load(path)
    assert source.class_names == ("car", "zebra")
    assert source.image_ids.tolist() == ["40", "30", "20"]
    assert source.labels.tolist() == [[1, 1], [0, 1], [1, 0]]
    assert source.labels.dtype == np.int8
    assert source.paths.tolist() == ["d.jpg", "sub/c.jpg", "b.jpg"]
    assert source.part is None and source.features is None and source.roots == ()
    assert source.name == "coco"
    assert source.digests == {"train.json": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (dict(keep_empty="both"), ["40", "30", "20", "10"]),
        (dict(crowd=False), ["40", "20"]),
        (dict(min_size=True), ["40", "30"]),
        (dict(crowd=False, min_size=True), ["40"]),
    ],
)
def test_annotations_that_count(write, options, ids):
    assert coco.load(write(TOY), **options).image_ids.tolist() == ids


@pytest.mark.parametrize(("value", "counts"), [("0", True), (None, True), ("1", False)])
def test_crowd_flags_that_are_not_numbers(write, value, counts):
    content = changed("annotations", 0, iscrowd=value)
    image, category = (content["annotations"][0][key] for key in ("image_id", "category_id"))
    content["annotations"] = content["annotations"][:1]
    content["annotations"].append({"id": 99, "image_id": 20, "category_id": category})
    ids = coco.load(write(content), crowd=False).image_ids.tolist()
    assert (str(image) in ids) is counts


def test_two_parts(write, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    source = coco.load(
        write(TOY),
        images=tmp_path / "one",
        test=write(other(), "test.json"),
        test_images=tmp_path / "two",
        keep_empty="test",
        name="mine",
    )
    assert source.part.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert source.image_ids.tolist()[3:] == ["140", "130", "120", "110"]
    assert source.roots == (tmp_path / "one", tmp_path / "two")
    assert source.name == "mine"
    assert sorted(source.digests) == ["test.json", "train.json"]


def test_two_files_of_one_name_have_two_digests(write, tmp_path):
    (tmp_path / "val").mkdir()
    source = coco.load(write(TOY), test=write(other(), "val/train.json"))
    assert sorted(source.digests) == ["test/train.json", "train/train.json"]


def changed(key, position, **fields):
    content = copy.deepcopy(TOY)
    content[key][position].update(fields)
    return content


def without(key, position, field):
    content = copy.deepcopy(TOY)
    del content[key][position][field]
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"not JSON, or it is truncated, from line 1, column 1 on\.$"),
        (json.dumps(TOY)[:200], r"it is truncated, from line 1, column \d+ on\.$"),
        ("[" * 100_000, "this JSON is nested too deeply"),
        ("1" * 5000, r"has a number of more than 4,300 digits\.$"),
        ("[1, 2]", "not a COCO annotation file, because it has no list 'images'"),
        ({"images": [], "annotations": {}}, "it has no list 'annotations'"),
        ({"images": [], "annotations": []}, "it has no list 'categories'"),
        ({**TOY, "categories": []}, "'categories' is empty"),
        ({**TOY, "images": [3]}, r"images\[0\] is not an object with a whole number as 'id'"),
        (changed("images", 1, id="x"), r"images\[1\] is not an object with a whole"),
        (without("annotations", 2, "id"), r"annotations\[2\] is not an object with a whole"),
        (changed("categories", 0, id=True), r"categories\[0\] is not an object"),
        (without("categories", 1, "name"), "category 3 has no 'name'"),
        (changed("categories", 1, name="zebra"), "category name 'zebra' occurs twice"),
        (changed("categories", 1, id=90), "category id 90 occurs twice, at positions 0 and 1"),
        (changed("images", 2, id=40), "image id 40 occurs twice, at positions 0 and 2"),
        (without("images", 2, "file_name"), "image 20 has no 'file_name'"),
        (changed("images", 2, file_name="../b.jpg"), r"image 20 is outside .* '\.\./b\.jpg'"),
        (changed("images", 2, file_name="/b.jpg"), "image 20 is outside its folder"),
        (changed("annotations", 1, image_id=7), "annotation 2 has the image_id 7, which is not in"),
        (changed("annotations", 1, category_id=4), "annotation 2 has the category_id 4, which is"),
        (without("annotations", 1, "image_id"), "annotation 2 has no .image_id."),
        (changed("annotations", 1, image_id=[1]), r"annotation 2 has the image_id \[1\]"),
        ({**TOY, "annotations": []}, "no image has a label"),
        ({**TOY, "images": [], "annotations": []}, "no image has a label"),
    ],
)
def test_bad_files(write, content, message):
    with pytest.raises(InputError, match=message) as error:
        coco.load(write(content))
    assert "train.json" in str(error.value)


def test_binary_files(tmp_path):
    (tmp_path / "train.json").write_bytes(b"\xff\xfe\xff\x81")
    with pytest.raises(InputError, match=r"train\.json:1: this is not UTF-8 text"):
        coco.load(tmp_path / "train.json")


@pytest.mark.parametrize(
    ("area", "box", "counts"),
    [(1, [1, 1], True), (0, [1, 1], False), (1, [0.9, 1], False), (1, [1, 0.9], False)],
)
def test_the_size_limit(write, area, box, counts):
    content = changed("annotations", 4, area=area, bbox=[0, 0, *box])
    assert ("20" in coco.load(write(content), min_size=True).image_ids) == counts


@pytest.mark.parametrize(
    "content",
    [without("annotations", 1, "bbox"), changed("annotations", 1, bbox=[1, 2], area=1)],
)
def test_only_the_size_limit_needs_sizes(write, content):
    assert len(coco.load(write(content)).labels) == 3
    with pytest.raises(InputError, match=r"annotation 2 of image 40 has no 'area' number or no"):
        coco.load(write(content), min_size=True)


def test_missing_files_and_options_that_cannot_be_combined(write, tmp_path):
    with pytest.raises(InputError, match=r"none.json: there is no such file"):
        coco.load(tmp_path / "none.json")
    with pytest.raises(InputError, match="no such folder of images"):
        coco.load(write(TOY), images=tmp_path / "none")
    with pytest.raises(InputError, match="test_images can only be used with test=FILE"):
        coco.load(write(TOY), test_images=tmp_path)
    with pytest.raises(InputError, match="give both images and test_images, or neither"):
        coco.load(write(TOY), images=tmp_path, test=write(other(), "test.json"))
    with pytest.raises(InputError, match="there is no test part; name its annotations"):
        coco.load(write(TOY), keep_empty="test")
    with pytest.raises(InputError, match="can only be used with an annotation file"):
        coco.load(tmp_path, test=write(TOY))


def test_parts_must_have_the_same_classes_and_different_images(write):
    train = write(TOY)
    with pytest.raises(InputError, match=r"test.json: image id 40 is also in .*train.json"):
        coco.load(train, test=write(TOY, "test.json"))
    renamed = other()
    renamed["categories"][0]["name"] = "horse"
    with pytest.raises(InputError, match=r"class 1 \(by category id\) is 'horse', but 'zebra' in"):
        coco.load(train, test=write(renamed, "test.json"))
    more = other()
    more["categories"].append({"id": 91, "name": "horse"})
    with pytest.raises(InputError, match="there are 3 categories, but 2 in"):
        coco.load(train, test=write(more, "test.json"))


@pytest.mark.parametrize("crowd", [True, False])
@pytest.mark.parametrize(
    ("name", "images", "shared"),
    [("COCO-MINI_instances_train2017", 80, 60), ("tiny_coco_instances_val2017", 6, 6)],
)
def test_real_files_agree_with_the_label_matrix(data, name, images, shared, crowd):
    source = coco.load(data(f"fixtures/{name}.json"), crowd=crowd)
    matrix = arrays.load(data("labels/coco2014_train.npz"))
    assert source.class_names == matrix.class_names
    assert len(source.labels) == images
    rows = {image: row for row, image in enumerate(matrix.image_ids)}
    both = [i for i, image in enumerate(source.image_ids) if image in rows]
    expected = matrix.labels[[rows[source.image_ids[i]] for i in both]]
    assert len(both) == shared
    assert (source.labels[both] == expected).all()


def test_real_test_images_without_annotations(data):
    train = data("fixtures/tiny_coco_instances_val2017.json")
    test = data("fixtures/tiny_coco_instances_train2017.json")
    assert np.bincount(coco.load(train, test=test).part).tolist() == [6, 30]
    source = coco.load(train, test=test, keep_empty="test", min_size=True)
    assert np.bincount(source.part).tolist() == [6, 32]
    published = arrays.load(data("labels/coco_lt.npz"))
    rows = {image: row for row, image in enumerate(published.image_ids)}
    test_rows = [rows[image] for image in source.image_ids[source.part == 1]]
    assert (source.labels[source.part == 1] == published.labels[test_rows]).all()
