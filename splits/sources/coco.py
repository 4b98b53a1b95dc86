"""Reads image-level labels from COCO instance annotations (`instances_*.json`)."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pycocotools.coco import COCO

from splits import reasons
from splits.errors import InputError
from splits.source import Source, digest_file
from splits.sources._matrix import name_array, zeros
from splits.sources._text import need_file, read_text
from splits.sources.registry import Option, Value

FORM = "coco:ROOT|FILE.json"
HELP = (
    "COCO: ROOT holds annotations/instances_{train,val}YEAR.json and the folders trainYEAR and "
    "valYEAR, and val is the test part; or FILE.json, any annotation file in COCO's format."
)
_MAX_SHOWN = 40  # characters of a value in a message
_FILE: dict[str, tuple[Value, ...]] = {"path": ("file",)}
OPTIONS = {
    "year": Option(2017, "which edition", (2014, 2017), {"path": ("folder",)}),
    "keep_empty": Option(
        "none", "in which parts images without any label stay", ("none", "test", "both")
    ),
    "crowd": Option(True, "whether crowd annotations make a label positive"),
    "min_size": Option(
        False,
        "leave out annotations without an area or under 1 pixel wide",
        record={"folder": "always", "file": "changed"},
    ),
    "images": Option("", "the folder of the images", only=_FILE, is_path=True, record="never"),
    "test": Option(
        "", "the annotation file of the test part", only=_FILE, is_path=True, record="never"
    ),
    "test_images": Option(
        "", "the folder of the test images", only=_FILE, is_path=True, record="never"
    ),
}


class _RepeatedKeyError(Exception):
    """A JSON object has a key twice; the message is the key."""


# The class names, the images kept and their labels, int8 [N, C].
_Part = tuple[list[str], list[dict[str, Any]], np.ndarray]


def default_backbone(options: Mapping[str, Any]) -> str:
    """The backbone if none is named: a ResNet-50 where the options name a folder of images."""
    return "resnet50" if options["images"] else "none"


def check(options: Mapping[str, Any], path: str) -> None:
    """Check that the options of an annotation file can be combined.

    Args:
        options: name -> value.
        path: the type of PATH, "file" or "folder"; all options of a folder can be combined.

    Raises:
        InputError: options of a test part without its annotations, or a folder of images for one
            of two parts.
    """
    if path != "file":
        return
    if not options["test"]:
        if options["keep_empty"] == "test":
            raise InputError(
                "keep_empty=test has no effect, because there is no test part; name its "
                "annotations with test=FILE.json."
            )
        if options["test_images"]:
            raise InputError(
                f"{options['test_images']}: test_images can only be used with test=FILE.json."
            )
    elif bool(options["images"]) != bool(options["test_images"]):
        raise InputError(
            "A folder of images is named for one of the two parts; give both images and "
            "test_images, or neither."
        )


def load(
    path: Path,
    *,
    year: int = 2017,
    keep_empty: str = "none",
    crowd: bool = True,
    min_size: bool = False,
    images: Path | str = "",
    test: Path | str = "",
    test_images: Path | str = "",
    name: str = "coco",
) -> Source:
    """Read COCO's own folder, or one annotation file for training and one for testing.

        y_ic = 1 if image i has an annotation of category c, else 0

    Classes are in the order of their category ids, images in the order of the file.

    Args:
        path: the folder of the official layout, or the annotation file of the training images.
        year: the edition, 2014 or 2017; only for a folder.
        keep_empty: the parts in which images without any label stay, as all-negative rows: "none",
            "test" (as in COCO-LT) or "both".
        crowd: whether annotations marked `iscrowd` count.
        min_size: leave out annotations with an area of 0 or a box side under 1 pixel, as the
            published COCO-LT generator does.
        images: the folder of the training images, or "" if only labels are needed; this and the
            next two only for a file.
        test: the annotation file of the test images, with the same categories, or "".
        test_images: their folder; needed exactly if there are `images` and `test`.
        name: the name of the data set.

    Returns:
        The source; image ids are COCO's numbers as text, paths its file names. `part` is None
        without test annotations.

    Raises:
        InputError: no such file or folder, not JSON, JSON that is not COCO, an annotation of an
            unknown image or category, a repeated image id, test categories that differ, options
            that cannot be combined.
    """
    files, folders = _inputs(Path(path), year, keep_empty, images, test, test_images)
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: there is no such folder of images.")
    keep = (keep_empty == "both", keep_empty in ("test", "both"))
    with _no_collection():
        parts = [
            _read_part(file, _counts(file, crowd, min_size), keep_part)
            for file, keep_part in zip(files, keep, strict=False)
        ]
    return _source(name, files, folders, parts)


def _inputs(
    path: Path,
    year: int,
    keep_empty: str,
    images: Path | str,
    test: Path | str,
    test_images: Path | str,
) -> tuple[list[Path], tuple[Path, ...]]:
    """The annotation files, and the folders of images if there are any."""
    if not path.is_dir():
        options = {
            "keep_empty": keep_empty,
            "images": images,
            "test": test,
            "test_images": test_images,
        }
        check(options, "file")
        files = [path, *([Path(test)] if test else [])]
        return files, tuple(Path(folder) for folder in (images, test_images) if folder)
    if images or test or test_images:
        raise InputError(
            f"{path}: images, test and test_images can only be used with an annotation file."
        )
    files = [path / "annotations" / f"instances_{part}{year}.json" for part in ("train", "val")]
    folders = (path / f"train{year}", path / f"val{year}")
    return files, folders if all(folder.is_dir() for folder in folders) else ()


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Switch off the garbage collector, because JSON has no reference cycles.

    Measured: with millions of annotations its searches take half of the reading time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _source(name: str, files: list[Path], roots: tuple[Path, ...], parts: list[_Part]) -> Source:
    """Combine the parts, after checking that they fit."""
    classes = parts[0][0]
    for file, part in zip(files, parts, strict=True):
        _same_classes(files[0], classes, file, part[0])
    if len(parts) == 2:
        _no_shared_ids(files, parts[0][1], parts[1][1])
    sizes = [len(part[1]) for part in parts]
    return Source(
        name=name,
        class_names=tuple(classes),
        image_ids=name_array(
            files[0], "image id", [str(image["id"]) for part in parts for image in part[1]]
        ),
        labels=np.concatenate([part[2] for part in parts]),
        part=np.repeat(np.arange(2, dtype=np.uint8), sizes) if len(parts) == 2 else None,
        paths=name_array(
            files[0], "file name", [image["file_name"] for part in parts for image in part[1]]
        ),
        roots=roots,
        features=None,
        digests=_digests(files),
        path=files[0],
    )


def _digests(files: list[Path]) -> dict[str, str]:
    names = [file.name for file in files]
    if len(set(names)) < len(names):
        names = [f"{part}/{name}" for part, name in zip(("train", "test"), names, strict=True)]
    return {name: digest_file(file) for name, file in zip(names, files, strict=True)}


def _same_classes(
    train: Path, train_classes: list[str], test: Path, test_classes: list[str]
) -> None:
    if len(test_classes) != len(train_classes):
        raise InputError(
            f"{test}: there are {len(test_classes)} categories, but {len(train_classes)} in "
            f"{train}; both need the same ones."
        )
    for position, (in_train, in_test) in enumerate(zip(train_classes, test_classes, strict=True)):
        if in_train != in_test:
            raise InputError(
                f"{test}: class {position} (by category id) is {in_test!r}, but {in_train!r} in "
                f"{train}; both need the same categories in the same order."
            )


def _no_shared_ids(
    files: list[Path], train: list[dict[str, Any]], test: list[dict[str, Any]]
) -> None:
    ids = {image["id"] for image in train}
    for image in test:
        if image["id"] in ids:
            raise InputError(
                f"{files[1]}: image id {image['id']} is also in {files[0]}; an image cannot be in "
                f"both training and test, so give one of them another id."
            )


def _read_part(file: Path, counts: Callable[[dict[str, Any]], bool], keep_empty: bool) -> _Part:
    """Read one annotation file.

    Args:
        file: the file.
        counts: whether an annotation counts.
        keep_empty: whether images without any label stay.
    """
    data = _parse(file)
    _check_categories(file, data["categories"])
    _check_images(file, data["images"])
    _check_annotations(file, data)
    index = COCO()  # pycocotools indexes images and categories by id
    index.dataset = {key: data[key] for key in ("images", "categories")}
    with contextlib.redirect_stdout(io.StringIO()):
        index.createIndex()
    category_ids = sorted(index.getCatIds())
    column = {category: position for position, category in enumerate(category_ids)}
    images = list(index.imgs.values())
    labels = zeros(file, len(images), len(column), len(data["annotations"]))
    row = {image["id"]: position for position, image in enumerate(images)}
    counted = [annotation for annotation in data["annotations"] if counts(annotation)]
    rows = [row[annotation["image_id"]] for annotation in counted]
    labels[rows, [column[annotation["category_id"]] for annotation in counted]] = 1
    kept = np.flatnonzero(keep_empty | labels.any(axis=1))
    if not len(kept):
        raise InputError(f"{file}: no image has a label, so the data set is empty.")
    names = [index.cats[category]["name"] for category in category_ids]
    return names, [images[row] for row in kept], labels[kept]


def _counts(file: Path, crowd: bool, min_size: bool) -> Callable[[dict[str, Any]], bool]:
    """A function that decides whether an annotation counts."""

    def counts(annotation: dict[str, Any]) -> bool:
        if not crowd and annotation.get("iscrowd") not in (0, None, "0"):  # some files use text
            return False
        if not min_size:
            return True
        try:
            _, _, width, height = annotation["bbox"]
            return bool(annotation["area"] > 0 and width >= 1 and height >= 1)
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"{file}: annotation {annotation.get('id')} of image {annotation['image_id']} has "
                f"no 'area' number or no 'bbox' of four numbers, which min_size needs."
            ) from None

    return counts


# ----------------------------------------------------------------------------- checks


def _parse(file: Path) -> dict[str, Any]:
    need_file(file, "COCO instance annotations")
    text = read_text(file)
    try:
        data = json.loads(text, object_pairs_hook=_unique)
    except _RepeatedKeyError as error:
        raise InputError(f"{file}: the key {error} occurs twice in one object.") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: {reasons.of_json(error)}.") from None
    for key in ("images", "annotations", "categories"):
        if not isinstance(data, dict) or not isinstance(data.get(key), list):
            raise InputError(
                f"{file}: this is not a COCO annotation file, because it has no list {key!r}."
            )
        if _all_have_ids(data[key]):
            continue
        for position, item in enumerate(data[key]):
            if not isinstance(item, dict) or not _is_id(item.get("id")):
                raise InputError(
                    f"{file}: {key}[{position}] is not an object with a whole number as 'id'."
                )
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; of a key that occurs twice, Python would keep the last value."""
    value = dict(pairs)
    if len(value) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        repeated = next(key for key, count in counts.items() if count > 1)
        raise _RepeatedKeyError(repr(repeated[:_MAX_SHOWN]))
    return value


