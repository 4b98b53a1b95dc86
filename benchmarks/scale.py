"""A synthetic Open Images at three sizes: load, long tail, candidates, a split file, verify.

    python benchmarks/scale.py [FOLDER]

1,743,042 images of 600 classes with about 2.4 positive and 2.6 negative labels each, the rest
unknown; before it a sixteenth and a quarter of it. Each size runs in a process of its own; its peak
memory is the process's, imports included. FOLDER holds the files while it runs (about 0.5 GB).
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
SIZES = (16, 4, 1)  # the whole over these


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        found = {}
        for part in SIZES:
            file = Path(folder) / f"{part}.npz"
            _child("draw", str(IMAGES // part), str(file))
            found[part] = json.loads(_child("measure", str(file)))
            file.unlink()
            _print(found[part])
    _print_growth(found)


def _child(*words: str) -> str:
    command = [sys.executable, __file__, *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


# ----------------------------------------------------------------------------- in its own process


def draw(images: int, path: str) -> None:
    """Labels as a list of (image, class, code), classes by a power of their rank."""
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
    words = random.permutation(images).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    ids = np.array([f"{word:016x}" for word in words.tolist()])
    rows, columns = (labels // CLASSES).astype(np.int32), (labels % CLASSES).astype(np.int32)
    np.savez(path, rows=rows, columns=columns, codes=np.concatenate(codes)[first], ids=ids)


def measure(path: str) -> None:
    """Time the phases; prints JSON."""
    from benchkit.split import build as making
    from benchkit.split import file as split_file
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
    law = making.LongTail("pareto", maximum=len(ids) // 20, minimum=10)
    chosen = making.choose_rows(source, making.Options(long_tail=law))
    phases.end("long tail")
    regime = regimes.parse("candidates:0.1")
    uniform = making.random.image_class_uniform(0, "regime", ids, names)
    regimes.observe(labels, regime, uniform)
    phases.end("candidates")
    nothing = making.Features(None, {"kind": "none"}, {})
    split = making.build(source, making.Options(regime="candidates:0.1"), nothing, "openimages")
    split_file.write(split, Path(path).with_suffix(".h5"))
    phases.end("whole split file")
    del split
    if split_file.verify(Path(path).with_suffix(".h5")):
        raise SystemExit("the split file does not verify")
    phases.end("verify")
    found = {"images": len(ids), "labels": len(labels.indices), "kept": len(chosen["train"])}
    json.dump({**found, "imports": phases.imports, "phases": phases.seen}, sys.stdout)


class _Phases:
    """Seconds of each phase, and the peak memory of the process up to its end, in MiB."""

    def __init__(self) -> None:
        self.seen: dict[str, tuple[float, float]] = {}
        self.imports = _peak()
        self._began = time.perf_counter()

    def end(self, name: str) -> None:
        seconds = time.perf_counter() - self._began
        self.seen[name] = (seconds, _peak())
        self._began = time.perf_counter()


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# ----------------------------------------------------------------------------- the table


def _print(found: dict) -> None:
    images, labels, kept = found["images"], found["labels"], found["kept"]
    print(f"\n{images:,} images, {labels:,} labels; the long tail keeps {kept:,}")
    for name, (seconds, peak) in found["phases"].items():
        each = seconds / labels * 1e6
        print(f"  {name:18} {seconds:7.2f} s  {each:6.2f} us per label  peak {peak:6.0f} MiB")
    total = sum(found["phases"][name][0] for name in ("load", "long tail", "candidates"))
    print(f"  imports alone {found['imports']:.0f} MiB")
    print(f"  load, long tail and candidates together {total:.2f} s", flush=True)


def _print_growth(found: dict[int, dict]) -> None:
    """Time and memory per label from one size to the next: 1 is linear, less is better."""
    print("\ngrowth per label, 1 = linear")
    for small, large in itertools.pairwise(SIZES):
        factor = found[large]["labels"] / found[small]["labels"]
        times = {
            name: found[large]["phases"][name][0] / seconds / factor
            for name, (seconds, _) in found[small]["phases"].items()
        }
        # Above the imports, which are the same whatever is measured.
        memory = [found[k]["phases"]["verify"][1] - found[k]["imports"] for k in (small, large)]
        line = ", ".join(f"{name} {value:.2f}" for name, value in times.items())
        print(f"  1/{small} to 1/{large}: {line}; memory {memory[1] / memory[0] / factor:.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["draw"]:
        draw(int(sys.argv[2]), sys.argv[3])
    elif sys.argv[1:2] == ["measure"]:
        measure(sys.argv[2])
    else:
        main()
