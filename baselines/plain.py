"""PLAIN-style: candidates' labels smoothed over a graph of images and a graph of classes.

Images that look alike should have like labels, and classes that go together should be found
together. Before each epoch the soft labels take some steps of propagation over both graphs, never
leaving the candidate sets; the classifier is trained on what results.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.bce import bce
from baselines.bce_candidates import REGIMES
from baselines.candidate_parts.labels import candidates_of
from baselines.core import (
    Batch,
    Clock,
    Draw,
    Method,
    MethodInfo,
    Problem,
    Run,
    Setup,
    Step,
    hyper,
)
from baselines.proden_ml import corrections

_ROWS = 1024  # of the graph at a time


def nearest(features: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The nearest other images by cosine, in blocks of rows: time N^2 D, memory N.

    Args:
        features: [N, D].
        count: k, below N.

    Returns:
        Their rows, int64 [N, k], and weights [N, k]: cosines, negative ones as zero, that sum to
        one in each row (to zero where no cosine is positive).
    """
    unit = F.normalize(features, dim=1)
    found = []
    for start in range(0, len(unit), _ROWS):
        cosine = unit[start : start + _ROWS] @ unit.T
        here = torch.arange(len(cosine), device=unit.device)
        cosine[here, start + here] = -torch.inf
        found.append(cosine.topk(count, dim=1))
    rows = torch.cat([top.indices for top in found])
    weights = torch.cat([top.values for top in found]).clamp(min=0.0)
    tiny = torch.finfo(weights.dtype).tiny
    return rows, weights / weights.sum(1, keepdim=True).clamp(min=tiny)


def smooth(rows: Tensor, weights: Tensor, labels: Tensor) -> Tensor:
    """A Z for the graph A of `nearest`: [N, C] -> [N, C]."""
    blocks = zip(rows.split(_ROWS), weights.split(_ROWS), strict=True)
    return torch.cat([torch.einsum("nk,nkc->nc", w, labels[r]) for r, w in blocks])


def label_graph(labels: Tensor) -> Tensor:
    """Co-occurrence of soft labels, L = Z^T Z without its diagonal, rows normalised: -> [C, C]."""
    together = (labels.T @ labels).fill_diagonal_(0.0)
    tiny = torch.finfo(labels.dtype).tiny
    return together / together.sum(1, keepdim=True).clamp(min=tiny)


def stretched(labels: Tensor) -> Tensor:
    """Rows from their least value to their greatest: Z <- (Z - min Z) / (max Z - min Z).

    A label outside the candidates is zero, so that the least value is too unless all are
    candidates. A row of one value everywhere becomes one, or stays zero.

    Args:
        labels: Z [N, C], not negative.

    Returns:
        [N, C] in [0, 1].
    """
    info = torch.finfo(labels.dtype)
    high, low = labels.amax(1, keepdim=True), labels.amin(1, keepdim=True)
    low = torch.where(high - low > 64.0 * info.eps * high, low, 0.0)
    return ((labels - low) / (high - low).clamp(min=info.tiny)).clamp(max=1.0)


