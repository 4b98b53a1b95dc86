"""Reads PASCAL VOC 2007 and 2012, and data sets with the same layout.

Files: `ImageSets/Main/<class>_<set>.txt` with lines `ID 1`, `ID 0` (all objects of the class are
marked difficult) or `ID -1`, or `Annotations/ID.xml`; images `JPEGImages/ID.jpg`.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from splits.errors import InputError
from splits.source import Source
from splits.sources._matrix import name_array
from splits.sources._text import (
    check_unique,
    digests,
    find_file,
    is_file,
    line_error,
    no_overlap,
    numbered_lines,
    part_codes,
)
from splits.sources._xml import Element, read_xml
from splits.sources.registry import Option

FORM = "voc:ROOT"
HELP = "PASCAL VOC 2007 or 2012: ROOT holds ImageSets, Annotations and JPEGImages."
OPTIONS = {
    "labels": Option("lists", "the files of the labels", ("lists", "xml")),
    "train": Option("trainval", "the training images", ("train", "val", "trainval")),
    "test": Option("test", "the test images", ("test", "val", "none")),
    "test_root": Option(
        "",
        "the folder of the test images, if not ROOT (VOC-LT: VOC2007)",
        only={"test": ("test", "val")},
        is_path=True,
    ),
    "difficult": Option(
        "positive",
        "the label of a class that has only difficult objects (VOC-LT: positive)",
        ("positive", "negative", "unknown"),
    ),
}

_HINT = {"test": " (if there is none, use test=none, test=val, or test_root=FOLDER)"}
_SETS = ("train", "val", "trainval", "test")
_CODES = {"positive": 1, "negative": 0, "unknown": -1}
_CLASSES = [
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
]

# One part: the ids with their line in `listed`, that file, labels [n, C], the files read.
_Part = tuple[dict[str, int], Path, np.ndarray, list[Path]]


def load(
    path: Path,
    *,
    labels: str = "lists",
    train: str = "trainval",
    test: str = "test",
    test_root: str = "",
    difficult: str = "positive",
    name: str = "",
) -> Source:
    """Read a VOC folder, or one for training and one for testing.

    Args:
        path: a folder such as VOCdevkit/VOC2012.
        labels: "lists" (ImageSets/Main) or "xml" (Annotations).
        train: the image set of the training part.
        test: the image set of the test part, or "none".
        test_root: the folder of the test part; `path` if empty.
        difficult: the label of a class that has only difficult objects in an image.
        name: the name of the data set; by default "voc2007" or "voc2012" if this is the name of
            the folder of the training part, in upper or lower case, else "voc".

    Returns:
        The source; classes in alphabetical order, images in the order of the lists.

    Raises:
        InputError: a file that is missing or malformed, lists that name different images, classes
            that differ between the parts.
    """
    roots = [Path(path)] + ([Path(test_root or path)] if test != "none" else [])
    image_sets = [train, test][: len(roots)]
    classes = _classes(roots[0], labels)
    if len(roots) == 2 and (test_classes := _classes(roots[1], labels)) != classes:
        difference = sorted(set(test_classes) ^ set(classes))[0]
        raise InputError(
            f"{roots[1]}: class {difference!r} is in only one of this folder and {roots[0]}; both "
            f"need the same classes."
        )
    read = _from_lists if labels == "lists" else _from_xml
    code = _CODES[difficult]
    sets = [
        read(root, image_set, classes, code)
        for root, image_set in zip(roots, image_sets, strict=True)
    ]
    if len(sets) == 2:
        no_overlap(sets[0][1], sets[0][0], sets[1][1], sets[1][0])
    ids = [image for part in sets for image in part[0]]
    folders = all((root / "JPEGImages").is_dir() for root in roots)
    return Source(
        name=name or _name(roots[0]),
        class_names=tuple(classes),
        image_ids=name_array(roots[0], "image", ids),
        labels=np.concatenate([part[2] for part in sets]),
        part=part_codes([len(part[0]) for part in sets]),
        paths=np.array([f"JPEGImages/{image}.jpg" for image in ids], np.str_),
        roots=tuple(roots) if folders else (),
        features=None,
        digests=_digests(roots, sets),
        path=roots[0],
    )


def _name(root: Path) -> str:
    folder = root.absolute().name.lower()
    return folder if re.fullmatch(r"voc20[0-9]{2}", folder) else "voc"


def _digests(roots: list[Path], sets: list[_Part]) -> dict[str, str]:
    all_digests: dict[str, str] = {}
    for root, part in zip(roots, sets, strict=True):
        prefix = f"{root.name}/" if len(set(roots)) > 1 else ""
        all_digests |= {prefix + name: digest for name, digest in digests(root, part[3]).items()}
    return all_digests


def _classes(root: Path, labels: str) -> list[str]:
    """The classes with a list of any image set; for XML without lists, the twenty of VOC."""
    folder = root / "ImageSets" / "Main"
    classes = set()
    for file in folder.glob("*_*.txt"):
        name, _, image_set = file.stem.rpartition("_")
        # Archives that were packed on macOS have an additional `._` file for each file.
        if image_set in _SETS and not name.startswith("._"):
            classes.add(name)
    if not classes and labels == "xml" and root.is_dir():
        return _CLASSES
    if not classes:
        raise InputError(
            f"{folder}: there is no list <class>_<set>.txt here; name a folder such as "
            f"VOCdevkit/VOC2012, or use labels=xml."
        )
    return sorted(classes)


def _from_lists(root: Path, image_set: str, classes: list[str], difficult: int) -> _Part:
    files = [
        find_file(
            root,
            f"ImageSets/Main/{name}_{image_set}.txt",
            content=f"the labels of the set {image_set!r}{_HINT.get(image_set, '')}",
        )
        for name in classes
    ]
    codes = {"1": 1, "0": difficult, "-1": 0}
    ids, first = _read_list(files[0], codes)
    columns = [first]
    for file in files[1:]:
        others, column = _read_list(file, codes)
        if list(others) != list(ids):
            raise _difference(files[0], ids, file, others)
        columns.append(column)
    return ids, files[0], np.array(columns, np.int8).T, files


def _read_list(file: Path, codes: dict[str, int]) -> tuple[dict[str, int], list[int]]:
    """Image id -> line, and the labels."""
    ids: dict[str, int] = {}
    labels = []
    for line, text in numbered_lines(file):
        fields = text.split()
        if len(fields) != 2 or fields[1] not in codes:
            raise line_error(
                file, line, f"a line must be an image id and 1, 0 (difficult) or -1, not {text!r}."
            )
        check_unique(file, line, "image", fields[0], ids)
        labels.append(codes[fields[1]])
    if not ids:
        raise InputError(f"{file}: the file is empty; it must have a line for each image.")
    return ids, labels


def _difference(
    first: Path, first_ids: dict[str, int], second: Path, second_ids: dict[str, int]
) -> InputError:
    """The error for two lists of different images."""
    for expected, image in zip(first_ids, second_ids, strict=False):
        if expected != image:
            return line_error(
                second,
                second_ids[image],
                f"the image is {image!r}, but {expected!r} in {first}, line "
                f"{first_ids[expected]}; all classes must list the same images in the same order.",
            )
    lists = [(first, first_ids), (second, second_ids)]
    short, long = sorted(lists, key=lambda pair: len(pair[1]))
    return line_error(
        short[0],
        max(short[1].values()),
        f"the file ends after {len(short[1])} images, {long[0]} has {len(long[1])}; all classes "
        f"must list the same images.",
    )


def _from_xml(root: Path, image_set: str, classes: list[str], difficult: int) -> _Part:
    image_list = find_file(
        root,
        f"ImageSets/Main/{image_set}.txt",
        f"ImageSets/Main/{classes[0]}_{image_set}.txt",
        content=f"the images of the set {image_set!r}{_HINT.get(image_set, '')}",
    )
    ids: dict[str, int] = {}
    for line, text in numbered_lines(image_list):
        check_unique(image_list, line, "image", text.split()[0], ids)
    if not ids:
        raise InputError(f"{image_list}: the file is empty; it must have a line for each image.")
    column = {name: position for position, name in enumerate(classes)}
    labels = np.zeros((len(ids), len(classes)), np.int8)
    files = [image_list]
    for row, (image, line) in enumerate(ids.items()):
        file = root / "Annotations" / f"{image}.xml"
        if not is_file(file):
            raise line_error(image_list, line, f"image {image!r} has no annotation file {file}.")
        files.append(file)
        _read_annotation(file, column, labels[row], difficult)
    return ids, image_list, labels, files


def _read_annotation(
    file: Path, column: dict[str, int], labels: np.ndarray, difficult: int
) -> None:
    """Set the labels [C] of one image; a class is difficult if all its objects are."""
    root = read_xml(file)
    if root.tag != "annotation":
        raise line_error(file, root.line, f"the file is a <{root.tag}>, not an <annotation>.")
    difficult_columns: list[int] = []
    other_columns: list[int] = []
    for element in root.find("object"):
        name = _child(file, element, "name")
        if name not in column:
            raise line_error(
                file, element.line, f"{name!r} is not one of the {len(column)} classes."
            )
        flag = _child(file, element, "difficult") if element.find("difficult") else "0"
        if flag not in ("0", "1"):
            raise line_error(file, element.line, f"<difficult> must be 0 or 1, not {flag!r}.")
        (difficult_columns if flag == "1" else other_columns).append(column[name])
    labels[difficult_columns] = difficult
    labels[other_columns] = 1


def _child(file: Path, element: Element, tag: str) -> str:
    children = element.find(tag)
    if len(children) != 1 or not children[0].text.strip():
        raise line_error(file, element.line, f"this <{element.tag}> needs one <{tag}> with a text.")
    return children[0].text.strip()
