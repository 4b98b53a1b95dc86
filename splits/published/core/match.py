"""From list files to sources and rows: which row is which image, and what must agree."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from splits.errors import InputError
from splits.published.core import lists
from splits.published.core.contract import FEW, MANY
from splits.published.core.lists import LabelList
from splits.shots import shot_groups
from splits.source import Source, digest_file

TRAIN, TEST = 0, 1


def dense(source: Source) -> np.ndarray:
    """The label matrix, int8 [N, C]; published splits come from sources that are small enough.

    Raises:
        InputError: the source stores its labels sparsely.
    """
    if not isinstance(source.labels, np.ndarray):
        raise InputError(f"{source.name}: no published split is made from labels stored sparsely.")
    return source.labels


def part_rows(source: Source, name: str, tests_on: str) -> tuple[np.ndarray, np.ndarray]:
    """The training and the test rows of a source, in its order.

    Args:
        source: the data set.
        name: the published split, for messages.
        tests_on: what its test part must be.

    Raises:
        InputError: the source names no test part.
    """
    if source.part is None:
        raise InputError(
            f"{name}: the source {source.name} names no test part; the test part of {name} is "
            f"{tests_on}."
        )
    return np.flatnonzero(source.part == TRAIN), np.flatnonzero(source.part == TEST)


def needs_source(source: Source | None, name: str, what: str) -> Source:
    """The source, or an error that says which one is needed."""
    if source is None:
        raise InputError(f"{name} is made from a source: {what}.")
    dense(source)
    return source


@contextlib.contextmanager
def drawn_from(source: Source, name: str, what: str) -> Iterator[None]:
    """Say what a draw needs where a source has too few images for it."""
    try:
        yield
    except InputError as error:
        raise InputError(
            f"{name} cannot be drawn from {source.name}: it is made from {what}. {error}"
        ) from None


def sort_by_key(source: Source, rows: np.ndarray, key: Callable[[str], str]) -> np.ndarray:
    """The rows by the images' names, shorter ones first: numbers stand in numeric order.

    The same split then comes out in the same order, from whatever it was made.
    """
    names = [key(str(source.image_ids[row])) for row in rows]
    order = sorted(range(len(names)), key=lambda at: (len(names[at]), names[at]))
    return rows[np.array(order, np.int64)]


def find_rows(
    source: Source, pool: np.ndarray, listed: LabelList, key: Callable[[str], str]
) -> np.ndarray:
    """The rows of the images of a list, in its order.

    Args:
        source: the data set.
        pool: the rows to look in.
        listed: the list.
        key: an image's id or path -> the name to compare.

    Raises:
        InputError: an image that the pool does not have, or has twice.
    """
    at: dict[str, int] = {}
    for row in pool.tolist():
        name = key(str(source.image_ids[row]))
        if name in at:
            raise InputError(f"{source.name}: image {name!r} is there twice.")
        at[name] = row
    rows = []
    for name, place in zip(listed.names, listed.places, strict=True):
        row = at.get(key(name))
        if row is None:
            raise InputError(
                f"{listed.path}, {place}: image {name!r} is not among the {len(pool)} images of "
                f"this part of the source {source.name}."
            )
        rows.append(row)
    if len(set(rows)) != len(rows):
        raise InputError(f"{listed.path}: two lines name the same image.")
    return np.array(rows, np.int64)


def listed_source(
    name: str,
    class_names: tuple[str, ...],
    train: LabelList,
    test: LabelList,
    key: Callable[[str], str],
) -> Source:
    """A source of what two lists say: ids by `key`, their paths, labels, train and test.

    Args:
        name: what to call it.
        class_names: C names.
        train: the training list.
        test: the test list.
        key: an image's path -> its id.

    Raises:
        InputError: an image that is in both lists or comes twice.
    """
    paths = np.array([*train.names, *test.names])
    return Source(
        name=name,
        class_names=class_names,
        image_ids=np.array([key(path) for path in paths.tolist()]),
        labels=np.concatenate([train.labels, test.labels]),
        part=np.repeat(np.array([TRAIN, TEST], np.uint8), [len(train.names), len(test.names)]),
        paths=paths if any("." in path for path in paths.tolist()) else None,
        roots=(),
        features=None,
        digests={},
    )


def with_files(source: Source, files: Mapping[str, Path]) -> Source:
    """The source with the digests of the list files beside its own."""
    digests = {f"{role}:{path.name}": digest_file(path) for role, path in files.items()}
    return dataclasses.replace(source, digests={**source.digests, **digests})


def check_statistics(
    source: Source, train: np.ndarray, files: Mapping[str, Path], key: Callable[[str], str]
) -> None:
    """Compare a long-tailed training part with DBL's own statistics, where files of them are given.

    Args:
        source: the data set.
        train: its training rows.
        files: `class_freq`, `class_split` and `images` (whose order `class_freq` follows).
        key: an image's id -> the name by which the lists know it.

    Raises:
        InputError: counts, labels or groups that differ.
    """
    labels = dense(source)[train]
    counts = (labels == 1).sum(axis=0)
    if "class_freq" in files:
        path = files["class_freq"]
        published = lists.class_freq(path)
        if not np.array_equal(published["class_freq"], counts):
            raise InputError(f"{path}: its class counts are not those of the images chosen.")
        if "images" in files:
            rows = find_rows(source, train, lists.ids(files["images"]), key)
            if not np.array_equal(published["gt_labels"], dense(source)[rows] == 1):
                raise InputError(f"{path}: its labels are not those of the images chosen.")
    if "class_split" in files:
        path = files["class_split"]
        groups = shot_groups(counts.astype(np.int64), MANY, FEW)
        ours = tuple(frozenset(np.flatnonzero(groups == g).tolist()) for g in range(3))
        if lists.class_split(path) != ours:
            raise InputError(f"{path}: its class groups are not those of the images chosen.")
