"""The single-positive splits of SPML: COCO, VOC, NUS-WIDE and CUB, one positive per image.

Two generators, both `numpy.random.RandomState(1200)`: one for the observed labels, which walks
over the rows of the whole training file, and a fresh one for the validation part, the last fifth
of a permutation of that file. The order of the rows decides what both of them draw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from splits import regimes
from splits.errors import InputError
from splits.published.core import lists, match
from splits.published.core.contract import Figures, Published, PublishedRows, Tools
from splits.published.core.names import COCO, VOC, coco_number, stem, whole
from splits.source import Source

SEED = 1200
VALIDATION = 0.2
FILES = ("train_labels", "train_images", "val_labels", "val_images")
ROLES = {
    "train_labels": "formatted_train_labels.npy; with the three others, no source is needed",
    "train_images": "formatted_train_images.npy",
    "val_labels": "formatted_val_labels.npy, the test part",
    "val_images": "formatted_val_images.npy",
    "observed": "formatted_train_labels_obs.npy, to compare with the labels drawn",
    "classes": "the class names, one per line, where there is no source",
}

_CODES = {1: 1, -1: 0, 0: -1}  # theirs to ours


def split(count: int, state: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """SPML's training and validation rows.

    Args:
        count: rows of the training file.
        state: NumPy's generator; seed 1200 anew gives the published split.

    Returns:
        int64 rows, both ascending; the second are `round(0.2 count)`.

    Source: Cole et al., CVPR 2021, data loading of the authors' code.
    """
    held = round(VALIDATION * count)
    order = state.permutation(count)
    return np.sort(order[: count - held]), np.sort(order[count - held :])


def _build(
    name: str,
    class_names: tuple[str, ...],
    needs: str,
    order: Callable[[str], str] | None,
    source: Source | None,
    files: Mapping[str, Path],
    tools: Tools,
) -> PublishedRows:
    """Draw labels and the validation part over the training rows in SPML's order."""
    if source is None:
        source, order = _from_files(name, class_names, needs, files), None
    elif any(role in files for role in (*FILES, "classes")):
        raise InputError(f"{name}: give a source, or SPML's files and no source, not both.")
    train, test = match.part_rows(match.needs_source(source, name, needs), name, "in SPML's files")
    if order is not None:
        train, test = (_sorted(source, rows, order) for rows in (train, test))
    labels = match.dense(source)
    if (labels == -1).any():
        raise InputError(f"{name}: the source has unknown labels; SPML knows all (VOC: negative).")
    drawn = regimes.spml_observe(labels[train], 1, 0, tools.numpy_state(SEED))
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
    absent = [role for role in FILES if role not in files]
    if absent:
        raise InputError(
            f"{name} needs {needs}; or, without a source, SPML's own files: "
            f"{', '.join(absent)} missing."
        )
    if "classes" in files:
        class_names = lists.names(files["classes"], len(class_names))
    train, test = (
        lists.spml(files[f"{part}_labels"], files[f"{part}_images"], len(class_names))
        for part in ("train", "val")
    )
    return match.listed_source(name, class_names, train, test, whole)


def _sorted(source: Source, rows: np.ndarray, order: Callable[[str], str]) -> np.ndarray:
    """The rows by their names as texts: 100012 comes before 9."""
    names = [order(str(source.image_ids[row])) for row in rows]
    return rows[np.array(sorted(range(len(names)), key=names.__getitem__), np.int64)]


def _compare(path: Path, drawn: np.ndarray) -> None:
    theirs = lists.spml_matrix(path, drawn.shape[1], (-1, 0, 1))
    if theirs.shape != drawn.shape:
        raise InputError(f"{path}: it has {len(theirs)} rows, the training file {len(drawn)}.")
    wrong = np.array([-1, 1, 0], np.int8)[theirs] != drawn  # codes 0, 1, -1 of theirs
    if wrong.any():
        row = int(wrong.any(axis=1).argmax())
        raise InputError(
            f"{path}: its row {row} is not what the generator draws, nor are "
            f"{int(wrong.any(axis=1).sum()) - 1} more; the rows stand in another order, or the "
            f"labels are other ones."
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
        key=order or whole,
    )


SPLITS = (
    _published(
        "coco",
        "COCO 2014",
        COCO,
        "COCO 2014 train and val, images without labels left out",
        coco_number,
        Figures(train=65665, val=16416, test=40137, classes=80, cardinality=2.9366, observed=82081),
    ),
    _published(
        "voc",
        "VOC 2012",
        VOC,
        "VOC 2012 train and val, difficult objects negative: voc:VOCdevkit/VOC2012 with "
        "train=train, test=val and difficult=negative",
        stem,
        Figures(train=4574, val=1143, test=5823, classes=20, observed=5717),
    ),
    _published(
        "nus",
        "NUS-WIDE",
        _numbered(81),
        "SPML's formatted NUS-WIDE files (126,034 and 84,226 images), which no script rebuilds",
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
