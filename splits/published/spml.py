"""The single-positive splits of SPML: COCO, VOC, NUS-WIDE and CUB, one positive per image.

There are two generators, both `numpy.random.RandomState(1200)`: one draws the observed labels row
by row over the training file, and a fresh one draws the validation part, the last fifth of a
permutation of this file. Both draws depend on the order of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from splits.errors import InputError
from splits.published.core import lists, match
from splits.published.core.contract import Figures, Published, PublishedRows, Tools
from splits.published.core.names import COCO, VOC, coco_number, stem, unchanged
from splits.source import Source
from splits.statistics import check_labels

SEED = 1200
VALIDATION = 0.2
FILES = ("train_labels", "train_images", "val_labels", "val_images")
ROLES = {
    "train_labels": "formatted_train_labels.npy; with the next three, no source is needed",
    "train_images": "formatted_train_images.npy",
    "val_labels": "formatted_val_labels.npy, the test part",
    "val_images": "formatted_val_images.npy",
    "observed": "formatted_train_labels_obs.npy, for comparison with the drawn labels",
    "classes": "the class names, one per line, if there is no source",
}


def split(count: int, state: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """SPML's training and validation rows.

    Args:
        count: rows of the training file.
        state: NumPy's generator; a fresh one with seed 1200 gives the published split.

    Returns:
        int64 rows of both parts, ascending; `round(0.2 count)` rows are validation.

    Source: Cole et al., CVPR 2021, data loading of the authors' code.
    """
    held = round(VALIDATION * count)
    order = state.permutation(count)
    return np.sort(order[: count - held]), np.sort(order[count - held :])


def observe(
    labels: np.ndarray, num_pos: int, num_neg: int, random_state: np.random.RandomState
) -> np.ndarray:
    """Observe a fixed number of labels per image exactly as SPML's sampling script does.

    In each row, the positives are shuffled and the first `num_pos` observed; then the negatives
    are shuffled, even if `num_neg` is 0, and the first `num_neg` observed. If an image has fewer,
    all of them are observed. The draw depends on the order of the rows.

    Args:
        labels: true labels, int8 [N, C], rows in the order of SPML's files.
        num_pos: positives per image, or -1 for all.
        num_neg: negatives per image, or -1 for all.
        random_state: NumPy's generator; a fresh one with seed 1200 for each of the training and
            the validation file gives the published labels.

    Returns:
        int8 [N, C].

    Raises:
        InputError: not a label matrix, or a number below -1.

    Source: Cole et al., CVPR 2021, sampling script of the authors' code.
    """
    check_labels(labels)
    if num_pos < -1 or num_neg < -1:
        raise InputError(
            f"Labels per image must be -1 (all), 0 or more, not {num_pos} positives and "
            f"{num_neg} negatives."
        )
    observed = np.full(labels.shape, -1, np.int8)
    for row, line in enumerate(labels):
        for code, number in ((1, num_pos), (0, num_neg)):
            columns = np.flatnonzero(line == code)
            random_state.shuffle(columns)
            observed[row, columns[: len(columns) if number == -1 else number]] = code
    return observed


def _build(
    name: str,
    class_names: tuple[str, ...],
    needs: str,
    order: Callable[[str], str] | None,
    source: Source | None,
    files: Mapping[str, Path],
    tools: Tools,
) -> PublishedRows:
    """Draw labels and the validation part from the training rows in SPML's order."""
    if source is None:
        source, order = _from_files(name, class_names, needs, files), None
    elif any(role in files for role in (*FILES, "classes")):
        raise InputError(f"{name} takes either a source or SPML's files, not both.")
    train, test = match.part_rows(match.needs_source(source, name, needs), name, "in SPML's files")
    if order is not None:
        train, test = (_sorted(source, rows, order) for rows in (train, test))
    labels = match.dense(source)
    if (labels == -1).any():
        raise InputError(
            f"{name}: the source must not have unknown labels (VOC: difficult=negative)."
        )
    drawn = observe(labels[train], 1, 0, tools.numpy_state(SEED))
    if "observed" in files:
        _compare(files["observed"], drawn)
    observed = np.full(labels.shape, -1, np.int8)
    observed[train] = drawn
    first, second = split(len(train), tools.numpy_state(SEED))
    return PublishedRows(
        source=match.with_files(source, files),
        train=train[first],
        test=test,
        val=train[second],
        observed=observed,
        regime="spl",
    )


