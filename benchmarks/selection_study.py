"""How much test mAP is lost by choosing settings with observed validation labels only.

    python benchmarks/selection_study.py DATA.npz... [--scores FOLDER]

DATA.npz holds `X` float [N, D] or [N, V, D], `Y` int8 [N, C] with codes 1 and 0, and `split` [N]
with 0 for the training images and 1 for the others. In each regime, ten methods train with some
learning rates, weight decays and budgets on the training images. The other images are then halved
at random: one half is the validation part, with the observed labels of the regime, and the other
half is the test part. Of eight settings drawn at random, one is chosen by the true validation mAP
and one by each estimator; the loss of an estimator is the difference of their test mAP. The table
has the mean over halves and draws, in points. Its last column is the loss of a random choice, and
its rows in brackets the mean of estimate - true validation mAP.

FOLDER keeps the scores of the trained settings, so a second call with it only evaluates.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from baselines.core import LabelTable
from benchkit.base import random
from benchkit.runs.selection import ESTIMATORS, candidates_for
from benchkit.runs.specs import in_regime, specs
from benchkit.training.inputs import TrainingSet
from benchkit.training.recipe import Recipe
from benchkit.training.trainer import scores, train
from leaderboard import metrics
from splits.labels import dense
from splits.regimes import Regime, observe

REGIMES = ("pal:0.5", "ppl:0.5", "spl", "missing:0.4", "candidates:0.05")
METHODS = {
    "pal": "bce,partial-bce,an-ls,focal,asl,hill,role,ll-r,pal,db-focal",
    "ppl": "bce,an-ls,focal,asl,hill,role,ll-r,pal,db-focal,em",
    "spl": "bce,an-ls,focal,asl,hill,role,ll-r,pal,db-focal,em",
    "missing": "bce,an-ls,focal,asl,hill,role,ll-r,pal,db-focal,em",
    "candidates": "bce,focal,asl,db-focal,bce-candidates,cc-pml,proden-ml,gce,pr,ndlp",
}
RATES, DECAYS, SHARES = (3e-4, 1e-3, 3e-3, 1e-2), (0.5, 1.0, 2.0, 4.0, 8.0), (0.25, 0.5, 1.0)
CHOICES, DRAWN = 8, 50  # settings to choose from, and how often they are drawn per half
ROW_NORM = 16.0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--scores", type=Path)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=3, help="of rate, decay, budget per method")
    parser.add_argument("--halves", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for text in REGIMES:
        regime = Regime.parse(text)
        names = candidates_for(regime)
        print(f"{text:28}", *(f"{name:>20}" for name in names), f"{'random':>8}", flush=True)
        means = []
        for path in arguments.data:
            logits = settings(path, regime, arguments)
            with np.load(path) as file:
                true = np.ascontiguousarray(file["Y"][file["split"] == 1].astype(np.int8))
            losses, bias = evaluated(
                true, np.stack(list(logits.values())), regime, arguments.halves
            )
            means.append(losses)
            print(f"  {path.stem} ({len(logits)} settings)".ljust(28), end=" ")
            print(*(f"{losses[name]:20.2f}" for name in names), f"{losses['random']:8.2f}")
            print(" " * 28, *(f"{f'({bias[name]:+.1f})':>20}" for name in names), flush=True)
        average = {name: np.mean([losses[name] for losses in means]) for name in means[0]}
        print("  mean".ljust(28), *(f"{average[name]:20.2f}" for name in names), end=" ")
        print(f"{average['random']:8.2f}", flush=True)


def settings(path: Path, regime: Regime, arguments: argparse.Namespace) -> dict[str, np.ndarray]:
    """Setting -> logits, from the folder of scores if they are there."""
    cached = arguments.scores and arguments.scores / f"{path.stem}-{regime.kind}.npz"
    if cached and cached.is_file():
        with np.load(cached) as file:
            return dict(file)
    logits = dict(trained(path, regime, arguments.steps, arguments.draws))
    if cached:
        cached.parent.mkdir(parents=True, exist_ok=True)
        np.savez(cached, allow_pickle=False, **logits)
    return logits


def evaluated(
    true: np.ndarray, logits: np.ndarray, regime: Regime, halves: int
) -> tuple[dict[str, float], dict[str, float]]:
    """The mean loss of every estimator and of a random choice, and the mean error of the estimate.

    Args:
        true: int8 [M, C].
        logits: float32 [S, M, C].
        regime: the regime of the validation labels.
        halves: how often the images are halved.

    Returns:
        Two mappings from the names of estimators, both in points.
    """
    losses: dict[str, list[float]] = {}
    bias: dict[str, list[float]] = {}
    for half in range(halves):
        generator = random.generator(half, "selection/half")
        order = generator.permutation(len(true))
        val, test = order[: len(order) // 2], order[len(order) // 2 :]
        observed = observed_labels(true, regime, "val", half)[val]
        test_map, val_map = (
            100
            * np.array([np.nanmean(metrics.average_precision(z[rows], true[rows])) for z in logits])
            for rows in (test, val)
        )
        estimates = {
            name: 100
            * np.array([ESTIMATORS[name](z[val], observed, regime) for z in logits], float)
            for name in candidates_for(regime)
        }
        for name, values in estimates.items():
            bias.setdefault(name, []).append(float(np.mean(values - val_map)))
        for _ in range(DRAWN):
            some = generator.permutation(len(logits))[:CHOICES]
            best = test_map[some[val_map[some].argmax()]]
            losses.setdefault("random", []).append(best - test_map[some].mean())
            for name, values in estimates.items():
                losses.setdefault(name, []).append(best - test_map[some[values[some].argmax()]])
    return _means(losses), _means(bias)


def _means(table: dict[str, list[float]]) -> dict[str, float]:
    return {name: float(np.mean(values)) for name, values in table.items()}


def trained(
    path: Path, regime: Regime, steps: int, number: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Settings and their logits, float32 [M, C], on the images that are not for training."""
    with np.load(path) as file:
        features, labels, part = file["X"].astype(np.float32), file["Y"], file["split"]
    features = features.reshape(len(features), -1, features.shape[-1])
    train_rows = features[part == 0].reshape(-1, features.shape[-1])
    deviation = train_rows.std(0)
    deviation[deviation < 1e-12] = 1
    features = (features - train_rows.mean(0)) / deviation
    features *= ROW_NORM / np.sqrt((features[part == 0] ** 2).sum(-1).mean())
    true = np.ascontiguousarray(labels[part == 0].astype(np.int8))
    observed = observed_labels(true, regime, "train", 1)
    counts = (true == 1).sum(0)
    data = TrainingSet(
        features=torch.from_numpy(features[part == 0]).float(),
        observed=LabelTable.of(torch.from_numpy(observed)),
        true=LabelTable.of(torch.from_numpy(true)),
        regime=regime.kind,
        shot=torch.from_numpy(np.where(counts >= 100, 0, np.where(counts >= 20, 1, 2))),
        noise_rate=regime.noise_rate,
    )
    other = torch.from_numpy(features[part == 1][:, 0]).float()
    for spec in in_regime(specs(METHODS[regime.kind]), regime.kind):
        for rate, decay, share in draws(spec.key, number):
            recipe = Recipe(
                optimiser="adamw",
                lr=rate,
                weight_decay=decay,
                epochs=max(1, round(steps * share / (len(true) // 32))),
                batch=32,
                standardise="off",
            )
            method = spec.method(spec.hyper, recipe.make_head())
            (result,) = train([method], [0], data, recipe)
            if result.failure is None:
                name = f"{spec.key} lr={rate} decay={decay} share={share}"
                yield name, scores(result.method, result.run, other)


def draws(method: str, number: int) -> list[tuple[float, float, float]]:
    """Learning rate, weight decay and share of the steps; the first is the default."""
    grid = list(itertools.product(RATES, DECAYS, SHARES))
    order = random.generator(0, f"selection/{method}").permutation(len(grid))
    default = (1e-3, 4.0, 1.0)
    return [default, *(grid[i] for i in order if grid[i] != default)][:number]


def observed_labels(true: np.ndarray, regime: Regime, part: str, seed: int) -> np.ndarray:
    """The observed labels of a part under a regime, int8 [N, C]."""
    ids = [f"{part}/{row}" for row in range(len(true))]
    classes = [f"class {c}" for c in range(true.shape[1])]
    return dense(observe(true, regime, random.image_class_uniform(seed, "regime", ids, classes)))


if __name__ == "__main__":
    main()
