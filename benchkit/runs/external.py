"""Scores that were computed elsewhere, made into records of the same leaderboard."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from benchkit.base.errors import BenchkitError
from benchkit.base.files import Log
from benchkit.runs import records
from benchkit.split import file as split_file
from benchkit.split.model import Split
from leaderboard import metrics
from splits import labels as matrices
from splits import npy


def record(
    split_path: Path, path: Path, name: str, seed: int, selection: str, out: Path, log: Log
) -> str:
    """Score test logits made elsewhere and put them beside the other records; returns the id."""
    split = split_file.read(split_path)
    fingerprints = split_file.stored_fingerprints(split_path)
    logits = read_scores(path, split)
    science = {
        "split": fingerprints["both"],
        "method": name,
        "method_version": "external",
        "hyperparameters": {},
        "recipe": {},
        "seed": seed,
        "selection": selection,
        "metric_version": metrics.METRIC_VERSION,
        "inputs": {"scores": hashlib.sha256(logits.tobytes()).hexdigest()},
    }
    identity = records.run_id(science)
    record = {
        "format": records.FORMAT,
        "run_id": identity,
        "science": science,
        "split": records.describe_split(split, fingerprints),
        "method": {
            "key": name,
            "title": name,
            "paper": "scores computed outside of benchkit",
            "year": 0,
            "oracle": ["best_test_epoch"] if selection == "test-oracle" else [],
            "kind": "external",
        },
        "metrics": metrics.evaluate(logits, matrices.dense(split.parts["test"].true), split.shot),
        "curve": [],
        "environment": records.environment("external"),
        "wall_seconds": 0.0,
        "command": [
            *("benchkit", "evaluate", "--split", str(split_path), "--scores", str(path)),
            *("--name", name, "--seed", str(seed), "--select", selection, "--out", str(out)),
        ],
    }
    records.write(out, record, logits, split.parts["test"].ids, log)
    return identity


def read_scores(path: Path, split: Split) -> np.ndarray:
    """Scores from elsewhere for the test part of a split, in its row order.

    Args:
        path: an .npz with `scores` [Nt, C] and, where rows are in another order, `ids` [Nt].
        split: the split they were made for.

    Raises:
        BenchkitError: not an .npz, wrong shape, not finite, or ids that do not match.
    """
    test, shape = split.parts["test"], split.parts["test"].true.shape
    try:
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise ValueError("it holds one array without a name")
        with file:
            scores = np.asarray(file["scores"])
            ids = file["ids"].astype(str) if "ids" in file else None
    except FileNotFoundError:
        raise BenchkitError(f"{path} does not exist; give an .npz with an array 'scores'") from None
    except KeyError:
        raise BenchkitError(f"{path} has no array 'scores'; it must be {list(shape)}") from None
    except npy.BROKEN_NPZ as error:
        raise BenchkitError(
            f"{path} is not a readable .npz file: {npy.reason(path, error)}"
        ) from None
    if scores.shape != shape:
        raise BenchkitError(
            f"{path}: scores have shape {list(scores.shape)}; the test part of the split is "
            f"{list(shape)} (images, classes)"
        )
    real = scores.dtype.kind in "fiu"
    with np.errstate(over="ignore"):
        scores = scores.astype(np.float32) if real else scores
    if not real or not np.isfinite(scores).all():
        raise BenchkitError(f"{path}: scores hold a value that is not a finite float32 number")
    if ids is None:
        return scores
    if ids.shape != shape[:1]:
        raise BenchkitError(f"{path}: ids have shape {list(ids.shape)}, not [{shape[0]}]")
    place = {name: row for row, name in enumerate(ids)}
    missing = [str(name) for name in test.ids if name not in place]
    if missing:  # also where an id occurs twice: there are as many ids as images
        raise BenchkitError(
            f"{path}: image '{missing[0]}' is missing; ids must be those of the split's test part"
        )
    return scores[[place[name] for name in test.ids]]
