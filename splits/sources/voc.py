"""Reads PASCAL VOC 2007 and 2012, and sets laid out like them.

Files: `ImageSets/Main/<class>_<set>.txt` with lines `ID 1`, `ID 0` (the class is there only in
objects marked difficult) or `ID -1`, or `Annotations/ID.xml`; images `JPEGImages/ID.jpg`.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from splits.errors import InputError
from splits.source import Source
from splits.sources._text import digests, existing, no_overlap, numbered, once, parts, wrong
from splits.sources._xml import Element, read_xml
from splits.sources.registry import Option

FORM = "voc:ROOT"
HELP = "PASCAL VOC 2007 or 2012: ROOT holds ImageSets, Annotations and JPEGImages."
OPTIONS = {
    "labels": Option("lists", "where labels come from", ("lists", "xml")),
    "train": Option("trainval", "the training images", ("train", "val", "trainval")),
    "test": Option("test", "the test images", ("test", "val", "none")),
    "test_root": Option(
        "",
        "the folder of the test images, if not ROOT (VOC-LT: VOC2007)",
        only={"test": ("test", "val")},
        record="name",
    ),
    "difficult": Option(
        "positive",
        "what a class is that has only difficult objects (VOC-LT: positive)",
        ("positive", "negative", "unknown"),
    ),
}

_HINT = {"test": " (where there is none: test=none, test=val, or test_root=FOLDER)"}
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
        test_root: the folder of the test part; `path` where empty.
        difficult: the label of a class that has only difficult objects in an image.
        name: what to call the data set; by default "voc2007" or "voc2012" where the folder of the
            training part is called so, in capitals or not, else "voc".

    Returns:
        The source; classes in alphabetical order, images in the order of the lists.

    Raises:
        InputError: a file that is missing or malformed, lists that name different images, classes
            that differ between the parts.
    """
    roots = [Path(path)] + ([Path(test_root or path)] if test != "none" else [])
    wanted = [train, test][: len(roots)]
    classes = _classes(roots[0], labels)
    if len(roots) == 2 and (found := _classes(roots[1], labels)) != classes:
        odd = sorted(set(found) ^ set(classes))[0]
        raise InputError(
            f"{roots[1]}: class {odd!r} is in only one of this folder and {roots[0]}; both need "
            f"the same classes."
        )
    read = _from_lists if labels == "lists" else _from_xml
    code = _CODES[difficult]
    sets = [read(root, which, classes, code) for root, which in zip(roots, wanted, strict=True)]
    if len(sets) == 2:
        no_overlap(sets[0][1], sets[0][0], sets[1][1], sets[1][0])
    ids = [image for part in sets for image in part[0]]
    folders = all((root / "JPEGImages").is_dir() for root in roots)
    return Source(
        name=name or _name(roots[0]),
        class_names=tuple(classes),
        image_ids=np.array(ids, np.str_),
        labels=np.concatenate([part[2] for part in sets]),
        part=parts([len(part[0]) for part in sets]),
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
    found: dict[str, str] = {}
    for root, part in zip(roots, sets, strict=True):
        prefix = f"{root.name}/" if len(set(roots)) > 1 else ""
        found |= {prefix + name: digest for name, digest in digests(root, part[3]).items()}
    return found


def _classes(root: Path, labels: str) -> list[str]:
    """The classes that have a list of any set; without lists, and for XML only, VOC's twenty."""
    folder = root / "ImageSets" / "Main"
    found = set()
    for file in folder.glob("*_*.txt"):
        name, _, which = file.stem.rpartition("_")
        # macOS leaves a `._` file beside each file of an archive that it packs.
        if which in _SETS and not name.startswith("._"):
            found.add(name)
    if not found and labels == "xml" and root.is_dir():
        return _CLASSES
    if not found:
        raise InputError(
            f"{folder}: there is no list <class>_<set>.txt here; give a folder such as "
            f"VOCdevkit/VOC2012, or labels=xml."
        )
    return sorted(found)


def _from_lists(root: Path, which: str, classes: list[str], difficult: int) -> _Part:
    files = [
        existing(
            root,
            f"ImageSets/Main/{name}_{which}.txt",
            what=f"the labels of the set {which!r}{_HINT.get(which, '')}",
        )
        for name in classes
    ]
    codes = {"1": 1, "0": difficult, "-1": 0}
    ids, first = _read_list(files[0], codes)
    columns = [first]
    for file in files[1:]:
        others, column = _read_list(file, codes)
        if list(others) != list(ids):
            _say_difference(files[0], ids, file, others)
        columns.append(column)
    return ids, files[0], np.array(columns, np.int8).T, files


def _read_list(file: Path, codes: dict[str, int]) -> tuple[dict[str, int], list[int]]:
    """Image id -> line, and the labels."""
    ids: dict[str, int] = {}
    labels = []
    for line, text in numbered(file):
        words = text.split()
        if len(words) != 2 or words[1] not in codes:
            raise wrong(
                file, line, f"a line is an image id and 1, 0 (difficult) or -1, not {text!r}."
            )
        once(file, line, "image", words[0], ids)
        labels.append(codes[words[1]])
    if not ids:
        raise InputError(f"{file}: the file is empty; it must have a line for each image.")
    return ids, labels


def _say_difference(one: Path, ours: dict[str, int], other: Path, theirs: dict[str, int]) -> None:
    for mine, image in zip(ours, theirs, strict=False):
        if mine != image:
            raise wrong(
                other,
                theirs[image],
                f"image {image!r} stands where {one}, line {ours[mine]}, has {mine!r}; all "
                f"classes must list the same images in the same order.",
            )
    short, long = sorted([(one, ours), (other, theirs)], key=lambda pair: len(pair[1]))
    raise wrong(
        short[0],
        max(short[1].values()),
        f"the file ends after {len(short[1])} images, {long[0]} has {len(long[1])}; all classes "
        f"must list the same images.",
    )


def _from_xml(root: Path, which: str, classes: list[str], difficult: int) -> _Part:
    listed = existing(
        root,
        f"ImageSets/Main/{which}.txt",
        f"ImageSets/Main/{classes[0]}_{which}.txt",
        what=f"the images of the set {which!r}{_HINT.get(which, '')}",
    )
    ids: dict[str, int] = {}
    for line, text in numbered(listed):
        once(listed, line, "image", text.split()[0], ids)
    if not ids:
        raise InputError(f"{listed}: the file is empty; it must have a line for each image.")
    column = {name: position for position, name in enumerate(classes)}
    labels = np.zeros((len(ids), len(classes)), np.int8)
    files = [listed]
    for row, (image, line) in enumerate(ids.items()):
        file = root / "Annotations" / f"{image}.xml"
        if not file.is_file():
            raise wrong(listed, line, f"image {image!r} has no annotation file {file}.")
        files.append(file)
        _read_annotation(file, column, labels[row], difficult)
    return ids, listed, labels, files


def _read_annotation(
    file: Path, column: dict[str, int], labels: np.ndarray, difficult: int
) -> None:
    """Set the labels [C] of one image; an object that is not difficult goes before one that is."""
    root = read_xml(file)
    if root.tag != "annotation":
        raise wrong(file, root.line, f"the file is a <{root.tag}>, not an <annotation>.")
    hard: list[int] = []
    easy: list[int] = []
    for thing in root.find("object"):
        name = _child(file, thing, "name")
        if name not in column:
            raise wrong(file, thing.line, f"{name!r} is none of the {len(column)} classes.")
        flag = _child(file, thing, "difficult") if thing.find("difficult") else "0"
        if flag not in ("0", "1"):
            raise wrong(file, thing.line, f"<difficult> is 0 or 1, not {flag!r}.")
        (hard if flag == "1" else easy).append(column[name])
    labels[hard] = difficult
    labels[easy] = 1


def _child(file: Path, element: Element, tag: str) -> str:
    found = element.find(tag)
    if len(found) != 1 or not found[0].text.strip():
        raise wrong(file, element.line, f"this <{element.tag}> needs one <{tag}> with a text.")
    return found[0].text.strip()