def propagate(
    labels: Tensor,
    candidates: Tensor,
    rows: Tensor,
    weights: Tensor,
    *,
    images: float | Tensor,
    classes: float | Tensor,
    steps: int,
) -> Tensor:
    """Soft labels after some steps over both graphs.

        L = `label_graph` of Z;   repeat: Z <- s ((1 - a - b) s + a A Z + b Z L)
        finally each row is stretched to [0, 1]: `stretched`

    Args:
        labels: Z [N, C], the soft labels to start from.
        candidates: s [N, C], 0 or 1.
        rows: [N, k], see `nearest`.
        weights: [N, k], see `nearest`.
        images: a, the weight of the image graph.
        classes: b, the weight of the label graph; a + b at most 1.
        steps: how many.

    Returns:
        [N, C] in [0, 1], zero outside the candidates.
    """
    labels, candidates = labels.to(weights.dtype), candidates.to(weights.dtype)
    graph = label_graph(labels)
    for _ in range(steps):
        near = images * smooth(rows, weights, labels)
        labels = candidates * (
            (1.0 - images - classes) * candidates + near + classes * (labels @ graph)
        )
    return stretched(labels)


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters of PLAIN."""

    neighbours: int = hyper(10, "neighbours of an image", search=(5, 10, 20), low=1)
    images: float = hyper(0.6, "weight of the image graph", search=(0.2, 0.8), low=0.0, high=0.8)
    classes: float = hyper(0.2, "weight of the label graph", search=(0.0, 0.2), low=0.0, high=0.2)
    steps: int = hyper(5, "steps of propagation before an epoch", search=(1, 5, 10), low=1)


class PLAIN(Method):
    """Propagation over images and labels, then BCE on the soft labels [reconstruction]."""

    info = MethodInfo(
        key="plain",
        title="PLAIN-style",
        paper="Wang et al., Deep Partial Multi-Label Learning with Graph Disambiguation, IJCAI "
        "2023",
        year=2023,
        equation="before each epoch, T times: Z <- s ((1-a-b) s + a A Z + b Z L), then each "
        "row from its least to its greatest;  Z_0 = s;\n"
        "A: k nearest images by cosine, L: co-occurrence of Z, rows normalised;\n"
        "L = mean BCE(z, Z);  s = 0 only for known negatives",
        unknown="estimated",
        version="2",
        regimes=REGIMES,
        needs=("memory per image", "nearest neighbours"),
        differs="Reconstructed from the abstract; a = 0.6 and b = 0.2 are ours. Each epoch's "
        "propagation goes on from the last one's labels and does not see the classifier. "
        "Self-loops are left out of both graphs. Rows are stretched to [0, 1], from a least value "
        "that is 0 unless all labels are candidates; a row of one value everywhere is 1. "
        "The graph is of the features as given, found once in time N^2 D.",
        source="reconstruction",
        reference="the paper's abstract, by an implementation in NumPy",
        tolerance="1e-9",
        evidence=(
            "tests/baselines/test_candidates_plain.py::test_goes_on_propagating_from_epoch_to_epoch",
            "tests/baselines/test_candidates_plain.py::test_propagation_in_double",
            "tests/baselines/test_candidates_plain.py::test_nearest_are_those_of_greatest_cosine",
        ),
    )
    Hyper = Hyper

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """The head, the soft labels, and room for the graph that the first epoch finds."""
        setup = super().setup(problem, draw)
        candidates = candidates_of(problem.observed)
        shape = problem.num_images, min(self.hyper.neighbours, problem.num_images - 1)
        setup.memory["labels"] = candidates
        setup.memory["neighbours"] = candidates.new_zeros(shape, dtype=torch.int64)
        setup.memory["weights"] = candidates.new_zeros(shape)
        return setup

    def epoch_start(
        self, run: Run, problem: Problem, features: Tensor, clock: Clock, draw: Draw
    ) -> Run:
        """The graph in the first epoch; the propagation in every one."""
        memory = dict(run.memory)
        if clock.stage == 0 and clock.epoch == 1:
            count = memory["weights"].shape[1]
            memory["neighbours"], memory["weights"] = nearest(features, count)
        memory["labels"] = propagate(
            memory["labels"],
            candidates_of(problem.observed),
            memory["neighbours"],
            memory["weights"],
            images=self.hyper.images,
            classes=self.hyper.classes,
            steps=self.hyper.steps,
        )
        return replace(run, memory=memory)

    def step(self, run: Run, batch: Batch, clock: Clock, draw: Draw) -> Step:
        """Binary cross-entropy on the soft labels of the batch's rows."""
        target = run.memory["labels"][batch.rows]
        loss = bce(self.logits(run, batch.features), target)
        return Step(loss, corrected=corrections(batch.observed, target))
