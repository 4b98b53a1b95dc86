"""Run records on disk. No other module writes them.

    RUNS/<run id>/run.json + scores.npz      written beside, completed by one rename
    RUNS/failures/<run id>.json              a failed run; it never counts as done

An existing record is replaced only when the new one is complete. `run.json` holds a digest of its
own content and one of the arrays in `scores.npz`; a record that was changed later does not count.

The run id depends on the arguments that decide the numbers of a run and on nothing else (see
`leaderboard.arguments`), so the folders of two machines merge by copying.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import zipfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchkit.base.errors import BenchkitError
from benchkit.base.files import atomic, remove_all_unfinished
from benchkit.base.messages import Log, no_log
from benchkit.split.model import Split, content_digest
from leaderboard import json_file
from leaderboard.errors import ReportError
from leaderboard.record import Environment, Failure, Record, RecordedSplit, RunArguments
from leaderboard.records import FAILURES, RUN_FILE, read_record
from splits import labels as matrices
from splits.shots import SHOT_NAMES

SCORES_FILE = "scores.npz"

_PACKAGES = ("benchkit", "torch", "torchvision", "numpy", "scipy", "h5py")
_SPACE_OF_JSON = 1 << 16  # bytes of a `run.json` of many classes and epochs
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_FORMAT_KEY = re.compile(rb'"format":\s*(\d+)')


class NotRecordableError(BenchkitError):
    """A result with a value that a report could not read."""


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


_CHECKED_SCORES = 1 << 24  # scores that are read by default


def scores_digest(scores: np.ndarray, ids: np.ndarray) -> str:
    """The SHA-256 of the names, types, shapes and little-endian bytes of `scores` and `ids`."""
    return content_digest([("scores", scores), ("ids", ids)], [])


def damage(folder: Path, ids: np.ndarray | None = None, most: int = _CHECKED_SCORES) -> str | None:
    """The reason why a folder does not hold a complete record, or None if it does.

    The check is cheap: it reads `run.json`, the headers of the arrays in `scores.npz`, the ids if
    they are given, and both arrays if there are at most `most` scores.

    Args:
        folder: the folder of a record.
        ids: unicode [Nt], the ids of the test images that the record must have.
        most: the largest number of scores that are read and compared with their digest. Formats 1
            and 2 have no digest; their scores must be finite.
    """
    try:
        record = read_record(folder / RUN_FILE)
    except ReportError as error:
        return str(error).rstrip(".")
    if record.format > 1 and folder.name != record.run_id:
        return f"{folder / RUN_FILE} describes the run {record.run_id}"
    images, classes = record.split.sizes["test"], len(record.split.class_names)
    path = folder / SCORES_FILE
    if ids is not None and len(ids) != images:
        return f"{folder / RUN_FILE} describes {images} test images, and the split has {len(ids)}"
    is_read = images * classes <= most
    try:
        with zipfile.ZipFile(_regular(path)) as archive:
            scores = _check_member(archive, "scores", (images, classes), "f", read=is_read)
            if scores is not None and not np.isfinite(scores).all():
                raise _ScoresError("a score is not finite")
            stored = _check_member(archive, "ids", (images,), "U", is_read or ids is not None)
    except Exception as error:  # whatever a damaged archive makes its readers raise
        return f"{path} is not a file of scores [{images}, {classes}] and ids ({_text(error)})"
    if ids is not None and not np.array_equal(np.asarray(stored), ids):
        return f"{path} holds the ids of other test images"
    if scores is None or stored is None or not record.is_sealed:
        return None
    if scores_digest(scores, stored) != record.scores_digest:
        return f"{path} does not match its digest in {RUN_FILE}, so it was changed afterwards"
    return None


class _ScoresError(ValueError):
    """A file of scores that was read and is not as it must be."""


def _regular(path: Path) -> Path:
    """A path that is safe to open: a named pipe would wait."""
    if not path.is_file():
        raise _ScoresError("it is missing")
    return path


def _check_member(
    archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], kind: str, read: bool = False
) -> np.ndarray | None:
    """Check the header and the size of an array that `numpy.savez` wrote; return it if asked.

    Raises:
        _ScoresError: the member is not as `numpy.savez` writes it, or has another shape or kind.
    """
    if f"{name}.npy" not in archive.namelist():
        raise _ScoresError(f"the array '{name}' is missing")
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type != zipfile.ZIP_STORED:
        raise _ScoresError(f"{name} is compressed")
    with archive.open(info) as file:
        reader = _HEADERS[np.lib.format.read_magic(file)]
        stored_shape, fortran_order, dtype = reader(file)
        if stored_shape != shape or dtype.kind != kind or fortran_order:
            raise _ScoresError(f"{name} has the shape {list(stored_shape)} and the type {dtype}")
        if info.file_size - file.tell() != math.prod(shape) * dtype.itemsize:
            raise _ScoresError(f"{name} has {info.file_size} bytes")
        if not read:
            return None
        return np.frombuffer(file.read(), dtype).reshape(shape)


def _text(error: Exception) -> str:
    """The reason why a file of scores was refused; libraries word theirs for programmers."""
    if isinstance(error, _ScoresError):
        return str(error)
    return (
        "it is not a complete .npz file"
        if isinstance(error, zipfile.BadZipFile)
        else "it is damaged"
    )


def find(
    runs: Path, run_ids: Collection[str], log: Log = no_log, ids: np.ndarray | None = None
) -> dict[str, Path]:
    """The folders of the runs that have a complete record.

    From format 2 on, a record has its run id as the name of its folder. The ids of format 1 covered
    every value, also those at their default, so such records are read to compare their arguments.

    Args:
        runs: the folder of records.
        run_ids: the ids of the runs.
        log: receives a message for each damaged record, which does not count as complete.
        ids: unicode [Nt], the ids of the test images; records of other images are damaged.

    Returns:
        Run id -> folder.

    Raises:
        BenchkitError: something other than a folder is in the place of a record, or a folder that
            could not be replaced.
    """
    folders = find_named(runs, run_ids, log, ids)
    if len(folders) == len(set(run_ids)) or not runs.is_dir():
        return folders
    for folder in sorted(runs.iterdir()):
        if folder.name not in run_ids:
            run_id = _run_id_of_format_1(folder / RUN_FILE)
            if run_id is not None and run_id in run_ids:
                _add_if_complete(folders, run_id, folder, log, ids)
    return folders


def find_named(
    runs: Path, run_ids: Collection[str], log: Log = no_log, ids: np.ndarray | None = None
) -> dict[str, Path]:
    """The folders of complete records from format 2 on; see `find`."""
    folders: dict[str, Path] = {}
    for run_id in sorted(run_ids):
        folder = runs / run_id
        if os.path.lexists(folder):
            if folder.is_symlink() or not folder.is_dir():
                raise BenchkitError(
                    f"{folder} is in the place of a record and is no folder; move it away"
                )
            _add_if_complete(folders, run_id, folder, log, ids)
            # Replacing a folder takes the permission to write to it.
            access = os.access(folder, os.R_OK | os.W_OK | os.X_OK, effective_ids=True)
            if run_id not in folders and not access:
                raise BenchkitError(
                    f"{folder} is in the place of a record and may not be replaced; change its "
                    "permissions, or move it away"
                )
    return folders


def _add_if_complete(
    folders: dict[str, Path], run_id: str, folder: Path, log: Log, ids: np.ndarray | None
) -> None:
    if run_id in folders:
        return
    reason = damage(folder, ids)
    if reason is None:
        folders[run_id] = folder
    else:
        log(f"the record {folder} is damaged and does not count as done: {reason}")


def _run_id_of_format_1(path: Path) -> str | None:
    """The run id that a record in format 1 would have today; None for other or damaged files."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            stated = _FORMAT_KEY.search(file.read(64))  # benchkit writes the format first
        if stated is not None and int(stated[1]) != 1:
            return None
        record = read_record(path)
    except OSError:
        return None
    except ReportError:
        return None  # `benchkit report` names the file and the error
    return record.arguments.run_id if record.format == 1 else None


