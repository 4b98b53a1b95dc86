"""Loading a split for training, with and without its checks, at the size of COCO 2014.

    python benchmarks/split_loading.py [ROWS] [--sparse]

Writes a split of ROWS training images (82,081 by default), 80 classes and 2048 float32 features to
a temporary folder, 657 MiB, and reads it in turn with `read`, which checks the fingerprint of the
labels and all invariants, and with two peers: `read(check=False)`, which only compares shapes, and
h5py alone, which reads the same arrays and decodes the ids. With `--sparse` the labels are stored
sparsely.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from benchkit.base import random
from benchkit.split import file as split_file
from benchkit.split.build import build
from benchkit.split.features import source_features
from benchkit.split.options import Options
from splits.labels import Labels, SparseLabels
from splits.regimes import Regime
from splits.source import Source

CLASSES, FEATURES, TEST_ROWS, ROUNDS = 80, 2048, 100, 15


def main() -> None:
    arguments = [word for word in sys.argv[1:] if word != "--sparse"]
    rows = int(arguments[0]) if arguments else 82_081
    source = _source(rows + TEST_ROWS, sparse="--sparse" in sys.argv)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "split.h5"
        split = build(source, Options(regime=Regime.parse("pal:0.5")), source_features(source), "b")
        split_file.write(split, path)
        del split, source
        print(f"{rows} x {CLASSES}, {path.stat().st_size / 2**20:.0f} MiB")
        readers: dict[str, Callable[[], object]] = {
            "checked": lambda: split_file.read(path),
            "unchecked": lambda: split_file.read(path, check=False),
            "h5py": lambda: _plain(path),
        }
        seconds: dict[str, list[float]] = {name: [] for name in readers}
        for round_ in range(ROUNDS + 1):
            for name, reader in readers.items():
                start = time.perf_counter()
                reader()
                if round_:  # the first round fills the cache of the disk
                    seconds[name].append(time.perf_counter() - start)
    for name, values in seconds.items():
        ratio = statistics.median(c / p for c, p in zip(seconds["checked"], values, strict=True))
        print(
            f"{name:10} {statistics.median(values):.3f} s, checked takes {ratio:.2f} times as long"
        )


def _plain(path: Path) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    with h5py.File(path, "r") as file:
        file.visititems(
            lambda name, item: arrays.update({name: item[()]} if hasattr(item, "shape") else {})
        )
    for name in ("train/id", "test/id", "classes/name"):
        arrays[name] = np.char.decode(arrays[name], "utf-8")
    return arrays


def _source(rows: int, *, sparse: bool) -> Source:
    generator = random.generator(0, "benchmark/split")
    dense = (generator.random((rows, CLASSES), np.float32) < 0.0363).astype(np.int8)
    labels: Labels = SparseLabels.from_dense(dense, 0) if sparse else dense
    return Source(
        name="synthetic",
        class_names=tuple(f"class {c}" for c in range(CLASSES)),
        image_ids=np.array([f"COCO_train2014_{row:012d}" for row in range(rows)]),
        labels=labels,
        part=(np.arange(rows) >= rows - TEST_ROWS).astype(np.uint8),
        paths=None,
        roots=(),
        features=generator.standard_normal((rows, 1, FEATURES), np.float32),
        digests={},
    )


if __name__ == "__main__":
    main()
