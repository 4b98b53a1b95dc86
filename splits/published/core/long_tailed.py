"""What VOC-LT and COCO-LT share: both can be taken from lists that carry the labels."""

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
    "class_freq": "DBL's class_freq.pkl, to compare with (read by the restricted unpickler)",
    "class_split": "DBL's class_split.pkl, to compare with (read the same way)",
}
LABELLED = {
    "train": "LMPT's training list, `path i j k` per line; with `test`, no source is needed",
    "test": "LMPT's test list",
    "lists": "one JSON with both: train and test, each with ids and labels; no source is needed",
}


def from_lists(
    name: str, class_names: tuple[str, ...], files: Mapping[str, Path]
) -> PublishedRows | None:
    """The split that `train` and `test`, or `lists`, spell out; None where neither is given.

    Args:
        name: the published split.
        class_names: C names; the COCO ones make ids numbers.
        files: role -> file.

    Raises:
        InputError: only one of `train` and `test`, or both forms.
    """
    pair = [role for role in ("train", "test") if role in files]
    if not pair and "lists" not in files:
        return None
    if "lists" in files and pair:
        raise InputError(f"{name}: give the list files train and test, or lists, not both.")
    if "lists" in files:
        train, test = lists.parts(files["lists"], len(class_names))
    elif len(pair) == 1:
        raise InputError(f"{name}: the list files train and test go together; give both.")
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
    """The rows, in the order of the images' names, after comparing them with DBL's statistics.

    Args:
        source: the data set.
        files: role -> file.
        rows: its training and test rows.
        key: an image's id -> the name by which the lists know it.
    """
    train, test = (match.sort_by_key(source, part, key) for part in rows)
    match.check_statistics(source, train, files, key)
    return PublishedRows(match.with_files(source, files), train, test)
