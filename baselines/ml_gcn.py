"""ML-GCN: a graph network over label embeddings produces the linear classifiers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.core import (
    Batch,
    Clock,
    Draw,
    Method,
    MethodInfo,
    Problem,
    Run,
    Setup,
    hyper,
    positives,
)
from baselines.core.statistics import class_counts, cooccurrence
from baselines.shared.binary_cross_entropy import bce

NEGATIVE_SLOPE = 0.2


@dataclass(frozen=True)
class MLGCNHyper:
    """Hyperparameters of the graph and of its network."""

    hidden: int = hyper(1024, "width between the two graph layers", search=(256, 512, 1024), low=1)
    threshold: float = hyper(
        0.4, "smallest P(j given i) of an edge", search=(0.1, 0.2, 0.4), low=0.0, high=1.0
    )
    neighbours: float = hyper(
        0.25,
        "total weight of the neighbours of a class; its own weight is 1",
        search=(0.1, 0.25, 0.5),
        low=0.0,
    )


def correlation(
    counts: Tensor, together: Tensor, threshold: float = 0.4, neighbours: float = 0.25
) -> Tensor:
    """The re-weighted correlation matrix with self-loops.

        P_ij = M_ij / n_i,  M_ii = 0;   E_ij = 1[P_ij >= t]  (off the diagonal)
        A = I + p E_ij / (sum_i E_ij + 1e-6)

    Args:
        counts: [C], n_i.
        together: M [C, C], the number of images with both i and j; the diagonal is ignored.
        threshold: t in [0, 1].
        neighbours: p.

    Returns:
        A [C, C]. A class without positives has an empty row.

    Source: Chen et al., CVPR 2019, the re-weighted correlation matrix as in the authors' code,
    which scales columns and adds the full identity.
    """
    identity = torch.eye(len(counts), dtype=counts.dtype, device=counts.device)
    probability = together / counts.clamp(min=1.0)[:, None]
    edges = (probability >= threshold).to(counts.dtype) * (1.0 - identity)
    # A class without images has P = 0, which would be an edge if the threshold is 0.
    edges = edges * (counts > 0).to(counts.dtype)[:, None]
    return identity + neighbours * edges / (edges.sum(0, keepdim=True) + 1e-6)


def normalised(adjacency: Tensor) -> Tensor:
    """A^ = (A D)^T D = D A^T D with D = diag(rowsum(A)^(-1/2)); note the transpose.

    Args:
        adjacency: A [C, C], every row with a positive sum.

    Returns:
        A^ [C, C].

    Source: the authors' code.
    """
    scale = adjacency.sum(1).rsqrt()
    return scale[:, None] * adjacency.T * scale[None, :]


def classifiers(adjacency: Tensor, embeddings: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """The classifiers W = A^ LeakyReLU_0.2(A^ E W1) W2, one row per class.

    Args:
        adjacency: A^ [C, C].
        embeddings: E [C, E].
        first: W1 [E, hidden].
        second: W2 [hidden, D].

    Returns:
        W [C, D]; the logits of features F [B, D] are F W^T.

    Source: Chen et al., CVPR 2019, with the layer sizes of the authors' code.
    """
    hidden = F.leaky_relu(adjacency @ (embeddings @ first), NEGATIVE_SLOPE)
    return adjacency @ (hidden @ second)


def graph_layer(name: str, inputs: int, outputs: int, draw: Draw) -> dict[str, Tensor]:
    """A weight [inputs, outputs] without bias, uniform in +-1/sqrt(outputs) as in the code."""
    bound = 1.0 / math.sqrt(outputs)
    return {f"{name}.weight": (draw.uniform(f"{name}.weight", inputs, outputs) * 2.0 - 1.0) * bound}


class MLGCN(Method):
    """A graph network over the classes produces the classifiers; it replaces the recipe's head."""

    info = MethodInfo(
        key="ml-gcn",
        title="ML-GCN",
        paper="Chen et al., Multi-Label Image Recognition with Graph Convolutional Networks, "
        "CVPR 2019",
        year=2019,
        equation="z = F (A^ LReLU(A^ E W1) W2)^T,  L = mean_{b,c} [ softplus(z) - y z ],  "
        "A^ from co-occurrence with P(j|i) >= 0.4",
        unknown="negative",
        needs=("class counts", "class co-occurrence", "class embeddings (else the identity)"),
        family="plain",
        summary="classifiers from a graph of labels",
    )
    Hyper = MLGCNHyper

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """Create two graph layers, the adjacency and the embeddings."""
        labels = problem.labels
        adjacency = normalised(
            correlation(
                class_counts(labels),
                cooccurrence(labels),
                self.hyper.threshold,
                self.hyper.neighbours,
            )
        )
        embeddings = problem.class_embeddings
        if embeddings is None:
            embeddings = torch.eye(problem.num_classes, device=labels.device)
        embeddings = embeddings.to(device=labels.device, dtype=torch.float32)
        hidden = self.hyper.hidden
        params = graph_layer("gcn.first", embeddings.shape[1], hidden, draw)
        params |= graph_layer("gcn.second", hidden, problem.feature_dim, draw)
        return Setup(params, constants={"adjacency": adjacency, "embeddings": embeddings})

    def logits(self, run: Run, features: Tensor) -> Tensor:
        """Compute F W^T: [B, D] -> [B, C]."""
        weights = classifiers(
            run.constants["adjacency"],
            run.constants["embeddings"],
            run.params["gcn.first.weight"],
            run.params["gcn.second.weight"],
        )
        return features @ weights.T

    def loss(self, run: Run, logits: Tensor, batch: Batch, clock: Clock, draw: Draw) -> Tensor:
        """Apply `bce` (the multi-label soft margin loss); unknown labels count as negative."""
        return bce(logits, positives(batch.observed, logits.dtype))