def _all_have_ids(items: list[Any]) -> bool:
    """A fast form of the loop in `_parse`, without a step per item."""
    return set(map(type, items)) <= {dict} and _types(items, "id") <= {int}


def _types(items: list[dict[str, Any]], key: str) -> set[type]:
    return set(map(type, map(operator.methodcaller("get", key), items)))


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_unique(file: Path, noun: str, values: list[Any]) -> None:
    positions: dict[Any, int] = {}
    for position, value in enumerate(values):
        if value in positions:
            raise InputError(
                f"{file}: {noun} {value!r} occurs twice, at positions {positions[value]} and "
                f"{position}; it must be unique."
            )
        positions[value] = position


def _check_categories(file: Path, categories: list[dict[str, Any]]) -> None:
    for category in categories:
        name = category.get("name")
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"{file}: category {category['id']} has no 'name'.")
    _check_unique(file, "category id", [category["id"] for category in categories])
    _check_unique(file, "category name", [category["name"] for category in categories])
    if not categories:
        raise InputError(f"{file}: 'categories' is empty; at least one class is needed.")


def _check_images(file: Path, images: list[dict[str, Any]]) -> None:
    _check_unique(file, "image id", [image["id"] for image in images])
    for image in images:
        name = image.get("file_name")
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"{file}: image {image['id']} has no 'file_name'.")
        if name[0] == "/" or (".." in name and ".." in PurePosixPath(name).parts):
            raise InputError(
                f"{file}: image {image['id']} is outside its folder, at {name!r}; a file name "
                f"must be relative and without '..'."
            )


def _check_annotations(file: Path, data: dict[str, Any]) -> None:
    for key, items in (("image_id", "images"), ("category_id", "categories")):
        known = {item["id"] for item in data[items]}
        types = _types(data["annotations"], key)
        if types <= {int} and known.issuperset(a[key] for a in data["annotations"]):
            continue
        for annotation in data["annotations"]:
            value = annotation.get(key)
            if value is None:
                raise InputError(f"{file}: annotation {annotation['id']} has no {key!r}.")
            if not _is_id(value) or value not in known:
                shown = json.dumps(value)[:_MAX_SHOWN]
                raise InputError(
                    f"{file}: annotation {annotation['id']} has the {key} {shown}, which is not in "
                    f"{items!r}."
                )
