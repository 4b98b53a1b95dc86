"""Run records: the one module that writes them.

    RUNS/<run id>/run.json + scores.npz      made beside, completed by one rename
    RUNS/failures/<run id>.json              a failure is recorded, and never counts as done

The run id is a hash of the scientific arguments only: split fingerprint, method, its version,
hyperparameters, recipe, seed, selection rule, metric version and the digests of further inputs;
never of paths, hosts or devices. Folders of two machines merge by copying.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchkit.base.files import Log, atomic, remove_unfinished
from benchkit.split.model import Split, canonical
from splits import labels as matrices

FORMAT = 1
SHOT_NAMES = ("many", "medium", "few")


def run_id(science: Mapping[str, Any]) -> str:
    """The first 16 hex digits of the SHA-256 of the scientific arguments."""
    return hashlib.sha256(canonical(science).encode()).hexdigest()[:16]


def describe_split(split: Split, fingerprints: Mapping[str, str]) -> dict[str, Any]:
    """What a record repeats of its split, so that a leaderboard needs no split file."""
    test = split.parts["test"].true
    positives = matrices.counts(test, 1)
    return {
        "name": split.name,
        "fingerprint": fingerprints["both"],
        "labels_fingerprint": fingerprints["labels"],
        "thresholds": dict(split.thresholds),
        "class_names": list(split.class_names),
        "shot": [SHOT_NAMES[group] for group in split.shot],
        "train_count": [int(count) for count in split.train_count],
        "observed_count": [int(count) for count in split.observed_count],
        "test_positives": positives.tolist(),
        "test_known": (positives + matrices.counts(test, 0)).tolist(),
        "regime": split.regime,
        "sizes": {
            name: len(split.parts[name].ids) if name in split.parts else 0
            for name in ("train", "val", "test")
        },
    }


def environment(device: str) -> dict[str, Any]:
    """Where a run was made; recorded, and not part of its identity."""
    packages = ("benchkit", "torch", "torchvision", "numpy", "scipy", "h5py")
    versions = {name: metadata.version(name) for name in packages}
    return {
        "device": device,
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(), **versions},
    }


def is_done(runs: Path, identity: str) -> bool:
    """Whether a complete record exists; whatever else lies there is not one."""
    folder = runs / identity
    return (folder / "run.json").is_file() and (folder / "scores.npz").is_file()


def write(
    runs: Path, record: Mapping[str, Any], scores: np.ndarray, ids: np.ndarray, log: Log
) -> Path:
    """Write one complete record and forget an earlier failure of the same run.

    Args:
        runs: the folder of records.
        record: everything of run.json, `run_id` included.
        scores: float32 [Nt, C] test logits.
        ids: unicode [Nt].
        log: called with a message about unfinished leftovers that are removed.
    """
    folder = runs / record["run_id"]
    with atomic(folder, log) as partial:
        partial.mkdir()
        np.savez(partial / "scores.npz", scores=scores.astype(np.float32), ids=ids)
        text = json.dumps(record, indent=1, allow_nan=False)
        (partial / "run.json").write_text(text + "\n", encoding="utf-8")
    (runs / "failures" / f"{record['run_id']}.json").unlink(missing_ok=True)
    return folder


def write_failure(runs: Path, science: Mapping[str, Any], error: str, log: Log) -> None:
    """Record that a run failed, so that a table can say so; the next start tries it again."""
    identity = run_id(science)
    failure = {
        "run_id": identity,
        "method": science["method"],
        "seed": science["seed"],
        "error": error,
        "science": dict(science),
    }
    with atomic(runs / "failures" / f"{identity}.json", log) as partial:
        partial.write_text(json.dumps(failure, indent=1) + "\n", encoding="utf-8")


def tidy(runs: Path, log: Log) -> None:
    """Remove what interrupted writers left in a folder of records, and say so."""
    for folder in (runs, runs / "failures"):
        if folder.is_dir():
            targets = {p.name[1:].split(".")[0] for p in folder.glob(".*.partial")}
            for target in sorted(targets):
                remove_unfinished(folder / target, log)
                remove_unfinished(folder / f"{target}.json", log)