def stacked_runs(folder: Path) -> int:
    """The number of runs that were trained with a recorded run; 0 if its record does not tell."""
    try:
        return read_record(folder / RUN_FILE).environment.stacked_runs or 0
    except ReportError:
        return 0


# ----------------------------------------------------------------------------- writing


def space(shape: tuple[int, ...], ids: np.ndarray) -> int:
    """The bytes of one record of scores of this shape, at most."""
    return 4 * math.prod(shape) + ids.nbytes + _SPACE_OF_JSON


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

    Raises:
        NotRecordableError: a report could not read the record.
        BenchkitError: the disk is full.
    """
    folder, scores = runs / record.run_id, scores.astype(np.float32)
    path = folder / RUN_FILE
    sealed = replace(record, scores_digest=scores_digest(scores, ids), path=path)
    content = _readable_json(sealed.to_json, path, Record.from_json)
    with atomic(folder, log, space(scores.shape, ids)) as partial:
        partial.mkdir()
        np.savez(partial / SCORES_FILE, scores=scores, ids=ids)
        (partial / RUN_FILE).write_bytes(content)
    (runs / FAILURES / f"{record.run_id}.json").unlink(missing_ok=True)
    return folder


def write_failure(runs: Path, arguments: RunArguments, error: str, log: Log) -> None:
    """Record that a run failed. The next start tries it again.

    Raises:
        NotRecordableError: a report could not read the failure.
        BenchkitError: the disk is full.
    """
    failure = Failure(arguments.run_id, arguments.method, arguments.seed, error, arguments)
    path = runs / FAILURES / f"{failure.run_id}.json"
    content = _readable_json(lambda: failure.to_json(path), path, Failure.from_json)
    with atomic(path, log) as partial:
        partial.write_bytes(content)


def _readable_json(
    to_json: Callable[[], dict[str, Any]],
    path: Path,
    read: Callable[[Any, Path], Record | Failure],
) -> bytes:
    """The JSON of a record or a failure, after it was read as a report will read it.

    Raises:
        NotRecordableError: a value, such as one of a plugin's `info`, has a wrong type.
    """
    try:
        content = (json.dumps(to_json(), indent=1, allow_nan=False) + "\n").encode()
        read(json_file.parse(content, path), path)
    except ReportError as error:
        raise NotRecordableError(f"the result cannot be recorded: {error}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise NotRecordableError(
            f"the result cannot be recorded in {path}: it holds a value that is neither text, a "
            "finite number, true, false, null, nor a list or an object of these"
        ) from error
    return content


def remove_interrupted(runs: Path, log: Log) -> None:
    """Remove what interrupted writers left in a folder of records, and log each removal.

    A record that such a writer was replacing is restored.
    """
    for folder in (runs, runs / FAILURES):
        remove_all_unfinished(folder, log)
