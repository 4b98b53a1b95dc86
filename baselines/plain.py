"""PLAIN-style: candidate labels smoothed over a graph of images and a graph of classes.

Similar images should have similar labels, and classes that often occur together should be predicted
together. Before each epoch the soft labels are propagated for some steps over both graphs, within
the candidate sets. The classifier is trained on the result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.core import Batch, Clock, Draw, Method, MethodInfo, Problem, Run, Setup, Step, hyper
from baselines.shared.binary_cross_entropy import bce
from baselines.shared.candidate_labels import REGIMES, candidates_of, corrections

_ROWS = 1024  # rows of the graph per block


def nearest(features: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The nearest other images by cosine, in blocks of rows: time N^2 D, memory N.

    Args:
        features: [N, D].
        count: k, below N.

    Returns:
        Their rows, int64 [N, k], and weights [N, k]: the cosines, clamped at zero and normalised to
        sum to one in each row (to zero if no cosine is positive).
    """
    unit = F.normalize(features, dim=1)
    blocks = []
    for start in range(0, len(unit), _ROWS):
        cosine = unit[start : start + _ROWS] @ unit.T
        here = torch.arange(len(cosine), device=unit.device)
        cosine[here, start + here] = -torch.inf
        blocks.append(cosine.topk(count, dim=1))
    rows = torch.cat([top.indices for top in blocks])
    weights = torch.cat([top.values for top in blocks]).clamp(min=0.0)
    tiny = torch.finfo(weights.dtype).tiny
    return rows, weights / weights.sum(1, keepdim=True).clamp(min=tiny)


def smooth(rows: Tensor, weights: Tensor, labels: Tensor) -> Tensor:
    """The product A Z with the graph A of `nearest`: [N, C] -> [N, C]."""
    blocks = zip(rows.split(_ROWS), weights.split(_ROWS), strict=True)
    return torch.cat([torch.einsum("nk,nkc->nc", w, labels[r]) for r, w in blocks])


def label_graph(labels: Tensor) -> Tensor:
    """Co-occurrence of soft labels: L = Z^T Z with zero diagonal and normalised rows, [C, C]."""
    together = (labels.T @ labels).fill_diagonal_(0.0)
    tiny = torch.finfo(labels.dtype).tiny
    return together / together.sum(1, keepdim=True).clamp(min=tiny)


def stretched(labels: Tensor) -> Tensor:
    """Rows rescaled to [0, 1]: Z <- (Z - min Z) / (max Z - min Z).

    Labels outside of the candidates are zero, so the minimum is zero unless all labels are
    candidates. A constant row becomes one, or remains zero.

    Args:
        labels: Z [N, C], non-negative.

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
    """Propagate soft labels for some steps over both graphs.

        L = `label_graph` of Z;   repeat: Z <- s ((1 - a - b) s + a A Z + b Z L)
        finally each row is rescaled to [0, 1]: `stretched`

    Args:
        labels: Z [N, C], the initial soft labels.
        candidates: s [N, C], 0 or 1.
        rows: [N, k], see `nearest`.
        weights: [N, k], see `nearest`.
        images: a, the weight of the image graph.
        classes: b, the weight of the label graph; a + b at most 1.
        steps: number of steps.

    Returns:
        [N, C] in [0, 1], zero outside of the candidates.
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

    neighbours: int = hyper(10, "number of neighbours of an image", search=(5, 10, 20), low=1)
    images: float = hyper(0.6, "weight of the image graph", search=(0.2, 0.8), low=0.0, high=0.8)
    classes: float = hyper(0.2, "weight of the label graph", search=(0.0, 0.2), low=0.0, high=0.2)
    steps: int = hyper(5, "propagation steps before each epoch", search=(1, 5, 10), low=1)


class PLAIN(Method):
    """Propagation over images and labels, then BCE on the soft labels [reconstruction]."""

    info = MethodInfo(
        key="plain",
        title="PLAIN-style",
        paper="Wang et al., Deep Partial Multi-Label Learning with Graph Disambiguation, IJCAI "
        "2023",
        year=2023,
        equation="before each epoch, T times: Z <- s ((1-a-b) s + a A Z + b Z L), then each "
        "row rescaled to [0, 1];  Z_0 = s;\n"
        "A: k nearest images by cosine, L: co-occurrence of Z, rows normalised;\n"
        "L = mean BCE(z, Z);  s = 0 only for known negatives",
        unknown="estimated",
        version="2",
        regimes=REGIMES,
        needs=("memory per image", "nearest neighbours"),
        family="candidates",
        summary="propagation over similar images and related labels",
    )
    Hyper = Hyper

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """Create the head, the soft labels, and space for the graph, which epoch 1 computes."""
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
        """Compute the graph in the first epoch, and propagate in every epoch."""
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
        """Apply `bce` to the soft labels of the batch."""
        target = run.memory["labels"][batch.rows]
        loss = bce(self.logits(run, batch.features), target)
        return Step(loss, corrected=corrections(batch.observed, target))
