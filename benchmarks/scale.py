"""Synthetic labels of the size of Open Images, at three sizes: from loading to a verified split.

    python benchmarks/scale.py [FOLDER]

1,743,042 images and 600 classes, with on average 2.4 positive and 2.6 negative labels per image and
the rest unknown; and a sixteenth and a quarter of these images. The phases are: load, long tail,
candidates, split file, verify. Every size runs in a process of its own, and its peak memory
includes imports. FOLDER holds temporary files (about 0.5 GB).
"""

from __future__ import annotations

import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

IMAGES, CLASSES = 1_743_042, 600
DIVISORS = (16, 4, 1)  # of the number of images


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        results = {}
        for divisor in DIVISORS:
            file = Path(folder) / f"{divisor}.npz"
            _child("draw", str(IMAGES // divisor), str(file))
            results[divisor] = json.loads(_child("measure", str(file)))
            file.unlink()
            _print(results[divisor])
    _print_growth(results)


def _child(*arguments: str) -> str:
    command = [sys.executable, __file__, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


# ----------------------------------------------------------------------------- child processes


def draw(images: int, path: str) -> None:
    """Write a list of (image, class, code) whose class frequencies follow a power law."""
    random = np.random.default_rng(0)
    share = np.arange(1, CLASSES + 1) ** -1.1
    edges = np.cumsum(share) / share.sum()
    keys, codes = [], []
    for code, number in ((1, 1 + random.poisson(1.6, images)), (0, random.poisson(3.0, images))):
        rows = np.repeat(np.arange(images), number)
        columns = np.minimum(np.searchsorted(edges, random.random(len(rows))), CLASSES - 1)
        keys.append(rows * CLASSES + columns)
        codes.append(np.full(len(rows), code, np.int8))
    labels, first = np.unique(np.concatenate(keys), return_index=True)
    numbers = random.permutation(images).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    ids = np.array([f"{number:016x}" for number in numbers.tolist()])
    rows, columns = (labels // CLASSES).astype(np.int32), (labels % CLASSES).astype(np.int32)
    np.savez(path, rows=rows, columns=columns, codes=np.concatenate(codes)[first], ids=ids)


def measure(path: str) -> None:
    """Time the phases; prints JSON."""
    from benchkit.base import random
    from benchkit.split import decision
    from benchkit.split import file as split_file
    from benchkit.split.build import build
    from benchkit.split.features import source_features
    from benchkit.split.options import LongTail, Options
    from splits import regimes
    from splits.labels import SparseLabels
    from splits.source import Source

    phases = _Phases()
    with np.load(path) as file:
        rows, columns, codes, ids = (file[key] for key in ("rows", "columns", "codes", "ids"))
    shape = (len(ids), CLASSES)
    labels = SparseLabels.from_triplets(rows, columns, codes, shape, -1)
    names = tuple(f"class {c}" for c in range(CLASSES))
    part = (np.arange(len(ids)) % 20 == 0).astype(np.uint8)
    source = Source("openimages", names, ids, labels, part, None, (), None, {})
    del rows, columns, codes
    phases.end("load")
    tail = LongTail("pareto", maximum=len(ids) // 20, minimum=10)
    kept = decision.draw(source, Options(long_tail=tail)).rows
    phases.end("long tail")
    regime = regimes.parse("candidates:0.1")
    uniform = random.image_class_uniform(0, "regime", ids, names)
    regimes.observe(labels, regime, uniform)
    phases.end("candidates")
    split = build(source, Options(regime=regime), source_features(source), "openimages")
    split_file.write(split, Path(path).with_suffix(".h5"))
    phases.end("split file")
    del split
    if split_file.verify(Path(path).with_suffix(".h5")):
        raise SystemExit("the split file does not verify")
    phases.end("verify")
    result = {
        "images": len(ids),
        "labels": len(labels.indices),
        "kept": len(kept["train"]),
        "imports": phases.imports,
        "phases": phases.measured,
    }
    json.dump(result, sys.stdout)


class _Phases:
    """Seconds of each phase, and the peak memory of the process at its end in MiB."""

    def __init__(self) -> None:
        self.measured: dict[str, tuple[float, float]] = {}
        self.imports = _peak()
        self._start = time.perf_counter()

    def end(self, name: str) -> None:
        seconds = time.perf_counter() - self._start
        self.measured[name] = (seconds, _peak())
        self._start = time.perf_counter()


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# ----------------------------------------------------------------------------- the table


def _print(result: dict) -> None:
    images, labels, kept = result["images"], result["labels"], result["kept"]
    print(f"\n{images:,} images, {labels:,} labels; the long tail keeps {kept:,}")
    for name, (seconds, peak) in result["phases"].items():
        per_label = seconds / labels * 1e6
        print(f"  {name:18} {seconds:7.2f} s  {per_label:6.2f} us per label  peak {peak:6.0f} MiB")
    total = sum(result["phases"][name][0] for name in ("load", "long tail", "candidates"))
    print(f"  imports alone {result['imports']:.0f} MiB")
    print(f"  load, long tail and candidates together {total:.2f} s", flush=True)


def _print_growth(results: dict[int, dict]) -> None:
    """The growth of time and memory per label between sizes: 1 is linear, less is better."""
    print("\ngrowth per label, 1 = linear")
    for small, large in itertools.pairwise(DIVISORS):
        factor = results[large]["labels"] / results[small]["labels"]
        times = {
            name: results[large]["phases"][name][0] / seconds / factor
            for name, (seconds, _) in results[small]["phases"].items()
        }
        # Without the imports, which do not depend on the size.
        memory = [results[k]["phases"]["verify"][1] - results[k]["imports"] for k in (small, large)]
        line = ", ".join(f"{name} {value:.2f}" for name, value in times.items())
        print(f"  1/{small} to 1/{large}: {line}; memory {memory[1] / memory[0] / factor:.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["draw"]:
        draw(int(sys.argv[2]), sys.argv[3])
    elif sys.argv[1:2] == ["measure"]:
        measure(sys.argv[2])
    else:
        main()
