"""COMIC's tail model: one branch, trained by the multi-focal modifier alone."""

from __future__ import annotations

from dataclasses import dataclass

from baselines.comic_parts.branch import SingleBranch, SingleHyper
from baselines.core import MethodInfo, hyper


@dataclass(frozen=True)
class Hyper(SingleHyper):
    """Hyperparameters of the tail model."""

    step: int = hyper(
        12,
        "decay the rates tenfold every so many epochs",
        search=(12, 24, 40),
        paper={"coco": 12, "voc": 35},
        low=1,
    )


class COMICTail(SingleBranch):
    """The tail model of COMIC's table."""

    info = MethodInfo(
        key="comic-tail",
        title="COMIC Tail Model",
        paper="Zhang et al., Learning in Imperfect Environment: Multi-Label Classification with "
        "Long-Tailed Distribution and Partial Labels, ICCV 2023",
        year=2023,
        equation="L = -mean_{b,c} w_c [ y ln p + (1-y) (1-q)^(3 + w_c) ln q ],  "
        "q = min(1 - p + 0.05, 1),\nw_c = (1 - ln(n_c / max n))^(1/3),  z = 16 cos(f, w_c),  "
        "rates * 0.1 every 12 epochs",
        unknown="negative",
        regimes=("missing", "ppl", "spl", "pal", "full"),
        needs=("class counts", "class co-occurrence (mfm_kind=pfm)"),
        differs="The authors' code trains it with the co-occurrence variant (mfm_kind=pfm) and a "
        "log-softmax after the projection, sums over batch and classes, and selects the epoch on "
        "the test set. Head and tail model differ in the step of the learning rates only.",
        source="authors' code",
        reference="wannature/COMIC@1de14e5, loss/ (MFM, PFM) and models/CausalNormClassifier.py",
        tolerance="1e-9; step 1e-6 in float32",
        evidence=(
            "tests/baselines/test_comic.py::test_single_branch_is_the_modifier_alone",
            "tests/baselines/test_comic_losses.py::test_modifier_equals_the_authors_code",
            "tests/baselines/test_comic_losses.py::test_classifier_equals_the_authors_code",
            "tests/baselines/test_comic.py::test_rates_follow_the_branches",
        ),
    )
    Hyper = Hyper
