"""PLT-VOC and PLT-COCO, the long-tailed data sets of COMIC with missing positives.

DBL's generator draws the images with other parameters. The rule of the missing labels is not
public: `--regime missing:Q` is the rule of this project; label files in the authors' format can be
imported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from splits import long_tail
from splits.errors import InputError
from splits.long_tail import PythonSample
from splits.published.core import lists, match
from splits.published.core.contract import Figures, Published, PublishedRows, Tools
from splits.published.core.names import coco_number, stem
from splits.source import Source
from splits.sources import arrays, voc

PAPER = "Zhang et al., Learning in Imperfect Environment (COMIC), ICCV 2023"
VOC_NEEDS = (
    "VOC 2012 trainval for training and VOC 2007 test for testing, with difficult objects as "
    "positives: voc:VOCdevkit/VOC2012 with test_root=VOCdevkit/VOC2007"
)
COCO_NEEDS = "COCO 2017 train and val, and one of the list files images, labels and voc"
LABEL_FILES = {
    "labels": "complete training labels in COMIC's format, JSON {file: [C numbers]}; by default "
    "those of the source",
    "observed": "the training labels with missing positives, in the same format; 0 is unknown",
}


def draw_voc(labels: np.ndarray, sample: PythonSample) -> np.ndarray:
    """The rows of VOC 2012 trainval in PLT-VOC: maximum 1400, b 12, no cap.

    Args:
        labels: int8 [N, 20], rows in the order of VOC's list, with difficult objects as positives.
        sample: `random.Random(0).sample`.
    """
    targets = long_tail.pareto_targets(labels.shape[1], b=12.0, maximum=1400)
    return long_tail.sample_dbl(labels, targets, sample, cap=False)


def draw_coco(labels: np.ndarray, voc_labels: np.ndarray, sample: PythonSample) -> np.ndarray:
    """The rows of COCO train2017 in PLT-COCO: maximum 1400, b 10, capped, after the draw for VOC.

    The authors' script uses one generator for both, VOC first.

    Args:
        labels: int8 [N, 80], rows in the order of COCO's file.
        voc_labels: as in `draw_voc`.
        sample: `random.Random(0).sample`.
    """
    draw_voc(voc_labels, sample)
    targets = long_tail.pareto_targets(labels.shape[1], b=10.0, maximum=1400)
    return long_tail.sample_dbl(labels, targets, sample, cap=True)


def build_voc(source: Source | None, files: Mapping[str, Path], tools: Tools) -> PublishedRows:
    """Draw the 2569 published images."""
    source = match.needs_source(source, "plt-voc", VOC_NEEDS)
    pool, test = match.part_rows(source, "plt-voc", "the test set of VOC 2007")
    with match.drawn_from(source, "plt-voc", VOC_NEEDS):
        train = pool[draw_voc(match.dense(source)[pool], tools.python_sampler(0))]
    notes: tuple[str, ...] = ()
    if "labels" not in files:
        notes = (
            "difficult objects are positive here, as in the draw; the authors' label files have "
            "them negative (--published-file labels=FILE takes such a file)",
        )
    return _label(source, train, test, files, stem, notes)


def build_coco(source: Source | None, files: Mapping[str, Path], tools: Tools) -> PublishedRows:
    """Take the images from a list, or draw them after the images of VOC."""
    source = match.needs_source(source, "plt-coco", COCO_NEEDS)
    pool, test = match.part_rows(source, "plt-coco", "COCO val2017")
    notes: tuple[str, ...] = ()
    if "images" in files:
        train = match.find_rows(source, pool, lists.ids(files["images"]), coco_number)
    elif "labels" in files:
        listed = lists.comic(files["labels"], len(source.class_names))
        train = match.find_rows(source, pool, listed, coco_number)
    elif "voc" in files:
        sample = tools.python_sampler(0)
        train = pool[draw_coco(match.dense(source)[pool], _voc_labels(files["voc"]), sample)]
        notes = (
            "these images are drawn by the published generator; no published list was there to "
            "compare them with, only their number",
        )
    else:
        raise InputError(f"plt-coco needs {COCO_NEEDS}.")
    return _label(source, train, test, files, coco_number, notes)


def _voc_labels(path: Path) -> np.ndarray:
    """The labels of VOC 2012 trainval, from its folder or from arrays."""
    source = voc.load(path, test="none") if path.is_dir() else arrays.load(path)
    labels = match.dense(source)
    return labels if source.part is None else labels[source.part == match.TRAIN]


def _label(
    source: Source,
    train: np.ndarray,
    test: np.ndarray,
    files: Mapping[str, Path],
    key: Callable[[str], str],
    notes: tuple[str, ...],
) -> PublishedRows:
    """Replace the labels of the source and the regime by those of COMIC's files, if any."""
    labels = match.dense(source)
    if "labels" in files:
        complete = _labels_of(source, train, files["labels"], key)
        labels = labels.copy()
        labels[train] = complete
        source = dataclasses.replace(source, labels=labels)
    observed = regime = None
    if "observed" in files:
        seen = _labels_of(source, train, files["observed"], key) == 1
        true = labels[train] == 1
        if (seen & ~true).any():
            row, column = np.argwhere(seen & ~true)[0]
            raise InputError(
                f"{files['observed']}: image {source.image_ids[train[row]]!s} has the observed "
                f"label {source.class_names[column]!r}, but not in its complete labels."
            )
        if (empty := true.any(axis=1) & ~seen.any(axis=1)).any():
            hint = "." if "labels" in files else "; is the file of complete labels labels=FILE?"
            raise InputError(
                f"{files['observed']}: image {source.image_ids[train[int(empty.argmax())]]!s} has "
                f"no observed label; each image must keep at least one{hint}"
            )
        observed = np.full(labels.shape, -1, np.int8)
        observed[train] = np.where(seen, np.int8(1), np.int8(-1))
        regime = f"missing:{round(1 - seen.sum() / true.sum(), 4):g}"
    return PublishedRows(
        source=match.with_files(source, files),
        train=train,
        test=test,
        observed=observed,
        regime=regime,
        notes=notes,
    )


def _labels_of(
    source: Source, train: np.ndarray, path: Path, key: Callable[[str], str]
) -> np.ndarray:
    """The labels in a COMIC file of exactly the training images, int8 [n, C]."""
    listed = lists.comic(path, len(source.class_names))
    rows = match.find_rows(source, train, listed, key)
    if len(rows) != len(train):
        raise InputError(f"{path}: it has {len(rows)} images; the split has {len(train)}.")
    labels = np.empty((len(train), len(source.class_names)), np.int8)
    position = {row: index for index, row in enumerate(train.tolist())}
    labels[[position[row] for row in rows.tolist()]] = listed.labels
    return labels


SPLITS = (
    Published(
        name="plt-voc",
        title="PLT-VOC",
        paper=PAPER,
        made="rebuilt",
        needs=VOC_NEEDS,
        roles=LABEL_FILES,
        figures=Figures(train=2569, test=4952, classes=20),
        build=build_voc,
        key=stem,
        reference="observed",
    ),
    Published(
        name="plt-coco",
        title="PLT-COCO",
        paper=PAPER,
        made="imported",
        needs=COCO_NEEDS,
        roles={
            "images": "the 2962 image ids, one per line",
            "voc": "VOC 2012 trainval (its folder, or .npz arrays), to draw the images instead: "
            "the generator drew for VOC first",
            **LABEL_FILES,
        },
        figures=Figures(train=2962, test=5000, classes=80),
        build=build_coco,
        key=coco_number,
        reference="observed",
    ),
)
