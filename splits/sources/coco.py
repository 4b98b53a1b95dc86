"""Reads image-level labels from COCO instance annotations (`instances_*.json`)."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import operator
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pycocotools.coco import COCO

from splits.errors import InputError
from splits.source import Source, digest_file
from splits.sources._text import need_file, read_text
from splits.sources.registry import Option

FORM = "coco:ROOT"
HELP = (
    "COCO: ROOT holds annotations/instances_{train,val}YEAR.json and the folders trainYEAR and "
    "valYEAR; the test part is val. An annotation file in place of ROOT is a set without parts."
)
OPTIONS = {
    "year": Option(2017, "which edition", (2014, 2017), {"path": ("folder",)}),
    "keep_empty": Option(
        "none", "in which parts images without any label stay", ("none", "test", "both")
    ),
    "crowd": Option(True, "whether crowd annotations make a label positive"),
    "min_size": Option(False, "leave out annotations without an area or under 1 pixel wide"),
}

# The class names, the images kept and their labels, int8 [N, C].
_Part = tuple[list[str], list[dict[str, Any]], np.ndarray]


def load(
    train_json: Path,
    *,
    train_images: Path | None = None,
    test_json: Path | None = None,
    test_images: Path | None = None,
    keep_empty_train: bool = False,
    keep_empty_test: bool = False,
    crowd: bool = True,
    min_size: bool = False,
    name: str = "coco",
    year: int = 2017,
    keep_empty: str = "none",
) -> Source:
    """Read one COCO annotation file, one for training and one for testing, or COCO's own folder.

        y_ic = 1 if image i has an annotation of category c, else 0

    Classes stand in the order of their category ids, images in the order of the file.

    Args:
        train_json: annotations of the training images; or the folder of the official layout, which
            gives all four files and folders.
        train_images: their folder, or None where only labels are needed.
        test_json: annotations of the test images, with the same categories.
        test_images: their folder; needed exactly if `train_images` is given.
        keep_empty_train: keep training images without any label as all-negative rows.
        keep_empty_test: the same for test images; COCO-LT's test set keeps them.
        crowd: whether annotations marked `iscrowd` count.
        min_size: leave out annotations with an area of 0 or a box side under 1 pixel, as the
            published COCO-LT generator does.
        name: what to call the data set.
        year: the edition, 2014 or 2017; read only for the official layout.
        keep_empty: "test" is `keep_empty_test`, "both" is both of them.

    Returns:
        The source; image ids are COCO's numbers as text, paths its file names. `part` is None
        without a test file.

    Raises:
        InputError: no such file or folder, not JSON, JSON that is not COCO, an annotation of an
            unknown image or category, an image id that comes twice, test categories that differ.
    """
    if Path(train_json).is_dir():
        train_json, train_images, test_json, test_images = _official(Path(train_json), year)
    if keep_empty == "test" and test_json is None:
        raise InputError(f"{train_json}: keep_empty=test has no effect, for there is no test part.")
    keep_empty_train |= keep_empty == "both"
    keep_empty_test |= keep_empty in ("test", "both")
    files, folders = [Path(train_json)], [train_images]
    if test_json is not None:
        files.append(Path(test_json))
        folders.append(test_images)
    elif test_images is not None:
        raise InputError(f"{test_images}: test images need a file of test annotations as well.")
    roots = _roots(files, folders)
    keep_both = (keep_empty_train, keep_empty_test)
    with _no_collection():
        parts = [
            _read_part(file, _wanted(file, crowd, min_size), keep)
            for file, keep in zip(files, keep_both, strict=False)
        ]
    return _source(name, files, roots, parts)


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Without Python's search for cycles, of which JSON has none.

    Measured: millions of annotations make it search again and again, for half of the time.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def _source(name: str, files: list[Path], roots: tuple[Path, ...], parts: list[_Part]) -> Source:
    """The parts as one source, once they fit one another."""
    classes = parts[0][0]
    for file, part in zip(files, parts, strict=True):
        _same_classes(files[0], classes, file, part[0])
    if len(parts) == 2:
        _no_shared_ids(files, parts[0][1], parts[1][1])
    sizes = [len(part[1]) for part in parts]
    return Source(
        name=name,
        class_names=tuple(classes),
        image_ids=np.array([str(image["id"]) for part in parts for image in part[1]]),
        labels=np.concatenate([part[2] for part in parts]),
        part=np.repeat(np.arange(2, dtype=np.uint8), sizes) if len(parts) == 2 else None,
        paths=np.array([image["file_name"] for part in parts for image in part[1]]),
        roots=roots,
        features=None,
        digests=_digests(files),
        path=files[0],
    )


def _official(root: Path, year: int) -> tuple[Path, Path | None, Path, Path | None]:
    """Training and test annotations, each with its folder of images if both folders are there."""
    train, test = (
        root / "annotations" / f"instances_{part}{year}.json" for part in ("train", "val")
    )
    folders = root / f"train{year}", root / f"val{year}"
    if all(folder.is_dir() for folder in folders):
        return train, folders[0], test, folders[1]
    return train, None, test, None


def _roots(files: list[Path], folders: list[Path | None]) -> tuple[Path, ...]:
    roots = tuple(Path(folder) for folder in folders if folder is not None)
    if roots and len(roots) < len(folders):
        raise InputError(
            f"{roots[0]}: images were given for one of {files[0].name} and {files[1].name}; give "
            f"a folder for both, or for none."
        )
    for root in roots:
        if not root.is_dir():
            raise InputError(f"{root}: there is no such folder of images.")
    return roots


def _digests(files: list[Path]) -> dict[str, str]:
    names = [file.name for file in files]
    if len(set(names)) < len(names):
        names = [f"{part}/{name}" for part, name in zip(("train", "test"), names, strict=True)]
    return {name: digest_file(file) for name, file in zip(names, files, strict=True)}


def _same_classes(train: Path, expected: list[str], test: Path, found: list[str]) -> None:
    if len(found) != len(expected):
        raise InputError(
            f"{test}: there are {len(found)} categories, but {len(expected)} in {train}; both "
            f"need the same ones."
        )
    for position, (ours, theirs) in enumerate(zip(expected, found, strict=True)):
        if ours != theirs:
            raise InputError(
                f"{test}: class {position} (by category id) is {theirs!r}, but {ours!r} in "
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


def _read_part(file: Path, wanted: Callable[[dict[str, Any]], bool], keep_empty: bool) -> _Part:
    """The class names, the images kept and their labels, int8 [N, C]."""
    data = _parse(file)
    _check_categories(file, data["categories"])
    _check_images(file, data["images"])
    _check_annotations(file, data)
    index = COCO()
    index.dataset = {key: data[key] for key in ("images", "categories")}
    with contextlib.redirect_stdout(io.StringIO()):
        index.createIndex()
    category_ids = sorted(index.getCatIds())
    column = {category: position for position, category in enumerate(category_ids)}
    images = list(index.imgs.values())
    labels = np.zeros((len(images), len(column)), np.int8)
    row = {image["id"]: position for position, image in enumerate(images)}
    counted = [annotation for annotation in data["annotations"] if wanted(annotation)]
    rows = [row[annotation["image_id"]] for annotation in counted]
    labels[rows, [column[annotation["category_id"]] for annotation in counted]] = 1
    kept = np.flatnonzero(keep_empty | labels.any(axis=1))
    if not len(kept):
        raise InputError(f"{file}: no image has a label, so that nothing is left of the set.")
    names = [index.cats[category]["name"] for category in category_ids]
    return names, [images[row] for row in kept], labels[kept]


def _wanted(file: Path, crowd: bool, min_size: bool) -> Callable[[dict[str, Any]], bool]:
    """Whether an annotation counts."""

    def wanted(annotation: dict[str, Any]) -> bool:
        if not crowd and annotation.get("iscrowd") not in (0, None, "0"):  # some write it as text
            return False
        if not min_size:
            return True
        try:
            _, _, width, height = annotation["bbox"]
            return bool(annotation["area"] > 0 and width >= 1 and height >= 1)
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"{file}: annotation {annotation.get('id')} of image {annotation['image_id']} has "
                f"no 'area' number or no 'bbox' of four numbers, which the size limit needs."
            ) from None

    return wanted


# ----------------------------------------------------------------------------- checks


def _parse(file: Path) -> dict[str, Any]:
    need_file(file, "COCO instance annotations")
    text = read_text(file)
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{file}: this is not JSON, or it was cut off: {error.msg} at line {error.lineno}, "
            f"column {error.colno} (character {error.pos})."
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: this cannot be read as JSON text ({error}).") from None
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


def _all_have_ids(items: list[Any]) -> bool:
    """The check of the loop below it, without a step per item."""
    return set(map(type, items)) <= {dict} and _types(items, "id") <= {int}


def _types(items: list[dict[str, Any]], key: str) -> set[type]:
    return set(map(type, map(operator.methodcaller("get", key), items)))


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_once(file: Path, what: str, values: list[Any]) -> None:
    first: dict[Any, int] = {}
    for position, value in enumerate(values):
        if value in first:
            raise InputError(
                f"{file}: {what} {value!r} comes twice, at positions {first[value]} and "
                f"{position}; each must be there once."
            )
        first[value] = position


def _check_categories(file: Path, categories: list[dict[str, Any]]) -> None:
    for category in categories:
        name = category.get("name")
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"{file}: category {category['id']} has no 'name'.")
    _check_once(file, "category id", [category["id"] for category in categories])
    _check_once(file, "category name", [category["name"] for category in categories])
    if not categories:
        raise InputError(f"{file}: 'categories' is empty; at least one class is needed.")


def _check_images(file: Path, images: list[dict[str, Any]]) -> None:
    _check_once(file, "image id", [image["id"] for image in images])
    for image in images:
        name = image.get("file_name")
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"{file}: image {image['id']} has no 'file_name'.")
        if name[0] == "/" or (".." in name and ".." in PurePosixPath(name).parts):
            raise InputError(
                f"{file}: image {image['id']} lies outside its folder, at {name!r}; a file name "
                f"must be relative and without '..'."
            )


def _check_annotations(file: Path, data: dict[str, Any]) -> None:
    for key, what in (("image_id", "images"), ("category_id", "categories")):
        known = {item["id"] for item in data[what]}
        found = _types(data["annotations"], key)
        if found <= {int} and known.issuperset(a[key] for a in data["annotations"]):
            continue
        for annotation in data["annotations"]:
            value = annotation.get(key)
            if not _is_id(value) or value not in known:
                raise InputError(
                    f"{file}: annotation {annotation['id']} has the {key} {value!r}, which is not "
                    f"in {what!r}."
                )
