"""How close BCE comes to a tuned linear regression, for learning rates, weight decays and budgets.

    python benchmarks/recipe_study.py DATA.npz... [--regimes full,pal:0.5] [--steps 2000]

DATA.npz holds `X` float [N, D] or [N, V, D], `Y` int8 [N, C] with codes 1 and 0, and `split` [N]
with 0 for the training images and 1 for the validation images. Give no test images: this study
chose the default recipe, and a default must not be chosen by test scores.

The peers are ridge regressions and, up to `MOST_CLASSES` classes, logistic regressions of
scikit-learn on standardised features, with the best penalty of a sweep; the choice is made on the
same validation images, which favours the peers. Unknown labels are negative for everybody. The
table has the validation mAP of the better peer and the difference of BCE to it, in points: for the
default recipe, and for every rate and decay.
"""

from __future__ import annotations

import argparse
import itertools
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from baselines.bce import BCE
from baselines.core import LabelTable
from benchkit.base import random
from benchkit.training import inputs
from benchkit.training.inputs import TrainingSet
from benchkit.training.recipe import Recipe
from benchkit.training.trainer import scores, train
from leaderboard import metrics
from splits.labels import dense
from splits.regimes import Regime, observe

REGIMES = "full,pal:0.5,ppl:0.5,spl,missing:0.4,candidates:0.05"
RATES, DECAYS = (3e-4, 1e-3, 3e-3), (8.0, 16.0, 32.0)
PENALTIES = 10.0 ** np.arange(0, 6.5, 0.5)  # of ridge
INVERSES = 10.0 ** np.arange(-5, 0.5)  # C of logistic regression
MOST_CLASSES = 50


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--regimes", default=REGIMES)
    parser.add_argument("--steps", type=int, default=Recipe().steps)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*failed to converge")
    grid = list(itertools.product(RATES, DECAYS))
    print("| regime | set | ridge | logistic | default |", end="")
    print(*(f" {rate:g}, {decay:g} |" for rate, decay in grid), sep="")
    print("|---|---|" + "---:|" * (3 + len(grid)))
    default = grid.index((Recipe().lr, Recipe().weight_decay))
    everything = []
    for text in arguments.regimes.split(","):
        for path in arguments.data:
            ridge, logistic, ours = study(path, Regime.parse(text), grid, arguments.steps)
            gaps = ours - max(ridge, logistic or 0.0)
            everything.append(gaps)
            shown = "" if logistic is None else f"{logistic:.1f}"
            print(
                f"| {text} | {path.stem} | {ridge:.1f} | {shown} | {gaps[default]:+.1f} |", end=""
            )
            print(*(f" {gap:+.1f} |" for gap in gaps), sep="", flush=True)
    for name, value in (("mean", np.mean), ("worst", np.min)):
        row = value(np.stack(everything), axis=0)
        print(f"| {name} | | | | {row[default]:+.2f} |", *(f" {gap:+.2f} |" for gap in row), sep="")


def study(
    path: Path, regime: Regime, grid: list[tuple[float, float]], steps: int
) -> tuple[float, float | None, np.ndarray]:
    """The validation mAP of the best ridge and logistic regression and of BCE, in per cent."""
    with np.load(path) as file:
        features, part = file["X"].astype(np.float32), file["split"]
        true = file["Y"].astype(np.int8)
    features = features if features.ndim == 3 else features[:, None]
    train_rows, val_rows = part == 0, part == 1
    observed = observed_labels(np.ascontiguousarray(true[train_rows]), regime)
    x = {"train": features[train_rows], "val": features[val_rows]}
    mean, deviation = inputs.moments(x["train"].reshape(-1, features.shape[-1]))
    deviation[deviation < 1e-12] = 1.0
    x = {name: ((value - mean) / deviation).astype(np.float32) for name, value in x.items()}

    def validation_map(logits: np.ndarray) -> float:
        return float(100 * np.nanmean(metrics.average_precision(logits, true[val_rows])))

    rows = x["train"].reshape(-1, features.shape[-1])
    targets = np.repeat((observed == 1).astype(np.float32), features.shape[1], axis=0)
    val = x["val"][:, 0]
    ridge = max(
        validation_map(Ridge(penalty).fit(rows, targets).predict(val).astype(np.float32))
        for penalty in PENALTIES
    )
    logistic = None
    if true.shape[1] <= MOST_CLASSES:
        logistic = max(validation_map(logistic_scores(rows, targets, val, c)) for c in INVERSES)
    return ridge, logistic, bce_maps(x, observed, true[train_rows], grid, steps, validation_map)


def observed_labels(true: np.ndarray, regime: Regime) -> np.ndarray:
    """The observed labels of the training images, int8 [N, C]."""
    ids = [str(row) for row in range(len(true))]
    classes = [f"class {c}" for c in range(true.shape[1])]
    return dense(observe(true, regime, random.image_class_uniform(1, "regime", ids, classes)))


def logistic_scores(rows: np.ndarray, targets: np.ndarray, val: np.ndarray, c: float) -> np.ndarray:
    """The logits of one logistic regression per class; 0 for a class with one kind of label."""
    logits = np.zeros((len(val), targets.shape[1]), np.float32)
    for k, column in enumerate(targets.T):
        if 0 < column.sum() < len(column):
            model = LogisticRegression(C=c, max_iter=200).fit(rows, column)
            logits[:, k] = model.decision_function(val)
    return logits


def bce_maps(x, observed, true, grid, steps, validation_map) -> np.ndarray:  # type: ignore[no-untyped-def]
    """The validation mAP of BCE for every pair of rate and decay, trained as one stack."""
    recipe = Recipe(steps=steps)
    scaled = {name: value.copy() for name, value in x.items()}
    inputs.scale_rows(scaled, recipe.row_norm)
    data = TrainingSet(
        torch.from_numpy(scaled["train"]),
        LabelTable.of(torch.from_numpy(observed)),
        LabelTable.of(torch.from_numpy(np.ascontiguousarray(true))),
        "full",
        torch.zeros(true.shape[1], dtype=torch.int64),
    )
    recipes = [replace(recipe, lr=rate, weight_decay=decay) for rate, decay in grid]
    methods = [BCE(head=recipe.make_head()) for _ in grid]
    results = train(methods, [0] * len(grid), data, recipes)
    rows = torch.from_numpy(scaled["val"][:, 0])
    return np.array([validation_map(scores(r.method, r.run, rows)) for r in results])


if __name__ == "__main__":
    main()
