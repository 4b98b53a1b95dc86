"""The long tail and every regime at the size of COCO 2017 (118,287 x 80), with peak memory.

    python benchmarks/regimes.py [LABELS.npz]

LABELS.npz holds `indptr`, `indices` and `shape` of a CSR matrix; without it, a matrix with the size
and density of COCO is drawn. Lines marked `sparse` start from sparse labels. The peer of every line
is one NumPy pass over N * C uniform numbers.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable

import numpy as np

from benchkit.base import random
from splits import long_tail, regimes
from splits.labels import SparseLabels


def main() -> None:
    labels = _labels(sys.argv[1]) if len(sys.argv) > 1 else _random_labels()
    ids = np.arange(len(labels)).astype(str)
    classes = [f"class {c}" for c in range(labels.shape[1])]
    start = time.perf_counter()
    np.random.default_rng(0).random(labels.shape)
    peer = time.perf_counter() - start
    print(f"{labels.shape[0]} x {labels.shape[1]}; one pass of uniforms takes {peer:.3f} s")
    uniform = random.image_class_uniform(0, "regime", ids, classes)
    for text in ("full", "pal:0.5", "ppl:0.5", "spl", "missing:0.4", "candidates:0.1"):
        regime = regimes.parse(text)
        _time(text, peer, lambda: regimes.observe(labels, regime, uniform))
    weights = np.arange(1.0, labels.shape[1] + 1)
    image_numbers = random.image_uniform(0, "regime/instance", ids)
    for text, arrays in (
        ("pal:0.5,counts=exact", {}),
        ("ppl:0.5,counts=bernoulli", {}),
        ("missing:0.4,by-class=weights", {"class_weights": weights}),
        (
            "candidates:0.1,by-class=weights,by-image=0.5",
            {"class_weights": weights, "image_numbers": image_numbers},
        ),
    ):
        regime = regimes.parse(text)
        _time(text, peer, lambda: regimes.observe(labels, regime, uniform, **arrays))
    sparse = SparseLabels.from_dense(labels, 0)
    for text in ("pal:0.1", "ppl:0.5", "candidates:0.1"):
        regime = regimes.parse(text)
        _time(f"{text} sparse", peer, lambda: regimes.observe(sparse, regime, uniform))
    targets = long_tail.pareto_targets(labels.shape[1], maximum=1200)
    _time("long tail", peer, lambda: long_tail.sample(labels, targets, uniform, uniform))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of the process {peak:.0f} MiB")


def _time(name: str, peer: float, function: Callable[[], object]) -> None:
    start = time.perf_counter()
    function()
    seconds = time.perf_counter() - start
    print(f"{name:46} {seconds:.3f} s, {seconds / peer:.1f} passes")


def _random_labels() -> np.ndarray:
    return (random.generator(0, "labels").random((118_287, 80)) < 0.0367).astype(np.int8)


def _labels(path: str) -> np.ndarray:
    with np.load(path, allow_pickle=False) as file:
        indptr, indices, shape = file["indptr"], file["indices"], file["shape"]
    labels = np.zeros(tuple(shape), np.int8)
    labels[np.repeat(np.arange(len(labels)), np.diff(indptr)), indices] = 1
    return labels


if __name__ == "__main__":
    main()
