"""Reads MULAN data sets: an ARFF file, dense or sparse, and the XML list of its labels.

Labels are the attributes that the XML file names, in any position; a hierarchy of labels is read as
a flat list. The value `?` of a label means unknown.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from splits.errors import InputError
from splits.source import Source
from splits.sources._arff import Table, read_arff
from splits.sources._text import check_unique, digests, line_error, part_codes
from splits.sources._xml import Element, read_xml
from splits.sources.registry import Option

FORM = "mulan:FILE.arff"
HELP = "MULAN: an ARFF file and the XML file that names its labels."
OPTIONS = {
    "xml": Option("", "the label names  [default: FILE.xml, also without -train]", is_path=True),
    "test": Option("", "a second ARFF file with the test part", is_path=True),
}


def load(path: Path, *, xml: str = "", test: str = "", name: str | None = None) -> Source:
    """Read a MULAN data set.

    Args:
        path: the ARFF file.
        xml: the file of label names; by default it is beside the ARFF file, with the same stem,
            also without "-train".
        test: an ARFF file of the same attributes with the test part.
        name: the name of the data set; by default the stem of the XML file.

    Returns:
        The source; labels in the order of the XML file, images numbered, features float32
        [N, 1, D] (a nominal value that is not a number is read as its position).

    Raises:
        InputError: a missing or malformed file, a label without an attribute, a label that is not
            0, 1 or `?`, a feature that is missing or a text.
    """
    files = [Path(path), *([Path(test)] if test else [])]
    xml_file = Path(xml) if xml else _default_xml(files[0])
    labels: dict[str, int] = {}
    _collect(xml_file, read_xml(xml_file), labels)
    tables = [read_arff(file) for file in files]
    for file, table in zip(files, tables, strict=True):
        if list(table.names) != list(tables[0].names):
            raise InputError(f"{file}: the attributes are not those of {files[0]}.")
    column = {attribute: position for position, attribute in enumerate(tables[0].names)}
    for label, line in labels.items():
        if label not in column:
            raise line_error(xml_file, line, f"label {label!r} is not an attribute of {files[0]}.")
    label_columns = np.array([column[label] for label in labels])
    others = np.setdiff1d(np.arange(len(column)), label_columns)
    sizes = [len(table.values) for table in tables]
    features = [_features(file, table, others) for file, table in zip(files, tables, strict=True)]
    return Source(
        name=name or xml_file.stem,
        class_names=tuple(labels),
        image_ids=np.arange(sum(sizes)).astype(np.str_),
        labels=np.concatenate(
            [_labels(file, table, label_columns) for file, table in zip(files, tables, strict=True)]
        ),
        part=part_codes(sizes),
        paths=None,
        roots=(),
        features=np.concatenate(features)[:, None, :] if len(others) else None,
        digests=digests(files[0].parent, [*files, xml_file]),
        path=files[0],
    )


def _default_xml(file: Path) -> Path:
    if not file.name:
        raise InputError(f"{file} is a folder; give the path of an .arff file.")
    same_stem = file.with_suffix(".xml")
    short_stem = file.with_name(file.stem.removesuffix("-train") + ".xml")
    return short_stem if not same_stem.is_file() and short_stem.is_file() else same_stem


def _collect(file: Path, element: Element, labels: dict[str, int]) -> None:
    """Add the labels below an element with their lines, parents before their children."""
    waiting = element.find("label")[::-1]
    while waiting:
        label = waiting.pop()
        name = label.attributes.get("name", "").strip()
        if not name:
            raise line_error(file, label.line, "this <label> has no name.")
        check_unique(file, label.line, "label", name, labels)
        waiting += label.find("label")[::-1]
    if not labels:
        raise line_error(file, element.line, f"this <{element.tag}> contains no <label>.")


def _labels(file: Path, table: Table, columns: np.ndarray) -> np.ndarray:
    """Int8 [N, C]."""
    values = table.values[:, columns]
    unknown = np.isnan(values)
    wrong = ~unknown & (values != 0) & (values != 1)
    if wrong.any():
        row, column = np.unravel_index(int(wrong.argmax()), wrong.shape)
        name, value = table.names[columns[column]], values[row, column]
        raise line_error(
            file, table.lines[row], f"label {name!r} is {value:g}; it must be 0, 1 or ?."
        )
    return np.where(unknown, -1, values).astype(np.int8)


def _features(file: Path, table: Table, others: np.ndarray) -> np.ndarray:
    """Float32 [N, D]."""
    values = table.values[:, others]
    missing = np.isnan(values)
    if missing.any():
        row, column = np.unravel_index(int(missing.argmax()), missing.shape)
        raise line_error(
            file,
            table.lines[row],
            f"feature {table.names[others[column]]!r} is missing; only a label may be '?'.",
        )
    with np.errstate(over="ignore"):  # `Source` refuses infinite numbers
        return values.astype(np.float32)
