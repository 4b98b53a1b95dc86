"""Sixteen runs as one program against the same sixteen runs one after another.

    python benchmarks/stacked.py [--method KEY] [--device cpu|cuda] [--runs 16] [--epochs 1]

D = 2048, C = 80, batch 32. Both sides use the trainer; the ratio compares their training steps per
second.
"""

from __future__ import annotations

import argparse

import torch
from common import ratio

from baselines.core import LabelTable, registry
from benchkit.base.draw import Draw
from benchkit.training.inputs import TrainingSet
from benchkit.training.recipe import Recipe
from benchkit.training.trainer import train

IMAGES, DIM, CLASSES = 1600, 2048, 80


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", default="bce", help="key of the method (default: bce)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--runs", type=int, default=16, help="number of runs (default: 16)")
    parser.add_argument("--epochs", type=int, default=1, help="epochs per run (default: 1)")
    arguments = parser.parse_args()
    device, draw = arguments.device, Draw(0)
    observed = (draw.uniform("labels", IMAGES, CLASSES) < 0.04).to(torch.int8)
    table = LabelTable.of(observed.to(device))
    data = TrainingSet(
        features=draw.normal("features", IMAGES, 1, DIM).to(device),
        observed=table,
        true=table,
        regime="full",
        shot=torch.zeros(CLASSES, dtype=torch.int64, device=device),
    )
    recipe, method = Recipe(epochs=arguments.epochs), registry.get(arguments.method)
    seeds = list(range(arguments.runs))

    def stacked() -> None:
        train([method() for _ in seeds], seeds, data, recipe)
        _wait(device)

    def one_by_one() -> None:
        for seed in seeds:
            train([method()], [seed], data, recipe)
        _wait(device)

    threads = torch.get_num_threads()
    print(f"{arguments.method}, {arguments.runs} runs, {device}, {threads} threads")
    ratio(stacked, one_by_one)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
