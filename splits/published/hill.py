"""The partially labelled COCO 2014 lists of Hill and SPLC ("robust-loss"): 75 %, 40 %, single."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from splits.errors import InputError
from splits.published.core import lists, match
from splits.published.core.contract import Figures, Published, PublishedRows, Tools
from splits.published.core.names import coco_number
from splits.source import Source

NEEDS = (
    "COCO 2014 train and val without unlabelled images, and the list file observed "
    "(dataset/{file} of the authors)"
)

# The number of positives of each image -> the number that the list keeps.
KeptCount = Callable[[np.ndarray], np.ndarray]


def _build(
    name: str,
    needs: str,
    regime: str,
    kept_count: KeptCount,
    source: Source | None,
    files: Mapping[str, Path],
    tools: Tools,
) -> PublishedRows:
    """Take observed labels from the list, true labels and the test part from COCO."""
    source = match.needs_source(source, name, needs)
    if "observed" not in files:
        raise InputError(f"{name} needs {needs}.")
    if len(source.class_names) != 80:
        raise InputError(f"{name}: {source.name} has {len(source.class_names)} classes, not 80.")
    pool, test = match.part_rows(source, name, "COCO val2014")
    listed = lists.robust_loss(files["observed"], len(source.class_names))
    train = match.find_rows(source, pool, listed, coco_number)
    true = match.dense(source)[train] == 1
    _check_subset(listed, true, source.class_names)
    _check_counts(listed, true, kept_count)
    observed = np.full(source.labels.shape, -1, np.int8)
    observed[train] = np.where(listed.labels == 1, np.int8(1), np.int8(-1))
    return PublishedRows(
        source=match.with_files(source, files),
        train=train,
        test=test,
        observed=observed,
        regime=regime,
        notes=(
            "labels that the list leaves out are unknown here; the authors' code reads them as "
            "negative",
        ),
    )


def _check_subset(listed: lists.LabelList, true: np.ndarray, names: tuple[str, ...]) -> None:
    wrong = (listed.labels == 1) & ~true
    if wrong.any():
        row, column = np.unravel_index(int(wrong.argmax()), wrong.shape)
        raise InputError(
            f"{listed.path}, {listed.locations[row]}: {listed.names[row]!r} has the label "
            f"{names[column]!r}, but not in the source; are the classes in the order of COCO's "
            f"category ids?"
        )


def _check_counts(listed: lists.LabelList, true: np.ndarray, kept_count: KeptCount) -> None:
    kept, expected = (listed.labels == 1).sum(axis=1), kept_count(true.sum(axis=1))
    wrong = kept != expected
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"{listed.path}, {listed.locations[row]}: {kept[row]} of {int(true[row].sum())} labels "
            f"are kept; the published list keeps {expected[row]}."
        )


def _published(
    level: str, file: str, regime: str, positives: int, kept_count: KeptCount, digest: str
) -> Published:
    name, needs = f"hill-coco-{level}", NEEDS.format(file=file)
    return Published(
        name=name,
        title=f"COCO 2014, {'single positive' if level == 'single' else level + ' % left'} (Hill)",
        paper="Zhang et al., Simple and Robust Loss Design for Multi-Label Learning with Missing "
        "Labels, arXiv 2112.07368",
        made="imported",
        needs=needs,
        roles={"observed": f"the authors' {file}, `file.jpg, i j k` per line"},
        figures=Figures(
            train=82081,
            test=40137,
            classes=80,
            cardinality=2.9366,
            observed=positives,
            observed_digest=digest,
        ),
        build=partial(_build, name, needs, regime, kept_count),
        key=coco_number,
    )


SPLITS = (
    _published(
        "75",
        "coco_train_0.75left.txt",
        "ppl:0.75",
        181422,
        lambda n: n // 2 + 1,
        "d41278eec9371ff43b50dcc21ef16a6016b01f0746c0fe46b151bbe66f2b6193",
    ),
    _published(
        "40",
        "coco_train_0.4left.txt",
        "ppl:0.4",
        96251,
        lambda n: n // 5 + 1,
        "4881e21b3835afcabefb3b7edee1deda0d195b2a043f262ddf611052bbc7ae31",
    ),
    _published(
        "single",
        "coco_train_singlelabel.txt",
        "spl",
        82081,
        np.ones_like,
        "ecd3976163fbeee1ee5ea3270965cb7f6dbadda2739447afbe606cd40b0d4be1",
    ),
)
