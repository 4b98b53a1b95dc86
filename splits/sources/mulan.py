"""Reads MULAN data sets: an ARFF file, dense or sparse, and the XML list of its labels.

Labels are the attributes that the XML names, wherever they stand; a hierarchy of labels is read as
a flat list. A value `?` of a label is unknown.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from splits.errors import InputError
from splits.source import Source
from splits.sources._arff import Table, read_arff
from splits.sources._text import digests, once, parts, wrong
from splits.sources._xml import Element, read_xml
from splits.sources.registry import Option

FORM = "mulan:FILE.arff"
HELP = "MULAN: an ARFF file and the XML file that names its labels."
OPTIONS = {
    "xml": Option("", "the label names  [default: FILE.xml, also without -train]", record="name"),
    "test": Option("", "a second ARFF file with the test part", record="name"),
}


def load(path: Path, *, xml: str = "", test: str = "", name: str | None = None) -> Source:
    """Read a MULAN data set.

    Args:
        path: the ARFF file.
        xml: the file of label names; by default beside the ARFF file, with the same stem or that
            without "-train".
        test: an ARFF file of the same attributes with the test part.
        name: what to call the data set; the stem of the XML file by default.

    Returns:
        The source; labels in the order of the XML file, images numbered, features float32
        [N, 1, D] (a nominal attribute whose values are no numbers is their position).

    Raises:
        InputError: a missing or malformed file, a label without an attribute, a label that is not
            0, 1 or `?`, a feature that is missing or a text.
    """
    files = [Path(path), *([Path(test)] if test else [])]
    listed = Path(xml) if xml else _beside(files[0])
    labels: dict[str, int] = {}
    _collect(listed, read_xml(listed), labels)
    tables = [read_arff(file) for file in files]
    for file, table in zip(files, tables, strict=True):
        if list(table.names) != list(tables[0].names):
            raise InputError(f"{file}: the attributes are not those of {files[0]}.")
    column = {attribute: position for position, attribute in enumerate(tables[0].names)}
    for label, line in labels.items():
        if label not in column:
            raise wrong(listed, line, f"label {label!r} is no attribute of {files[0]}.")
    chosen = np.array([column[label] for label in labels])
    others = np.setdiff1d(np.arange(len(column)), chosen)
    sizes = [len(table.values) for table in tables]
    features = [_features(file, table, others) for file, table in zip(files, tables, strict=True)]
    return Source(
        name=name or listed.stem,
        class_names=tuple(labels),
        image_ids=np.arange(sum(sizes)).astype(np.str_),
        labels=np.concatenate(
            [_labels(file, table, chosen) for file, table in zip(files, tables, strict=True)]
        ),
        part=parts(sizes),
        paths=None,
        roots=(),
        features=np.concatenate(features)[:, None, :] if len(others) else None,
        digests=digests(files[0].parent, [*files, listed]),
        path=files[0],
    )


def _beside(file: Path) -> Path:
    same = file.with_suffix(".xml")
    whole = file.with_name(file.stem.removesuffix("-train") + ".xml")
    return whole if not same.is_file() and whole.is_file() else same


def _collect(file: Path, element: Element, labels: dict[str, int]) -> None:
    """Label -> line of every label below an element, parents before their children."""
    for child in element.find("label"):
        name = child.attributes.get("name", "").strip()
        if not name:
            raise wrong(file, child.line, "this <label> has no name.")
        once(file, child.line, "label", name, labels)
        _collect(file, child, labels)
    if not labels:
        raise wrong(file, element.line, f"this <{element.tag}> holds no <label>.")


def _labels(file: Path, table: Table, chosen: np.ndarray) -> np.ndarray:
    """Int8 [N, C]."""
    values = table.values[:, chosen]
    unknown = np.isnan(values)
    odd = ~unknown & (values != 0) & (values != 1)
    if odd.any():
        row, column = np.unravel_index(int(odd.argmax()), odd.shape)
        raise wrong(
            file,
            table.lines[row],
            f"label {table.names[chosen[column]]!r} is {values[row, column]:g}; it is 0, 1 or ?.",
        )
    return np.where(unknown, -1, values).astype(np.int8)


def _features(file: Path, table: Table, others: np.ndarray) -> np.ndarray:
    """Float32 [N, D]."""
    values = table.values[:, others]
    missing = np.isnan(values)
    if missing.any():
        row, column = np.unravel_index(int(missing.argmax()), missing.shape)
        raise wrong(
            file,
            table.lines[row],
            f"feature {table.names[others[column]]!r} is missing; only a label may be '?'.",
        )
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite, refused later
        return values.astype(np.float32)
