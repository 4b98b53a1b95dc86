"""Run records on disk. No other module writes them.

    RUNS/<run id>/run.json + scores.npz      written beside, completed by one rename
    RUNS/failures/<run id>.json              a failed run; it never counts as done

The run id depends on the arguments that decide the numbers of a run and on nothing else (see
`leaderboard.arguments`), so the folders of two machines merge by copying.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Collection, Mapping
from importlib import metadata
from pathlib import Path

import numpy as np

from benchkit.base.files import atomic, remove_unfinished
from benchkit.base.messages import Log
from benchkit.split.model import Split
from leaderboard.errors import ReportError
from leaderboard.record import Environment, Failure, Record, RecordedSplit, RunArguments
from leaderboard.records import FAILURES, RUN_FILE, read_record
from splits import labels as matrices
from splits.shots import SHOT_NAMES

SCORES_FILE = "scores.npz"

_PACKAGES = ("benchkit", "torch", "torchvision", "numpy", "scipy", "h5py")
_FORMAT_KEY = re.compile(rb'"format":\s*(\d+)')


def recorded_split(split: Split, fingerprints: Mapping[str, str]) -> RecordedSplit:
    """The description of a split that a record holds, so that a report needs no split file."""
    test = split.parts["test"].true
    positives = matrices.counts(test, 1)
    return RecordedSplit(
        name=split.name,
        fingerprint=fingerprints["both"],
        labels_fingerprint=fingerprints["labels"],
        thresholds=dict(split.thresholds),
        class_names=tuple(split.class_names),
        shot=tuple(SHOT_NAMES[group] for group in split.shot),
        train_count=tuple(split.train_count.tolist()),
        observed_count=tuple(split.observed_count.tolist()),
        test_positives=tuple(positives.tolist()),
        test_known=tuple((positives + matrices.counts(test, 0)).tolist()),
        regime=str(split.regime),
        sizes={
            name: len(split.parts[name].ids) if name in split.parts else 0
            for name in ("train", "val", "test")
        },
    )


def environment(device: str, stacked_runs: int | None = None) -> Environment:
    """The machine and the software of a run."""
    versions = {name: metadata.version(name) for name in _PACKAGES}
    return Environment(
        device=device,
        machine=platform.machine(),
        versions={"python": platform.python_version(), **versions},
        stacked_runs=stacked_runs,
    )


# ----------------------------------------------------------------------------- reading


def is_complete(folder: Path) -> bool:
    """Whether a folder holds a complete record."""
    return (folder / RUN_FILE).is_file() and (folder / SCORES_FILE).is_file()


def find(runs: Path, run_ids: Collection[str]) -> dict[str, Path]:
    """The folders of the runs that have a complete record.

    A record in format 2 has its run id as the name of its folder. The ids of format 1 covered
    every value, also those at their default, so such records are read to compare their arguments.

    Args:
        runs: the folder of records.
        run_ids: the ids of the runs.

    Returns:
        Run id -> folder.
    """
    folders = {run_id: runs / run_id for run_id in run_ids if is_complete(runs / run_id)}
    if len(folders) == len(set(run_ids)) or not runs.is_dir():
        return folders
    for folder in sorted(runs.iterdir()):
        if folder.name not in run_ids and is_complete(folder):
            run_id = _run_id_of_format_1(folder / RUN_FILE)
            if run_id is not None and run_id in run_ids:
                folders.setdefault(run_id, folder)
    return folders


def _run_id_of_format_1(path: Path) -> str | None:
    """The run id that a record in format 1 would have today; None for other or damaged files."""
    with path.open("rb") as file:
        stated = _FORMAT_KEY.search(file.read(64))  # benchkit writes the format first
    if stated is not None and int(stated[1]) != 1:
        return None
    try:
        record = read_record(path)
    except ReportError:
        return None  # `benchkit report` names the file and the error
    return record.arguments.run_id if record.format == 1 else None


def stacked_runs(folder: Path) -> int:
    """The number of runs that were trained with a recorded run; 0 if its record does not tell."""
    try:
        record = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        return int(record["environment"]["stacked_runs"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


# ----------------------------------------------------------------------------- writing


def write(runs: Path, record: Record, scores: np.ndarray, ids: np.ndarray, log: Log) -> Path:
    """Write one record, and remove an earlier failure of the same run.

    Args:
        runs: the folder of records.
        record: the record.
        scores: float32 [Nt, C] test logits.
        ids: unicode [Nt], the ids of the test images.
        log: receives a message for each leftover of an interrupted writer that is removed.

    Returns:
        The folder of the record.
    """
    folder = runs / record.run_id
    with atomic(folder, log) as partial:
        partial.mkdir()
        np.savez(partial / SCORES_FILE, scores=scores.astype(np.float32), ids=ids)
        text = json.dumps(record.to_json(), indent=1, allow_nan=False)
        (partial / RUN_FILE).write_text(text + "\n", encoding="utf-8")
    (runs / FAILURES / f"{record.run_id}.json").unlink(missing_ok=True)
    return folder


def write_failure(runs: Path, arguments: RunArguments, error: str, log: Log) -> None:
    """Record that a run failed. The next start tries it again."""
    failure = Failure(arguments.run_id, arguments.method, arguments.seed, error, arguments)
    with atomic(runs / FAILURES / f"{failure.run_id}.json", log) as partial:
        text = json.dumps(failure.to_json(), indent=1, allow_nan=False)
        partial.write_text(text + "\n", encoding="utf-8")


def remove_interrupted(runs: Path, log: Log) -> None:
    """Remove the leftovers of interrupted writers from a folder of records, and log each one."""
    for folder in (runs, runs / FAILURES):
        if folder.is_dir():
            targets = {path.name[1:].split(".")[0] for path in folder.glob(".*.partial")}
            for target in sorted(targets):
                remove_unfinished(folder / target, log)
                remove_unfinished(folder / f"{target}.json", log)
