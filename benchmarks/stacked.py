"""Sixteen runs as one program against the same sixteen one after another, through the trainer.

    python benchmarks/stacked.py [--method KEY] [--device cpu|cuda] [--runs 16]

D = 2048, C = 80, batch 32; the ratio is of training steps per second.
"""

from __future__ import annotations

import argparse

import torch
from common import ratio

from baselines.core import LabelTable, registry
from benchkit.base.draw import Draw
from benchkit.training.recipe import Recipe
from benchkit.training.trainer import TrainingSet, train

IMAGES, DIM, CLASSES = 1600, 2048, 80


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--method", default="bce")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runs", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=1)
    words = parser.parse_args()
    draw = Draw(0)
    observed = (draw.uniform("labels", IMAGES, CLASSES) < 0.04).to(torch.int8)
    data = TrainingSet(
        features=draw.normal("features", IMAGES, 1, DIM).to(words.device),
        observed=LabelTable.of(observed.to(words.device)),
        true=LabelTable.of(observed.to(words.device)),
        regime="full",
        shot=torch.zeros(CLASSES, dtype=torch.int64, device=words.device),
    )
    recipe, method = Recipe(epochs=words.epochs), registry.get(words.method)
    seeds = list(range(words.runs))

    def stacked() -> None:
        train([method() for _ in seeds], seeds, data, recipe)
        _wait(words.device)

    def one_by_one() -> None:
        for seed in seeds:
            train([method()], [seed], data, recipe)
        _wait(words.device)

    print(f"{words.method}, {words.runs} runs, {words.device}, {torch.get_num_threads()} threads")
    ratio(stacked, one_by_one)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
