"""`benchkit tune` against the same number of plain runs in stacks.

    python benchmarks/tuning.py [--methods KEYS] [--draws 16] [--seeds 3]

1,441 training images, D = 1408, C = 80, labels half observed. The search trains draws x seeds runs
per method, and then the rows of the table; the peer is `benchkit run` with as many seeds. Wall time
is what a user waits for; processor time does not depend on other programs of the machine.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import benchkit
from benchkit.base.random import uniform

TRAIN, VAL, TEST, DIM, CLASSES = 1441, 360, 500, 1408, 80
METHODS = "an,asl,bce,cb-focal,db-focal,focal,hill,ldam,p-asl,pal,partial-bce,rw"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", default=METHODS, help="keys of the methods")
    parser.add_argument("--draws", type=int, default=16, help="draws per method (default: 16)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds per draw (default: 3)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        split = make_split(folder)
        runs = arguments.draws * arguments.seeds

        benchkit.run(split, "bce", out=folder / "warm", recipe={"epochs": 1})  # imports torch

        def search() -> None:
            tuning = benchkit.tune(
                split,
                arguments.methods,
                out=folder / "tune",
                draws=arguments.draws,
                seeds=arguments.seeds,
            )
            assert not (tuning.outcome.failed or tuning.outcome.skipped), tuning.outcome

        def plain() -> None:
            outcome = benchkit.run(split, arguments.methods, out=folder / "run", seeds=runs)
            assert not (outcome.failed or outcome.skipped), outcome

        print(f"{len(arguments.methods.split(','))} methods, {runs} runs each")
        tune_times, run_times = timed(search), timed(plain)
    for label, ours, peer in zip(("wall", "processor"), tune_times, run_times, strict=True):
        print(f"{label}: tune {ours:.1f} s, run {peer:.1f} s, ratio {ours / peer:.2f}")


def make_split(folder: Path) -> Path:
    """A split whose class c is positive in a share of 0.3 / (c + 1)^0.7 of the images."""
    count = TRAIN + VAL + TEST
    rows, columns = np.arange(count)[:, None], np.arange(CLASSES)[None, :]
    labels = (uniform(0, "labels", rows, columns) < 0.3 / (columns + 1) ** 0.7).astype(np.int8)
    features = uniform(0, "features", rows, np.arange(DIM)[None, :]).astype(np.float32)
    features[:, :CLASSES] += 0.5 * labels
    is_test = (np.arange(count) >= TRAIN + VAL).astype(np.uint8)
    np.savez(folder / "synthetic.npz", X=features, Y=labels, split=is_test)
    path = folder / "synthetic.h5"
    fraction = VAL / (TRAIN + VAL)
    benchkit.make_split(
        f"arrays:{folder / 'synthetic.npz'}", path, regime="pal:0.5", val_fraction=fraction
    )
    return path


def timed(function: Callable[[], object]) -> tuple[float, float]:
    """Wall time and processor time of a call, with that of the processes it started, in seconds."""
    wall, processor = time.perf_counter(), sum(os.times()[:4])
    function()
    return time.perf_counter() - wall, sum(os.times()[:4]) - processor


if __name__ == "__main__":
    main()
