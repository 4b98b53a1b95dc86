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
from splits.sources._text import (
    digests,
    existing,
    no_overlap,
    numbered,
    once,
    parts,
    read_lines,
    read_names,
    wrong,
)
from splits.sources.registry import Option

FORM = "nus:ROOT"
HELP = "NUS-WIDE, 81 concepts: the official train and test lists, or formatted_*.npy arrays."
OPTIONS = {
    "layout": Option("official", "which files to read", ("official", "spml")),
    "empty": Option("keep", "images without any label; the name says it", ("keep", "drop")),
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
        name: what to call the data set; "nus-wide-all" or, with empty=drop, "nus-wide-labelled"
            by default, so that a split tells the two apart.

    Returns:
        The source; image ids are paths such as "actor/0001_2124494179.jpg".

    Raises:
        InputError: a file that is missing or malformed, files of different lengths, an image that
            comes twice.
    """
    root = Path(path)
    if layout == "official":
        concepts = existing(
            root, "ConceptsList/Concepts81.txt", "Concepts81.txt", what="the names of the classes"
        )
        classes = read_names(concepts, "concept")
        train, test = (_official(root, which, classes) for which in ("Train", "Test"))
        files = [concepts, *train[3], *test[3]]
    else:
        train, test = (_arrays(root, which) for which in ("train", "val"))
        classes, files = _array_classes(root, train, test)
    no_overlap(train[1], train[0], test[1], test[0])
    ids = [np.array(list(part[0]), np.str_) for part in (train, test)]
    labels = [part[2] for part in (train, test)]
    if empty == "drop":
        kept = [matrix.any(axis=1) for matrix in labels]
        ids = [part[keep] for part, keep in zip(ids, kept, strict=True)]
        labels = [matrix[keep] for matrix, keep in zip(labels, kept, strict=True)]
    every = np.concatenate(ids)
    folder = next((root / f for f in ("Flickr", "images") if (root / f).is_dir()), None)
    return Source(
        name=name or {"keep": "nus-wide-all", "drop": "nus-wide-labelled"}[empty],
        class_names=tuple(classes),
        image_ids=every,
        labels=np.concatenate(labels),
        part=parts([len(part) for part in ids]),
        paths=every,
        roots=() if folder is None else (folder,),
        features=None,
        digests=digests(root, files),
        path=root,
    )


def _official(root: Path, which: str, classes: Sequence[str]) -> _Part:
    listed = existing(
        root,
        f"ImageList/{which}Imagelist.txt",
        f"{which}Imagelist.txt",
        what="the images, one per line",
    )
    ids: dict[str, int] = {}
    for line, text in numbered(listed):
        once(listed, line, "image", text.replace("\\", "/"), ids)
    if not ids:
        raise InputError(f"{listed}: the file is empty; it must have a line for each image.")
    labels = np.empty((len(ids), len(classes)), np.int8)
    files = [listed]
    for column, concept in enumerate(classes):
        file = f"TrainTestLabels/Labels_{concept}_{which}.txt"
        found = existing(root, f"Groundtruth/{file}", file, what=f"the labels of {concept!r}")
        labels[:, column] = _digits(found, listed, len(ids))
        files.append(found)
    return ids, listed, labels, files


def _digits(file: Path, listed: Path, rows: int) -> np.ndarray:
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
            raise wrong(file, number, f"a line is 0 or 1, not {text!r}.")
    if not lines:
        raise InputError(f"{file}: the file is empty; it must have a line for each image.")
    if len(lines) != rows:
        raise wrong(
            file,
            len(lines),
            f"the file ends after {len(lines)} labels, but {listed} has {rows} images.",
        )
    return np.array(lines, np.int8)


# ----------------------------------------------------------------------------- arrays


def _arrays(root: Path, which: str) -> _Part:
    what = f"the {{}} of the {which} part"
    files = [
        existing(root, f"formatted_{which}_{name}.npy", what=what.format(name))
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
    odd = (labels != 0) & (labels != 1)
    if odd.any():
        row, column = np.unravel_index(int(odd.argmax()), odd.shape)
        raise InputError(
            f"{files[1]}: the label at row {row}, class {column} is {labels[row, column]}; it is "
            f"0 or 1."
        )
    ids: dict[str, int] = {}
    for at, name in enumerate(npy.texts(files[0], images)):
        if name in ids:
            raise InputError(f"{files[0]}: image {name!r} comes twice, in rows {ids[name]}, {at}.")
        ids[name] = at
    return ids, files[0], labels.astype(np.int8), files


def _read_array(file: Path) -> np.ndarray:
    try:
        array = np.load(file, allow_pickle=False)
    except npy.BROKEN as error:
        raise InputError(
            f"{file}: this is not an .npy file, or it was cut off ({npy.reason(file, error)})."
        ) from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"{file}: this is not an .npy file; write one with numpy.save.")
    return array


def _array_classes(root: Path, train: _Part, test: _Part) -> tuple[list[str], list[Path]]:
    """The names of the columns, numbered where no list gives them, and all files read."""
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
