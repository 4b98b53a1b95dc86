"""The description of a published split, its result, and the check against known figures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from splits import shots
from splits.errors import InputError
from splits.long_tail import PythonSample
from splits.source import Source

MANY, FEW = 100, 20


@dataclass(frozen=True)
class Tools:
    """The random number generators of the published scripts, passed in by the caller.

    Attributes:
        python_sampler: seed -> `random.Random(seed).sample`.
        numpy_state: seed -> `numpy.random.RandomState(seed)`.
    """

    python_sampler: Callable[[int], PythonSample]
    numpy_state: Callable[[int], np.random.RandomState]


@dataclass(frozen=True)
class Figures:
    """The known figures of a published split; None for unknown ones.

    `counts`, `groups`, `cardinality` and `observed` describe the training images, including a
    validation part that the split defines.

    Attributes:
        train: images of the training part.
        test: images of the test part.
        classes: C.
        val: images of the validation part.
        counts: true positives per class.
        groups: classes that are many-, medium- and few-shot.
        cardinality: mean positives per image, with the known number of digits.
        test_cardinality: mean positives per test image.
        observed: total number of observed positives.
        train_digest: `content_digest` of the training images and their true labels.
        test_digest: `content_digest` of the test images and their true labels.
        observed_digest: `content_digest` of the training images and their observed positives.
    """

    train: int
    test: int
    classes: int
    val: int = 0
    counts: tuple[int, ...] | None = None
    groups: tuple[int, int, int] | None = None
    cardinality: float | None = None
    test_cardinality: float | None = None
    observed: int | None = None
    train_digest: str | None = None
    test_digest: str | None = None
    observed_digest: str | None = None


@dataclass(frozen=True, eq=False)
class PublishedRows:
    """A published split as rows of a source.

    Attributes:
        source: the source that the rows refer to; its digests include those of the list files.
        train: int64 rows, in the published order if one is known.
        test: int64 rows.
        val: int64 rows, empty if the split defines no validation part.
        observed: int8 [N, C] for all rows of the source, or None if `--regime` decides.
        regime: the regime of `observed`, in the form of `--regime`, or None.
        notes: messages for the user.
    """

    source: Source
    train: np.ndarray
    test: np.ndarray
    val: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    observed: np.ndarray | None = None
    regime: str | None = None
    notes: tuple[str, ...] = ()


Build = Callable[[Source | None, Mapping[str, Path], Tools], PublishedRows]


@dataclass(frozen=True)
class Published:
    """One published split.

    Attributes:
        name: its name on the command line.
        title: its name in the papers.
        paper: its source.
        made: rebuilt (by the published generator), imported (from list files) or unavailable.
        needs: the required data, one sentence; for an unavailable split, the reason.
        roles: role -> description of the list file with this role.
        figures: its known figures; None for an unavailable split.
        build: (source or None, role -> file, tools) -> its rows.
        key: the id or path of an image -> its name in the lists.
        reference: whether shot groups count true or observed positives.
    """

    name: str
    title: str
    paper: str
    made: str
    needs: str
    roles: Mapping[str, str]
    figures: Figures | None
    build: Build
    key: Callable[[str], str]
    reference: str = "true"


def content_digest(names: Iterable[str], labels: np.ndarray) -> str:
    """The SHA-256 of images and their positives, independent of their order.

    Args:
        names: one per row, the name of the image in the lists.
        labels: int8 [N, C].

    Returns:
        64 hexadecimal digits, over the sorted lines `name i j k` with the classes ascending.
    """
    rows, columns = np.nonzero(labels == 1)
    ends = np.searchsorted(rows, np.arange(len(labels) + 1)).tolist()
    classes = list(map(str, columns.tolist()))
    lines = (
        " ".join([name, *classes[start:end]])
        for name, start, end in zip(names, ends[:-1], ends[1:], strict=True)
    )
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def check(published: Published, rows: PublishedRows) -> None:
    """Compare a split with its known figures.

    Args:
        published: the description of the split.
        rows: its rows.

    Raises:
        InputError: a figure differs; the message has the actual and the published value.
    """
    figures, source = published.figures, rows.source
    if figures is None:
        raise InputError(f"{published.name}: this split has no known figures.")
    train = np.concatenate([rows.train, rows.val])
    matrix = np.asarray(source.labels)
    labels, test = matrix[train], matrix[rows.test]
    counts = (labels == 1).sum(axis=0)
    seen = None if rows.observed is None else rows.observed[train]
    comparisons: list[tuple[str, object, object]] = [
        ("classes", len(source.class_names), figures.classes),
        ("training images", len(rows.train), figures.train),
        ("validation images", len(rows.val), figures.val),
        ("test images", len(rows.test), figures.test),
        ("labels per training image", _mean(labels, figures.cardinality), figures.cardinality),
        ("labels per test image", _mean(test, figures.test_cardinality), figures.test_cardinality),
        ("many-, medium- and few-shot classes", _groups(counts), figures.groups),
        ("observed positives", None if seen is None else int((seen == 1).sum()), figures.observed),
    ]
    wrong = [
        (noun, actual, known) for noun, actual, known in comparisons if known not in (None, actual)
    ]
    if figures.counts is not None and figures.classes == len(counts):
        wrong += [
            (f"training images of class {name!r}", int(actual), known)
            for name, actual, known in zip(source.class_names, counts, figures.counts, strict=True)
            if actual != known
        ]
    if wrong:
        first = "; ".join(
            f"{noun}: {actual}, published {known}" for noun, actual, known in wrong[:4]
        )
        more = f"; and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        raise InputError(f"{published.name} differs from the published split: {first}{more}.")
    for noun, part, codes, known in (
        ("training images or their labels", train, labels, figures.train_digest),
        ("test images or their labels", rows.test, test, figures.test_digest),
        ("observed labels", train, seen, figures.observed_digest),
    ):
        if known is not None and codes is not None:
            _check_content(published, noun, source.image_ids[part], codes, known)


def _check_content(
    published: Published, noun: str, ids: Sequence[str] | np.ndarray, codes: np.ndarray, known: str
) -> None:
    digest = content_digest((published.key(str(image)) for image in ids), codes)
    if digest != known:
        raise InputError(
            f"{published.name} differs from the published split: the {noun} differ, although their "
            f"numbers agree (digest {digest[:12]}, published {known[:12]})."
        )


def _mean(labels: np.ndarray, known: float | None) -> float | None:
    if known is None or not len(labels):
        return None
    return round(float((labels == 1).sum()) / len(labels), len(str(known).partition(".")[2]))


def _groups(counts: np.ndarray) -> tuple[int, ...]:
    groups = shots.shot_groups(counts.astype(np.int64), MANY, FEW)
    return tuple(np.bincount(groups, minlength=3).tolist())
