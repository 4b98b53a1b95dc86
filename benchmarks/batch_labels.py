"""Training on labels that stay compressed until a batch needs them, against an array of them.

    python benchmarks/batch_labels.py

Labels drawn as in `scale.py` (2.4 positives and 2.6 negatives an image, the rest unknown), features
of 16 numbers, BCE, batches of 256. Each line is a process of its own; its peak memory is the
process's, less what it had before the labels came. The last line is as many images by the 19,957
classes of the image-level labels, which no array of this machine would hold (32 GiB).
"""

from __future__ import annotations

import itertools
import json
import resource
import subprocess
import sys
import time

IMAGES, BATCH, STEPS, DIM = 1_743_042, 256, 1000, 16
LINES = [("array", 600, STEPS), ("compressed", 600, STEPS), ("compressed", 19_957, STEPS // 10)]


def main() -> None:
    seconds = {}
    for kind, classes, steps in LINES:
        command = [sys.executable, __file__, kind, str(classes), str(steps)]
        text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found = json.loads(text)
        seconds[kind, classes] = found["step"]
        print(
            f"{IMAGES:,} x {classes:,} {kind:10}  setup {found['setup']:5.2f} s  "
            f"{found['step'] * 1e3:6.2f} ms per step  "
            f"peak {found['peak']:6.0f} MiB above the {found['before']:.0f} of imports and features"
        )
    ratio = seconds["compressed", 600] / seconds["array", 600]
    print(f"a step on compressed labels takes {ratio:.2f} times one on an array")


def measure(kind: str, classes: int, steps: int) -> None:
    """Train so many steps; prints JSON."""
    import numpy as np
    import torch

    from baselines.bce import BCE
    from baselines.core import LabelTable, Problem
    from baselines.core.labels import CompressedTable
    from benchkit.training.recipe import Recipe
    from benchkit.training.trainer import TrainingSet, train

    class Short(BCE):
        """BCE whose epoch has as many steps as are timed."""

        def epoch_length(self, problem: Problem, stage: int) -> int:
            return steps * BATCH

    torch.set_num_threads(1)
    features = torch.from_numpy(
        np.random.default_rng(1).standard_normal((IMAGES, 1, DIM), dtype=np.float32)
    )
    before = _peak()
    indptr, indices, values = (torch.from_numpy(part) for part in _draw(np, classes))
    table: LabelTable = CompressedTable((IMAGES, classes), indptr, indices, values, -1)
    if kind == "array":
        array = torch.empty(IMAGES, classes, dtype=torch.int8)  # more than `whole` would give
        at = 0
        for block in table.blocks():
            array[at : at + len(block)] = block
            at += len(block)
        table = LabelTable.of(array)
    data = TrainingSet(features, table, table, "pal", torch.zeros(classes, dtype=torch.int64))
    times = []
    recipe = Recipe(epochs=3, batch=BATCH, sampler="method")
    began = time.perf_counter()
    train([Short()], [0], data, recipe, tick=lambda: times.append(time.perf_counter()))
    # The first epoch includes what is set up; the others are steps and a permutation.
    step = min(b - a for a, b in itertools.pairwise(times)) / steps
    found = {"setup": times[0] - began - step * steps, "step": step}
    json.dump({**found, "before": before, "peak": _peak() - before}, sys.stdout)


def _draw(np, classes: int) -> tuple:
    """Compressed rows, classes by a power of their rank, positives first where both were drawn."""
    random = np.random.default_rng(0)
    share = np.arange(1, classes + 1) ** -1.1
    edges = np.cumsum(share) / share.sum()
    keys, codes = [], []
    for code, number in ((1, 1 + random.poisson(1.6, IMAGES)), (0, random.poisson(3.0, IMAGES))):
        rows = np.repeat(np.arange(IMAGES), number)
        columns = np.minimum(np.searchsorted(edges, random.random(len(rows))), classes - 1)
        keys.append(rows * classes + columns)
        codes.append(np.full(len(rows), code, np.int8))
    labels, first = np.unique(np.concatenate(keys), return_index=True)
    indptr = np.searchsorted(labels, np.arange(IMAGES + 1) * classes)
    return indptr, (labels % classes).astype(np.int32), np.concatenate(codes)[first]


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    if sys.argv[1:]:
        measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
