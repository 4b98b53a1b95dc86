"""Matching of list files with sources: the rows of listed images, and checks of statistics."""

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
    """The label matrix, int8 [N, C]; all sources of published splits are dense.

    Raises:
        InputError: the labels of the source are sparse.
    """
    if not isinstance(source.labels, np.ndarray):
        raise InputError(f"{source.name}: no published split can be made from sparse labels.")
    return source.labels


def part_rows(source: Source, name: str, tests_on: str) -> tuple[np.ndarray, np.ndarray]:
    """The training and the test rows of a source, in its order.

    Args:
        source: the data set.
        name: the published split, for messages.
        tests_on: its test part, for messages.

    Raises:
        InputError: the source has no test part.
    """
    if source.part is None:
        raise InputError(
            f"{name}: the source {source.name} has no test part; the test part of {name} is "
            f"{tests_on}."
        )
    return np.flatnonzero(source.part == TRAIN), np.flatnonzero(source.part == TEST)


def needs_source(source: Source | None, name: str, needs: str) -> Source:
    """The source, or an error that names the required one."""
    if source is None:
        raise InputError(f"{name} is made from a source: {needs}.")
    dense(source)
    return source


@contextlib.contextmanager
def drawn_from(source: Source, name: str, needs: str) -> Iterator[None]:
    """Name the required source if the source has too few images for a draw."""
    try:
        yield
    except InputError as error:
        raise InputError(
            f"{name} cannot be drawn from {source.name}: it is made from {needs}. {error}"
        ) from None


def sort_by_key(source: Source, rows: np.ndarray, key: Callable[[str], str]) -> np.ndarray:
    """The rows sorted by the length of the image name and by the name, so numbers are in order.

    A split therefore has the same order for every way of making it.
    """
    names = [key(str(source.image_ids[row])) for row in rows]
    order = sorted(range(len(names)), key=lambda index: (len(names[index]), names[index]))
    return rows[np.array(order, np.int64)]


def find_rows(
    source: Source, pool: np.ndarray, listed: LabelList, key: Callable[[str], str]
) -> np.ndarray:
    """The rows of the images of a list, in its order.

    Args:
        source: the data set.
        pool: the rows to search.
        listed: the list.
        key: image id or path -> name to compare.

    Raises:
        InputError: an image that occurs in the pool not at all or twice.
    """
    row_of: dict[str, int] = {}
    for row in pool.tolist():
        name = key(str(source.image_ids[row]))
        if name in row_of:
            raise InputError(f"{source.name}: image {name!r} occurs twice.")
        row_of[name] = row
    rows = []
    for name, location in zip(listed.names, listed.locations, strict=True):
        listed_row = row_of.get(key(name))
        if listed_row is None:
            raise InputError(
                f"{listed.path}, {location}: image {name!r} is not among the {len(pool)} images of "
                f"this part of the source {source.name}."
            )
        rows.append(listed_row)
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
    """A source with the images and labels of two lists.

    Args:
        name: the name of the source.
        class_names: C names.
        train: the training list.
        test: the test list.
        key: image path -> id.

    Raises:
        InputError: an image that is in both lists or repeated.
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
    """The source with the digests of the list files added to its own."""
    digests = {f"{role}:{path.name}": digest_file(path) for role, path in files.items()}
    return dataclasses.replace(source, digests={**source.digests, **digests})


def check_statistics(
    source: Source, train: np.ndarray, files: Mapping[str, Path], key: Callable[[str], str]
) -> None:
    """Compare a long-tailed training part with the files of DBL's statistics, if there are any.

    Args:
        source: the data set.
        train: its training rows.
        files: may have `class_freq`, `class_split` and `images`, whose order `class_freq` has.
        key: image id -> name in the lists.

    Raises:
        InputError: counts, labels or groups that differ.
    """
    labels = dense(source)[train]
    counts = (labels == 1).sum(axis=0)
    if "class_freq" in files:
        path = files["class_freq"]
        published = lists.class_freq(path)
        if not np.array_equal(published["class_freq"], counts):
            raise InputError(f"{path}: its class counts differ from those of the split.")
        if "images" in files:
            rows = find_rows(source, train, lists.ids(files["images"]), key)
            if not np.array_equal(published["gt_labels"], dense(source)[rows] == 1):
                raise InputError(f"{path}: its labels differ from those of the split.")
    if "class_split" in files:
        path = files["class_split"]
        groups = shot_groups(counts.astype(np.int64), MANY, FEW)
        expected = tuple(frozenset(np.flatnonzero(groups == g).tolist()) for g in range(3))
        if lists.class_split(path) != expected:
            raise InputError(f"{path}: its class groups differ from those of the split.")
