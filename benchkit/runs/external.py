"""Records of scores that were computed elsewhere."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from benchkit.base.errors import BenchkitError
from benchkit.base.messages import Log
from benchkit.runs import records
from benchkit.split import file as split_file
from benchkit.split.model import Split
from leaderboard import metrics
from leaderboard.arguments import EXTERNAL
from leaderboard.record import Departures, Metrics, Record, RecordedMethod, RunArguments
from splits import labels as matrices
from splits import npy


def record(
    split_path: Path,
    source: Path | np.ndarray,
    name: str,
    seed: int,
    selection: str,
    out: Path,
    log: Log,
) -> str:
    """Evaluate test scores and record them beside the runs of benchkit.

    Args:
        split_path: the split file.
        source: an .npz file as for `read_scores`, or the scores themselves in the split's order.
        name: the name of the row.
        seed: the seed of the scores.
        selection: the selection rule that produced them.
        out: the folder of records.
        log: receives messages.

    Returns:
        The run id.

    Raises:
        BenchkitError: the scores do not fit the split.
    """
    split = split_file.read(split_path)
    fingerprints = split_file.stored_fingerprints(split_path)
    if isinstance(source, Path):
        scores = read_scores(source, split)
    else:
        scores = check_scores(source, split, "scores")
    arguments = RunArguments(
        split=fingerprints["both"],
        method=name,
        method_version=EXTERNAL,
        hyperparameters={},
        recipe={},
        seed=seed,
        selection=selection,
        metric_version=metrics.METRIC_VERSION,
        inputs={"scores": hashlib.sha256(scores.tobytes()).hexdigest()},
        departures=Departures(),
    )
    folder = records.find(out, {arguments.run_id}).get(arguments.run_id)
    if folder is not None and folder.name != arguments.run_id:  # in format 1
        log(f"these scores are already in {folder} and are kept")
        return folder.name
    labels = matrices.dense(split.parts["test"].true)
    summary = metrics.summary(scores, labels, split.shot)
    file = source if isinstance(source, Path) else out / arguments.run_id / records.SCORES_FILE
    new = Record(
        run_id=arguments.run_id,
        arguments=arguments,
        split=records.recorded_split(split, fingerprints),
        method=RecordedMethod(
            key=name,
            title=name,
            paper="scores computed outside of benchkit",
            year=0,
            oracle=("best_test_epoch",) if selection == "test-oracle" else (),
            kind="external",
        ),
        metrics=Metrics.from_summary(summary),
        environment=records.environment("external"),
        wall_seconds=0.0,
        command=(
            *("benchkit", "evaluate", "--split", str(split_path), "--scores", str(file)),
            *("--name", name, "--seed", str(seed), "--select", selection, "--out", str(out)),
        ),
    )
    records.write(out, new, scores, split.parts["test"].ids, log)
    return new.run_id


def read_scores(path: Path, split: Split) -> np.ndarray:
    """Read scores for the test part of a split, in its row order.

    Args:
        path: an .npz file with `scores` [Nt, C] and, if the rows are in another order, `ids` [Nt].
        split: the split of the scores.

    Returns:
        float32 [Nt, C].

    Raises:
        BenchkitError: the file is not a readable .npz, the shape does not fit, a score is not
            finite, or the ids are not those of the test part.
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
        raise BenchkitError(
            f"{path} does not exist; give an .npz file with an array 'scores'"
        ) from None
    except KeyError:
        raise BenchkitError(f"{path} has no array 'scores' of shape {list(shape)}") from None
    except npy.BROKEN_NPZ as error:
        raise BenchkitError(
            f"{path} is not a readable .npz file: {npy.reason(path, error)}"
        ) from None
    scores = check_scores(scores, split, f"{path}: scores")
    if ids is None:
        return scores
    if ids.shape != shape[:1]:
        raise BenchkitError(f"{path}: ids have shape {list(ids.shape)}, not [{shape[0]}]")
    rows = {image: row for row, image in enumerate(ids)}
    missing = [str(image) for image in test.ids if image not in rows]
    if missing:  # also if an id occurs twice, because there are as many ids as images
        raise BenchkitError(
            f"{path}: image '{missing[0]}' is missing; ids must be those of the split's test part"
        )
    return scores[[rows[image] for image in test.ids]]


def check_scores(scores: np.ndarray, split: Split, source: str) -> np.ndarray:
    """Scores of the test part of a split as float32.

    Args:
        scores: real numbers [Nt, C].
        split: the split of the scores.
        source: the origin of the scores, for messages.

    Raises:
        BenchkitError: the shape does not fit, or a score is not a finite float32 number.
    """
    scores, shape = np.asarray(scores), split.parts["test"].true.shape
    if scores.shape != shape:
        raise BenchkitError(
            f"{source} have shape {list(scores.shape)}; the test part of the split is "
            f"{list(shape)} (images, classes)"
        )
    is_real = scores.dtype.kind in "fiu"
    with np.errstate(over="ignore"):  # a value too large for float32 becomes infinite
        scores = scores.astype(np.float32) if is_real else scores
    if not is_real or not np.isfinite(scores).all():
        raise BenchkitError(f"{source} hold a value that is not a finite float32 number")
    return scores