def _from_files(
    name: str, class_names: tuple[str, ...], needs: str, files: Mapping[str, Path]
) -> Source:
    missing = [role for role in FILES if role not in files]
    if missing:
        raise InputError(
            f"{name} needs {needs}; or, without a source, SPML's own files: "
            f"{', '.join(missing)} are missing."
        )
    if "classes" in files:
        class_names = lists.names(files["classes"], len(class_names))
    train, test = (
        lists.spml(files[f"{part}_labels"], files[f"{part}_images"], len(class_names))
        for part in ("train", "val")
    )
    return match.listed_source(name, class_names, train, test, unchanged)


def _sorted(source: Source, rows: np.ndarray, order: Callable[[str], str]) -> np.ndarray:
    """The rows sorted by their names as texts: 100012 is before 9."""
    names = [order(str(source.image_ids[row])) for row in rows]
    return rows[np.array(sorted(range(len(names)), key=names.__getitem__), np.int64)]


def _compare(path: Path, drawn: np.ndarray) -> None:
    published = lists.spml_matrix(path, drawn.shape[1], (-1, 0, 1))
    if published.shape != drawn.shape:
        raise InputError(f"{path}: it has {len(published)} rows, the training file {len(drawn)}.")
    codes = np.array([-1, 1, 0], np.int8)[published]  # SPML writes unknown, positive, negative so
    wrong = (codes != drawn).any(axis=1)
    if wrong.any():
        raise InputError(
            f"{path}: row {int(wrong.argmax())} and {int(wrong.sum()) - 1} more differ from the "
            f"draw of the generator; the order of the rows or the labels are different."
        )


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"class_{number}" for number in range(count))


def _published(
    kind: str,
    title: str,
    class_names: tuple[str, ...],
    needs: str,
    order: Callable[[str], str] | None,
    figures: Figures,
) -> Published:
    name = f"spml-{kind}"
    return Published(
        name=name,
        title=f"{title}, single positive (SPML)",
        paper="Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021",
        made="rebuilt",
        needs=needs,
        roles=ROLES,
        figures=figures,
        build=partial(_build, name, class_names, needs, order),
        key=order or unchanged,
    )


SPLITS = (
    _published(
        "coco",
        "COCO 2014",
        COCO,
        "COCO 2014 train and val without unlabelled images",
        coco_number,
        Figures(train=65665, val=16416, test=40137, classes=80, cardinality=2.9366, observed=82081),
    ),
    _published(
        "voc",
        "VOC 2012",
        VOC,
        "VOC 2012 train and val with difficult objects as negatives: voc:VOCdevkit/VOC2012 with "
        "train=train, test=val and difficult=negative",
        stem,
        Figures(train=4574, val=1143, test=5823, classes=20, observed=5717),
    ),
    _published(
        "nus",
        "NUS-WIDE",
        _numbered(81),
        "SPML's formatted NUS-WIDE files (126,034 and 84,226 images), which cannot be rebuilt",
        None,
        Figures(train=100827, val=25207, test=84226, classes=81, cardinality=1.9),
    ),
    _published(
        "cub",
        "CUB-200-2011",
        _numbered(312),
        "CUB-200-2011 with its 312 attributes, certainty ignored",
        None,
        Figures(
            train=4795,
            val=1199,
            test=5794,
            classes=312,
            test_cardinality=31.5,
        ),
    ),
)
