"""VOC-LT (also VOC-MLT): 1142 images of VOC 2012 trainval, tested on VOC 2007."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from splits import long_tail
from splits.errors import InputError
from splits.published.core import lists, long_tailed, match
from splits.published.core.contract import Figures, Published, PublishedRows, Tools
from splits.published.core.names import VOC, stem
from splits.source import Source

NAME = "voc-lt"
NEEDS = (
    "VOC 2012 trainval for training and VOC 2007 test for testing, with difficult objects as "
    "positives: voc:VOCdevkit/VOC2012 with test_root=VOCdevkit/VOC2007"
)
TESTS_ON = "the test set of VOC 2007"


def build(source: Source | None, files: Mapping[str, Path], tools: Tools) -> PublishedRows:
    """Rebuild the split (seed 0, maximum 800, b 6), or import it from lists with labels."""
    if source is None:
        imported = long_tailed.from_lists(NAME, VOC, files)
        if imported is None:
            raise InputError(f"{NAME} needs {NEEDS}; or the list files train and test.")
        return imported
    match.needs_source(source, NAME, NEEDS)
    pool, test = match.part_rows(source, NAME, TESTS_ON)
    targets = long_tail.pareto_targets(len(source.class_names), b=6.0, maximum=800)
    labels = match.dense(source)[pool]
    with match.drawn_from(source, NAME, NEEDS):
        train = pool[long_tail.sample_dbl(labels, targets, tools.python_sampler(0), cap=False)]
    if "images" in files:
        listed = match.find_rows(source, pool, lists.ids(files["images"]), stem)
        if set(listed.tolist()) != set(train.tolist()):
            raise InputError(
                f"{files['images']}: the images differ from those that the generator draws."
            )
    return long_tailed.finish(source, files, (train, test), stem)


SPLITS = (
    Published(
        name=NAME,
        title="VOC-LT",
        paper="Wu et al., Distribution-Balanced Loss, ECCV 2020",
        made="rebuilt",
        needs=NEEDS,
        roles={
            "images": "DBL's img_id.txt, for comparison with the drawn images",
            **long_tailed.LABELLED,
            **long_tailed.STATISTICS,
        },
        figures=Figures(
            train=1142,
            test=4952,
            classes=20,
            counts=(
                6,
                34,
                8,
                14,
                154,
                17,
                249,
                29,
                479,
                4,
                240,
                48,
                11,
                20,
                775,
                100,
                5,
                82,
                7,
                64,
            ),
            groups=(6, 6, 8),
            cardinality=2.054,
            test_cardinality=1.541,
            train_digest="bb049382c0a432f9920f97b7c6a85f40b3676bb4da2ef1840aee02f88f72490c",
            test_digest="a4563c20a53f7d361ce0e8faa01c63c54047bdbffe43be65923f9cde798e74ce",
        ),
        build=build,
        key=stem,
    ),
)
