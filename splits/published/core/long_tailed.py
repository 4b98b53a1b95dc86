"""The common parts of VOC-LT and COCO-LT, which can be imported from lists with labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from splits.errors import InputError
from splits.published.core import lists, match
from splits.published.core.contract import PublishedRows
from splits.published.core.names import coco_number, stem
from splits.source import Source

STATISTICS = {
    "class_freq": "DBL's class_freq.pkl, for comparison (read by the restricted unpickler)",
    "class_split": "DBL's class_split.pkl, for comparison (read in the same way)",
}
LABELLED = {
    "train": "LMPT's training list, `path i j k` per line; with `test`, no source is needed",
    "test": "LMPT's test list",
    "lists": "one JSON with both: train and test, each with ids and labels; no source is needed",
}


def from_lists(
    name: str, class_names: tuple[str, ...], files: Mapping[str, Path]
) -> PublishedRows | None:
    """The split in the files `train` and `test`, or in `lists`; None without these files.

    Args:
        name: the published split.
        class_names: C names; with those of COCO, ids are numbers.
        files: role -> file.

    Raises:
        InputError: only one of `train` and `test`, or both formats.
    """
    pair = [role for role in ("train", "test") if role in files]
    if not pair and "lists" not in files:
        return None
    if "lists" in files and pair:
        raise InputError(f"{name} takes either the list files train and test, or lists, not both.")
    if "lists" in files:
        train, test = lists.parts(files["lists"], len(class_names))
    elif len(pair) == 1:
        raise InputError(f"{name}: the list files train and test must be used together.")
    else:
        train, test = (lists.lmpt(files[role], len(class_names)) for role in ("train", "test"))
    key = coco_number if len(class_names) == 80 else stem
    source = match.listed_source(name, class_names, train, test, key)
    return finish(source, files, match.part_rows(source, name, "in the lists"), key)


def finish(
    source: Source,
    files: Mapping[str, Path],
    rows: tuple[np.ndarray, np.ndarray],
    key: Callable[[str], str],
) -> PublishedRows:
    """The rows in the order of the image names, after comparing them with DBL's statistics.

    Args:
        source: the data set.
        files: role -> file.
        rows: its training and test rows.
        key: image id -> name in the lists.
    """
    train, test = (match.sort_by_key(source, part, key) for part in rows)
    match.check_statistics(source, train, files, key)
    return PublishedRows(match.with_files(source, files), train, test)
