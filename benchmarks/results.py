"""Train all methods on several data sets in every label regime, and write one page of tables.

    python benchmarks/results.py FOLDER --out RESULTS [--sets scenes,coco80lt] [--draws 16]

FOLDER holds NAME.npz for every set but `scenes`, in the form that `arrays:` reads (`X`, `Y`, and
`split` if the set has test images of its own). RESULTS gets the splits, the run records and
`results.md`. A call that was interrupted continues where it stopped; a call with more sets, regimes
or draws adds to the page. With --draws, the methods of --tuned are tuned as well.

Every split holds a fifth of its training images back as its validation part. `ridge` is a linear
ridge regression on standardised features, whose penalty is the best on the true labels of the
validation part; unknown labels are negative.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

import benchkit
from leaderboard import metrics
from splits.labels import dense

SETS = "scenes,nuswide_vgg64_998,voc12animals_enlite2,coco80lt_enlite2,mirflickr_pml5000,scene"
REGIMES = "pal:0.5,candidates:0.05,missing:0.4,spl,ppl:0.5,full"
TUNED = "bce,asl,hill,role,pal,pg,comic,db-focal,ndlp"
SCENES = {"long_tail": "pareto", "maximum": 800, "minimum": 4, "tail_quantile": 0.98}
PENALTIES = 10.0 ** np.arange(0, 6.5, 0.5)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", default=SETS)
    parser.add_argument("--regimes", default=REGIMES)
    parser.add_argument("--methods", default="all")
    parser.add_argument("--tuned", default=TUNED)
    parser.add_argument("--draws", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    runs = arguments.out / "runs"
    for regime in arguments.regimes.split(","):
        for name in arguments.sets.split(","):
            split = make_split(name, regime, arguments.data, arguments.out / "splits")
            print(split.name, flush=True)
            common = {"out": runs, "seeds": arguments.seeds, "log": print}
            benchkit.run(split, arguments.methods, **common)
            if arguments.draws:
                kept = [key for key in arguments.tuned.split(",") if suits(key, regime)]
                benchkit.tune(split, kept, draws=arguments.draws, **common)
            benchkit.evaluate(split, ridge_scores(split), name="ridge", out=runs)
            page = "\n".join(tables(benchkit.read_records(runs)))
            (arguments.out / "results.md").write_text(page, encoding="utf-8")


def make_split(name: str, regime: str, data: Path, folder: Path) -> Path:
    """The split file of a set in a regime; made if it is missing."""
    path = folder / f"{name}-{regime.partition(':')[0]}.h5"
    if not path.exists():
        source, options = (
            ("scenes", SCENES) if name == "scenes" else (f"arrays:{data / name}.npz", {})
        )
        folder.mkdir(parents=True, exist_ok=True)
        benchkit.make_split(
            source, path, name=path.stem, regime=regime, val_fraction=0.2, log=print, **options
        )
    return path


def suits(key: str, regime: str) -> bool:
    """Whether a method is meant for a regime."""
    from baselines.core import registry

    regimes = registry.get(key).info.regimes
    return not regimes or regime.partition(":")[0] in regimes


def ridge_scores(path: Path) -> np.ndarray:
    """The test scores of the ridge regression with the best validation mAP, float32 [Nt, C]."""
    split = benchkit.load_split(path)
    x = {name: part.features.astype(np.float64) for name, part in split.parts.items()}
    rows = x["train"].reshape(-1, x["train"].shape[-1])
    mean, deviation = rows.mean(0), rows.std(0)
    deviation[deviation < 1e-12] = 1.0
    rows = (rows - mean) / deviation
    targets = (split.train.dense("observed") == 1).repeat(x["train"].shape[1], axis=0)
    left, values, right = np.linalg.svd(rows, full_matrices=False)
    projected = left.T @ (targets - targets.mean(0))
    val, test = ((x[name][:, 0] - mean) / deviation @ right.T for name in ("val", "test"))
    true = dense(split.val.true)
    best, best_map = None, -1.0
    for penalty in PENALTIES:
        weights = (values / (values**2 + penalty))[:, None] * projected
        score = np.nanmean(metrics.average_precision((val @ weights).astype(np.float32), true))
        if score > best_map:
            best, best_map = (test @ weights).astype(np.float32), score
    assert best is not None
    return best


def tables(frame: pd.DataFrame) -> list[str]:
    """One Markdown table per set: methods by regimes, mAP in per cent over seeds."""
    frame = frame[frame["selection"] == "last"].copy()
    frame["set"] = frame["split"].str.rpartition("-")[0]
    lines = []
    for name in dict.fromkeys(frame["set"]):
        part = frame[frame["set"] == name]
        regimes = [r for r in REGIMES.split(",") if r in set(part["regime"])]
        default, tuned = (part[part["draws"].gt(0) == flag] for flag in (False, True))
        cells = {kind: _cells(values) for kind, values in (("d", default), ("t", tuned))}
        methods = sorted(
            set(default["method"]),
            key=lambda m: -np.mean([cells["d"][m, r][0] for r in regimes if (m, r) in cells["d"]]),
        )
        lines += ["", f"### {name}", "", f"| method | {' | '.join(regimes)} |"]
        lines.append("|---|" + "---:|" * len(regimes))
        oracle = set(default.loc[default["oracle"] != "", "method"])
        for method in methods:
            label = f"{method} †" if method in oracle else method
            row = [_cell(cells, method, regime) for regime in regimes]
            lines.append(f"| {label} | {' | '.join(row)} |")
        for regime in regimes:
            pairs = [
                (cells["d"][m, regime][0], cells["t"][m, regime][0])
                for m in methods
                if (m, regime) in cells["d"] and (m, regime) in cells["t"]
            ]
            if len(pairs) > 2:
                tau = stats.kendalltau(*zip(*pairs, strict=True)).statistic
                lines += ["", f"{regime}: Kendall's tau of default and tuned order {tau:.2f}."]
    return lines


def _cells(frame: pd.DataFrame) -> dict[tuple[str, str], tuple[float, float]]:
    """(method, regime) -> mean and standard deviation over seeds, in per cent."""
    totals = (100 * frame.set_index(["method", "regime"])["total"]).groupby(level=[0, 1])
    return {key: (values.mean(), values.std(ddof=1)) for key, values in totals}


def _cell(cells: dict[str, dict[tuple[str, str], tuple[float, float]]], m: str, r: str) -> str:
    if (m, r) not in cells["d"]:
        return "–"
    mean, deviation = cells["d"][m, r]
    text = f"{mean:.1f}" if np.isnan(deviation) else f"{mean:.1f} ± {deviation:.1f}"
    return f"{text} → {cells['t'][m, r][0]:.1f}" if (m, r) in cells["t"] else text


if __name__ == "__main__":
    main()
