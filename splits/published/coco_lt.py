"""COCO-LT (also COCO-MLT): 1909 images of COCO train2017, tested on val2017."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from splits.errors import InputError
from splits.published.core import lists, long_tailed, match
from splits.published.core.contract import Figures, Published, PublishedRows, Tools
from splits.published.core.names import COCO, coco_number
from splits.source import Source

NAME = "coco-lt"
NEEDS = (
    "the list file images (DBL's longtail2017/img_id.pkl) and COCO 2017 train and val, with the "
    "unlabelled images of val; or the list files train and test (LMPT) and no source"
)


def build(source: Source | None, files: Mapping[str, Path], tools: Tools) -> PublishedRows:
    """Take the images from a list, and the labels from COCO or from lists with labels."""
    if source is None:
        imported = long_tailed.from_lists(NAME, COCO, files)
        if imported is None:
            raise InputError(f"{NAME} needs {NEEDS}.")
        return imported
    match.needs_source(source, NAME, NEEDS)
    pool, test = match.part_rows(source, NAME, "COCO val2017")
    if "images" not in files:
        raise InputError(
            f"{NAME} needs DBL's list of images, --published-file images=img_id.pkl; the published "
            f"generator is not known to reproduce this list for COCO."
        )
    train = match.find_rows(source, pool, lists.ids(files["images"]), coco_number)
    return long_tailed.finish(source, files, (train, test), coco_number)


# fmt: off
COUNTS = (
    1128, 37, 276, 32, 9, 41, 18, 87, 20, 50, 11, 13, 8, 97, 19, 49, 70, 17, 7, 10,
    8, 6, 7, 7, 100, 39, 189, 31, 24, 11, 12, 8, 35, 10, 25, 21, 17, 10, 20, 460,
    84, 498, 126, 207, 173, 366, 39, 35, 44, 36, 29, 25, 14, 45, 16, 73, 585, 153, 164, 44,
    624, 25, 200, 137, 70, 89, 73, 127, 91, 175, 9, 237, 119, 292, 87, 113, 15, 21, 6, 11,
)
# fmt: on

SPLITS = (
    Published(
        name=NAME,
        title="COCO-LT",
        paper="Wu et al., Distribution-Balanced Loss, ECCV 2020",
        made="imported",
        needs=NEEDS,
        roles={
            "images": "DBL's longtail2017/img_id.pkl, which is plain text",
            **long_tailed.LABELLED,
            **long_tailed.STATISTICS,
        },
        figures=Figures(
            train=1909,
            test=5000,
            classes=80,
            counts=COUNTS,
            groups=(22, 33, 25),
            cardinality=4.356,
            test_cardinality=2.926,
            train_digest="caa714790f9f5103c233696df97971a8836455c982240b93037bfb06946c2827",
            test_digest="9680b9894108e1368aa00a2e4bee29dbf546ec2199ff44417913cb67e6a839f7",
        ),
        build=build,
        key=coco_number,
    ),
)
