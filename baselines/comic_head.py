"""The head model of COMIC: one branch, trained with the multi-focal modifier loss alone."""

from __future__ import annotations

from dataclasses import dataclass

from baselines.core import MethodInfo, hyper
from baselines.shared.comic_branch import SingleBranch, SingleHyper


@dataclass(frozen=True)
class Hyper(SingleHyper):
    """Hyperparameters of the head model."""

    step: int = hyper(
        40,
        "epochs between decays of the rates by a factor of ten",
        search=(12, 24, 40),
        paper={"coco": 40, "voc": 12},
        low=1,
    )


class COMICHead(SingleBranch):
    """The head model in the tables of COMIC."""

    info = MethodInfo(
        key="comic-head",
        title="COMIC Head Model",
        paper="Zhang et al., Learning in Imperfect Environment: Multi-Label Classification with "
        "Long-Tailed Distribution and Partial Labels, ICCV 2023",
        year=2023,
        equation="L = -mean_{b,c} w_c [ y ln p + (1-y) (1-q)^(3 + w_c) ln q ],  "
        "q = min(1 - p + 0.05, 1),\nw_c = (1 - ln(n_c / max n))^(1/3),  z = 16 cos(f, w_c),  "
        "f = log softmax(P x),\nrates * 0.1 every 40 of 40 epochs",
        unknown="negative",
        version="2",
        regimes=("missing", "ppl", "spl", "pal", "full"),
        needs=("class counts", "class co-occurrence (mfm_kind=pfm)", "its own learning rates"),
        family="both",
        summary="the head model of `comic`: one branch, the multi-focal modifier",
    )
    Hyper = Hyper
