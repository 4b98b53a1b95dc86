"""Training on compressed label rows against training on a label array.

    python benchmarks/batch_labels.py

Labels are drawn as in `scale.py` (on average 2.4 positives and 2.6 negatives per image, the rest
unknown); features have 16 numbers; the method is BCE with batches of 256. Every configuration runs
in a process of its own, and its peak memory excludes imports and features. The last configuration
has the 19,957 classes of the image-level labels of Open Images, which would need 32 GiB as an
array.
"""

from __future__ import annotations

import itertools
import json
import resource
import subprocess
import sys
import time

IMAGES, BATCH, STEPS, DIM = 1_743_042, 256, 1000, 16
CONFIGURATIONS = [
    ("array", 600, STEPS),
    ("compressed", 600, STEPS),
    ("compressed", 19_957, STEPS // 10),
]


def main() -> None:
    seconds = {}
    for kind, classes, steps in CONFIGURATIONS:
        command = [sys.executable, __file__, kind, str(classes), str(steps)]
        text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        result = json.loads(text)
        seconds[kind, classes] = result["step"]
        print(
            f"{IMAGES:,} x {classes:,} {kind:10}  setup {result['setup']:5.2f} s  "
            f"{result['step'] * 1e3:6.2f} ms per step  peak {result['peak']:6.0f} MiB above the "
            f"{result['before']:.0f} MiB of imports and features"
        )
    ratio = seconds["compressed", 600] / seconds["array", 600]
    print(f"a step on compressed labels takes {ratio:.2f} times one on an array")


def measure(kind: str, classes: int, steps: int) -> None:
    """Train three epochs of the given number of steps; prints JSON."""
    import numpy as np
    import torch

    from baselines.bce import BCE
    from baselines.core import LabelTable, Problem
    from baselines.core.labels import CompressedTable
    from benchkit.training.inputs import TrainingSet
    from benchkit.training.recipe import Recipe
    from benchkit.training.trainer import train

    class Short(BCE):
        """BCE with epochs of the given number of steps."""

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
        array = torch.empty(IMAGES, classes, dtype=torch.int8)  # larger than `whole` allows
        start = 0
        for block in table.blocks():
            array[start : start + len(block)] = block
            start += len(block)
        table = LabelTable.of(array)
    data = TrainingSet(features, table, table, "pal", torch.zeros(classes, dtype=torch.int64))
    times = []
    recipe = Recipe(epochs=3, batch=BATCH, sampler="method")
    start_of_training = time.perf_counter()
    train([Short()], [0], data, recipe, tick=lambda: times.append(time.perf_counter()))
    # The first epoch includes the setup; the others are steps and a permutation.
    step = min(b - a for a, b in itertools.pairwise(times)) / steps
    result = {
        "setup": times[0] - start_of_training - step * steps,
        "step": step,
        "before": before,
        "peak": _peak() - before,
    }
    json.dump(result, sys.stdout)


def _draw(np, classes: int) -> tuple:
    """Compressed rows. Class frequencies follow a power law; a label drawn twice is positive."""
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
