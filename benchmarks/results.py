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
    """One Markdown table per set and regime: mAP in per cent over seeds, default and tuned."""
    frame = frame[frame["selection"] == "last"]
    lines = []
    for (name, regime), part in frame.groupby(["split", "regime"], sort=False):
        default, tuned = (_cells(part[part["draws"].gt(0) == flag]) for flag in (False, True))
        oracles = set(part.loc[part["oracle"] != "", "method"])
        lines += [
            "",
            f"### {name} ({regime})",
            "",
            "| method | default | tuned |",
            "|---|---:|---:|",
        ]
        for method, (mean, deviation) in sorted(default.items(), key=lambda item: -item[1][0]):
            label = f"{method} †" if method in oracles else method
            text = f"{mean:.1f}" if np.isnan(deviation) else f"{mean:.1f} ± {deviation:.1f}"
            other = f"{tuned[method][0]:.1f}" if method in tuned else ""
            lines.append(f"| {label} | {text} | {other} |")
        common = [method for method in default if method in tuned]
        if len(common) > 2:
            pairs = ([values[m][0] for m in common] for values in (default, tuned))
            tau = stats.kendalltau(*pairs).statistic
            lines += ["", f"Kendall's tau of the default and the tuned order: {tau:.2f}."]
    return lines


def _cells(frame: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Method -> mean and standard deviation over seeds, in per cent."""
    totals = (100 * frame.set_index("method")["total"]).groupby(level=0)
    return {key: (values.mean(), values.std(ddof=1)) for key, values in totals}


if __name__ == "__main__":
    main()
