"""Reads NUS-WIDE: the official lists, or the arrays of the single-positive paper.

Official: `ConceptsList/Concepts81.txt`, `ImageList/{Train,Test}Imagelist.txt` and
`Groundtruth/TrainTestLabels/Labels_<concept>_{Train,Test}.txt`, one 0 or 1 per line. Arrays:
`formatted_{train,val}_labels.npy` [N, C] and `formatted_{train,val}_images.npy` [N].
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from splits import npy
from splits.errors import InputError
from splits.source import Source
from splits.sources._matrix import name_array, zeros
from splits.sources._text import (
    check_unique,
    digests,
    find_file,
    line_error,
    no_overlap,
    numbered_lines,
    part_codes,
    read_lines,
    read_names,
)
from splits.sources.registry import Option

FORM = "nus:ROOT"
HELP = "NUS-WIDE, 81 concepts: the official train and test lists, or formatted_*.npy arrays."
OPTIONS = {
    "layout": Option("official", "which files to read", ("official", "spml")),
    "empty": Option("keep", "images without any label; part of the name", ("keep", "drop")),
}

_ZERO, _ONE, _END = b"01\n"

# One part: the ids with their line or row, the file that lists them, labels [n, C], files read.
_Part = tuple[dict[str, int], Path, np.ndarray, list[Path]]


def load(path: Path, *, layout: str = "official", empty: str = "keep", name: str = "") -> Source:
    """Read NUS-WIDE.

    Args:
        path: the folder of the files.
        layout: "official", or "spml" for the arrays.
        empty: whether images without any positive label stay, as all-negative rows.
        name: the name of the data set; by default "nus-wide-all" or, with empty=drop,
            "nus-wide-labelled", so splits of the two have different names.

    Returns:
        The source; image ids are paths such as "actor/0001_2124494179.jpg".

    Raises:
        InputError: a file that is missing or malformed, files of different lengths, a repeated
            image.
    """
    root = Path(path)
    if layout == "official":
        concepts = find_file(
            root,
            "ConceptsList/Concepts81.txt",
            "Concepts81.txt",
            content="the names of the classes",
        )
        classes = read_names(concepts, "concept")
        train, test = (_official(root, part, classes) for part in ("Train", "Test"))
        files = [concepts, *train[3], *test[3]]
    else:
        train, test = (_arrays(root, part) for part in ("train", "val"))
        classes, files = _array_classes(root, train, test)
    no_overlap(train[1], train[0], test[1], test[0])
    ids = [name_array(part[1], "image", list(part[0])) for part in (train, test)]
    labels = [part[2] for part in (train, test)]
    if empty == "drop":
        kept = [matrix.any(axis=1) for matrix in labels]
        ids = [part[keep] for part, keep in zip(ids, kept, strict=True)]
        labels = [matrix[keep] for matrix, keep in zip(labels, kept, strict=True)]
    all_ids = np.concatenate(ids)
    folder = next((root / f for f in ("Flickr", "images") if (root / f).is_dir()), None)
    return Source(
        name=name or {"keep": "nus-wide-all", "drop": "nus-wide-labelled"}[empty],
        class_names=tuple(classes),
        image_ids=all_ids,
        labels=np.concatenate(labels),
        part=part_codes([len(part) for part in ids]),
        paths=all_ids,
        roots=() if folder is None else (folder,),
        features=None,
        digests=digests(root, files),
        path=root,
    )


def _official(root: Path, part: str, classes: Sequence[str]) -> _Part:
    image_list = find_file(
        root,
        f"ImageList/{part}Imagelist.txt",
        f"{part}Imagelist.txt",
        content="the images, one per line",
    )
    ids: dict[str, int] = {}
    for line, text in numbered_lines(image_list):
        check_unique(image_list, line, "image", text.replace("\\", "/"), ids)
    if not ids:
        raise InputError(f"{image_list}: the file is empty; it must have a line for each image.")
    labels = zeros(image_list, len(ids), len(classes), stored=len(ids) * len(classes))
    files = [image_list]
    for column, concept in enumerate(classes):
        name = f"TrainTestLabels/Labels_{concept}_{part}.txt"
        file = find_file(root, f"Groundtruth/{name}", name, content=f"the labels of {concept!r}")
        labels[:, column] = _digits(file, image_list, len(ids))
        files.append(file)
    return ids, image_list, labels, files


def _digits(file: Path, image_list: Path, rows: int) -> np.ndarray:
    """The lines of a label file, each 0 or 1: int8 [rows]."""
    raw = np.frombuffer(file.read_bytes().replace(b"\r\n", b"\n"), np.uint8)
    digits = raw[0::2]
    if len(raw) == 2 * rows and (raw[1::2] == _END).all() and np.isin(digits, (_ZERO, _ONE)).all():
        return (digits - _ZERO).astype(np.int8)
    lines = [line.strip() for line in read_lines(file)]
    while lines and not lines[-1]:
        lines.pop()
    for number, text in enumerate(lines, 1):
        if text not in ("0", "1"):
            raise line_error(file, number, f"a line must be 0 or 1, not {text!r}.")
    if not lines:
        raise InputError(f"{file}: the file is empty; it must have a line for each image.")
    if len(lines) != rows:
        raise line_error(
            file,
            len(lines),
            f"the file ends after {len(lines)} labels, but {image_list} has {rows} images.",
        )
    return np.array(lines, np.int8)


# ----------------------------------------------------------------------------- arrays


def _arrays(root: Path, part: str) -> _Part:
    files = [
        find_file(root, f"formatted_{part}_{name}.npy", content=f"the {name} of the {part} part")
        for name in ("images", "labels")
    ]
    images, labels = (_read_array(file) for file in files)
    if images.ndim != 1 or images.dtype.kind not in "US":
        raise InputError(
            f"{files[0]}: the images must be a list of texts, not {images.dtype} of shape "
            f"{images.shape}."
        )
    if labels.ndim != 2 or labels.dtype.kind not in "biuf" or len(labels) != len(images):
        raise InputError(
            f"{files[1]}: the labels must be numbers [{len(images)}, C], one row for each image "
            f"of {files[0].name}, not {labels.dtype} of shape {labels.shape}."
        )
    wrong = (labels != 0) & (labels != 1)
    if wrong.any():
        row, column = np.unravel_index(int(wrong.argmax()), wrong.shape)
        raise InputError(
            f"{files[1]}: the label at row {row}, class {column} is {labels[row, column]}; it must "
            f"be 0 or 1."
        )
    ids: dict[str, int] = {}
    for position, name in enumerate(npy.texts(files[0], images)):
        if name in ids:
            raise InputError(
                f"{files[0]}: image {name!r} occurs twice, in rows {ids[name]} and {position}."
            )
        ids[name] = position
    return ids, files[0], labels.astype(np.int8), files


def _read_array(file: Path) -> np.ndarray:
    try:
        array = npy.load(file)
    except npy.BROKEN_NPZ as error:
        raise InputError(
            f"{file}: this is not an .npy file, or it is truncated ({npy.reason(file, error)})."
        ) from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"{file}: this is not an .npy file; write one with numpy.save.")
    return array


def _array_classes(root: Path, train: _Part, test: _Part) -> tuple[list[str], list[Path]]:
    """The class names, or class_0, class_1, ... without a list, and all files that are read."""
    files = [*train[3], *test[3]]
    count = train[2].shape[1]
    if test[2].shape[1] != count:
        raise InputError(
            f"{test[3][1]}: there are {test[2].shape[1]} columns, but {count} in {train[3][1]}."
        )
    for name in ("ConceptsList/Concepts81.txt", "Concepts81.txt"):
        if (root / name).is_file():
            classes = read_names(root / name, "concept")
            if len(classes) != count:
                raise InputError(
                    f"{root / name}: there are {len(classes)} concepts for {count} columns of "
                    f"{train[3][1].name}."
                )
            return classes, [root / name, *files]
    return [f"class_{column}" for column in range(count)], files
