"""Twelve splits and the runs on them whose numbers must not change unless a change says so.

`python tests/golden/recipes.py FOLDER` makes the splits, trains every method on six of them and
prints the numbers as JSON; `tests/golden/numbers.json` holds those of version 0.1, except the
digests of the files, which are those of the current file format. Methods for candidates no longer
take PAL labels.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchkit.split import file as split_file

CLASSES = ("sky", "tree", "boat [sea]", "dog", "kite", "comet", "été")
SHOTS = ("--many", "60", "--few", "20")

RECIPES: dict[str, tuple[str, ...]] = {
    "full": ("arrays:mine.npz", *SHOTS),
    "pal-val": ("arrays:mine.npz", *SHOTS, "--regime", "pal:0.5", "--val-fraction", "0.2"),
    "ppl": ("arrays:mine.npz", *SHOTS, "--regime", "ppl:0.5", "--seed", "3"),
    "spl": ("arrays:mine.npz", *SHOTS, "--regime", "spl", "--shot-reference", "observed"),
    "missing": ("arrays:mine.npz", *SHOTS, "--regime", "missing:0.4", "--test-fraction", "0.3"),
    "candidates": ("arrays:mine.npz", *SHOTS, "--regime", "candidates:0.2"),
    "pareto": (
        *("arrays:mine.npz", "--many", "40", "--few", "12", "--regime", "pal:0.3"),
        *("--long-tail", "pareto", "--max", "90", "--min", "4", "--feature-type", "float16"),
    ),
    "exponential-dbl": (
        *("arrays:mine.npz", "--many", "40", "--few", "12", "--regime", "full"),
        *("--long-tail", "exponential", "--max", "80", "--imbalance-ratio", "12"),
        *("--generator", "dbl"),
    ),
    "noise": (
        *("arrays:mine.npz", *SHOTS),
        *("--regime", "candidates:0.1,by-class=frequency,by-image=0.5"),
    ),
    "missing-by-class": (
        *("arrays:mine.npz", *SHOTS, "--regime", "missing:0.3,by-class=weights.csv"),
    ),
    "sparse-exact": ("arrays:sparse.npz", *SHOTS, "--regime", "pal:0.4,counts=exact"),
    "coco": (
        *("coco:train.json", "-o", "test=test.json", "-o", "keep_empty=test"),
        *("--regime", "ppl:0.6", "--many", "30", "--few", "10"),
    ),
}
OLD_DEFAULTS = (
    *("pal.even_unknown=false", "crt.classifier_epochs=10"),
    *("pico-bank.start=shares", "solar-ml.prior_rate=0.1"),
    *(
        f"{key}.{setting}"
        for key in ("comic", "comic-head", "comic-tail")
        # The width was at most that of the features, 12.
        for setting in ("projection_activation=none", "width=12", "schedule_epochs=0")
    ),
    *(f"{key}.decay_divisor=1" for key in ("comic", "comic-head", "comic-tail")),
)
"""The defaults of version 0.1 that have changed since."""
TRAINED = ("full", "pal-val", "ppl", "spl", "missing", "candidates")
"""The splits on which every method is trained, one for each regime."""


def write_inputs(folder: Path, images: int = 240) -> None:
    """Sources whose labels are thresholds of sums of sines: no random number, no rounding."""
    rows, columns = np.arange(images)[:, None], np.arange(12)[None, :]
    features = np.sin(0.7 * rows * (columns + 1) + columns**2).astype(np.float32)
    weights = np.cos(1.3 * np.arange(12)[:, None] * np.arange(1, 8)[None, :])
    margins = features.astype(np.float64) @ weights
    shares = np.array([0.5, 0.4, 0.3, 0.2, 0.12, 0.08, 0.06])
    order = np.argsort(np.argsort(-margins, axis=0), axis=0)
    labels = (order < shares * images).astype(np.int8)
    ids = np.array([f"img-{i:03d}" for i in range(images)])
    np.savez(folder / "mine.npz", X=features, Y=labels, label_names=CLASSES, image_ids=ids)
    place = np.nonzero(labels)
    indptr = np.concatenate([[0], np.cumsum(labels.sum(1))]).astype(np.int64)
    np.savez(
        folder / "sparse.npz",
        X=features,
        indptr=indptr,
        indices=place[1].astype(np.int32),
        shape=np.array(labels.shape),
        label_names=CLASSES,
        image_ids=ids,
    )
    numbers = "".join(f"{name},{k + 1}\n" for k, name in enumerate(CLASSES))
    (folder / "weights.csv").write_text(numbers, encoding="utf-8")
    for part, chosen in (("train", range(0, 180)), ("test", range(180, images))):
        document = {
            "images": [{"id": i + 1, "file_name": f"{i:03d}.jpg"} for i in chosen],
            "annotations": [
                {"id": 10 * i + c, "image_id": i + 1, "category_id": 3 * c + 1, "iscrowd": 0}
                for i in chosen
                for c in np.flatnonzero(labels[i]).tolist()
            ],
            "categories": [{"id": 3 * c + 1, "name": name} for c, name in enumerate(CLASSES)],
        }
        (folder / f"{part}.json").write_text(json.dumps(document), encoding="utf-8")


def benchkit(folder: Path, *words: str) -> str:
    """The installed console script in a folder; its standard output."""
    script = Path(sysconfig.get_path("scripts")) / "benchkit"
    done = subprocess.run([script, *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fingerprints(path: Path) -> dict[str, str]:
    """The three fingerprints of a split file, and the digest of its bytes."""
    return {
        **split_file.stored_fingerprints(path),
        "file": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def versions() -> dict[str, str]:
    """Of what the last bits of files and of training depend on."""
    packages = ("benchkit", "numpy", "h5py", "torch")
    found = {name: metadata.version(name) for name in packages}
    return {**found, "processor": torch.backends.cpu.get_cpu_capability()}


def make_split(folder: Path, name: str) -> Path:
    """Make one of the twelve splits."""
    benchkit(folder, "make-split", *RECIPES[name], "--out", f"{name}.h5")
    return folder / f"{name}.h5"


def train(folder: Path, name: str) -> dict[str, Any]:
    """Method -> metrics of seed 0 after two epochs; all methods that take the split."""
    benchkit(
        *(folder, "run", "--split", f"{name}.h5", "--method", "all", "--seeds", "2"),
        *(word for setting in OLD_DEFAULTS for word in ("--set", setting)),
        *("--recipe", "features-v1", "--recipe", "epochs=2", "--recipe", "batch=16"),
        *("--out", f"runs-{name}"),
    )
    found = {}
    for path in sorted((folder / f"runs-{name}").glob("*/run.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["science"]["seed"] == 0:
            found[record["method"]["key"]] = record["metrics"]
    return found


def main(folder: Path) -> None:
    write_inputs(folder)
    splits = {name: fingerprints(make_split(folder, name)) for name in RECIPES}
    runs = {name: train(folder, name) for name in TRAINED}
    json.dump({"versions": versions(), "splits": splits, "metrics": runs}, sys.stdout, indent=1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
