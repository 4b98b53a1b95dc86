"""Records of scores that were computed elsewhere."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchkit.base.errors import BenchkitError, UsageError
from benchkit.base.messages import Log
from benchkit.base.outputs import writable_folder
from benchkit.base.paths import regular_file
from benchkit.runs import claims, records
from benchkit.split import file as split_file
from benchkit.split.model import Split
from leaderboard import metrics
from leaderboard.arguments import EXTERNAL
from leaderboard.record import Departures, Metrics, Record, RecordedMethod, RunArguments
from splits import labels as matrices
from splits import npy

_LARGEST_LOGIT = 1000.0  # of a probability of 1; that of the largest double below 1 is 36.7


@dataclass(frozen=True)
class Declaration:
    """What the author of scores says about them.

    Attributes:
        scale: `probability` or `logit`; None if it is not declared.
        oracle: the hidden truths that the scores used, names of `benchkit.runs.options.ORACLES`.
        note: a remark for the reader of the table.
    """

    scale: str | None = None
    oracle: tuple[str, ...] = ()
    note: str = ""


def record(
    split_path: Path,
    source: Path | np.ndarray,
    name: str,
    seed: int,
    selection: str,
    out: Path,
    log: Log,
    declared: Declaration = Declaration(),
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
        declared: what the author of the scores says about them.

    Returns:
        The run id. It covers the logits, so it depends on the scale.

    Raises:
        UsageError: the scores do not fit their scale, or may be probabilities without a scale.
        BenchkitError: the scores do not fit the split.
    """
    split = split_file.read(split_path)
    fingerprints = split_file.stored_fingerprints(split_path)
    if isinstance(source, Path):
        scores = to_logits(_read(source, split), declared.scale, f"{source}: scores")
    else:
        scores = to_logits(check_scores(source, split, "scores"), declared.scale, "scores")
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
    writable_folder(out, log)
    records.remove_interrupted(out, log)
    claims.remove_void(out, log)
    ids = split.parts["test"].ids
    folder = records.find(out, {arguments.run_id}, log, ids).get(arguments.run_id)
    if folder is not None and folder.name != arguments.run_id:  # in format 1
        log(f"these scores are already in {folder} and are kept")
        return folder.name
    labels = matrices.dense(split.parts["test"].true)
    summary = metrics.summary(scores, labels, split.shot)
    new = Record(
        run_id=arguments.run_id,
        arguments=arguments,
        split=records.recorded_split(split, fingerprints),
        method=RecordedMethod(
            key=name,
            title=name,
            paper="scores computed outside of benchkit",
            year=0,
            oracle=tuple(
                dict.fromkeys(
                    (*declared.oracle, *(["best_test_epoch"] if selection == "test-oracle" else []))
                )
            ),
            kind="external",
            scale=declared.scale or "",
            note=declared.note,
        ),
        metrics=Metrics.from_summary(summary),
        environment=records.environment("external"),
        wall_seconds=0.0,
        command=_command(split_path, source, arguments, out, declared),
    )
    records.write(out, new, scores, ids, log)
    return new.run_id


def _command(
    split_path: Path,
    source: Path | np.ndarray,
    arguments: RunArguments,
    out: Path,
    declared: Declaration,
) -> tuple[str, ...]:
    """The command that repeats a record; scores that were passed as an array are read from it."""
    scale, file = declared.scale, source
    if not isinstance(file, Path):
        file = out / arguments.run_id / records.SCORES_FILE
        scale = scale and "logit"  # the record holds logits
    words = ["benchkit", "evaluate", "--split", str(split_path), "--scores", str(file)]
    words += ["--name", arguments.method, "--seed", str(arguments.seed)]
    words += ["--select", arguments.selection]
    words += ["--scale", scale] if scale else []
    for name in declared.oracle:
        words += ["--oracle", name]
    words += ["--note", declared.note] if declared.note else []
    return (*words, "--out", str(out))


def read_scores(path: Path, split: Split) -> np.ndarray:
    """Read logits for the test part of a split, in its row order.

    Args:
        path: an .npz file with `scores` [Nt, C] and, if the rows are in another order, `ids` [Nt].
        split: the split of the scores.

    Returns:
        float32 [Nt, C].

    Raises:
        BenchkitError: the file is not a readable .npz, the shape does not fit, a score is not
            finite, or the ids are not those of the test part.
    """
    return _read(path, split).astype(np.float32)


def _read(path: Path, split: Split) -> np.ndarray:
    """`read_scores`, in the type of the file."""
    test, shape = split.parts["test"], split.parts["test"].true.shape
    if not path.exists():
        raise BenchkitError(f"{path} does not exist; give an .npz file with an array 'scores'")
    if not path.is_dir():  # which is named below
        regular_file(path, "file of scores")
    try:
        file = npy.load(path)
        if isinstance(file, np.ndarray):
            raise BenchkitError(
                f"{path} is not a readable .npz file: it holds one array without a name"
            )
        with file:
            scores = np.asarray(npy.member(file, "scores"))
            ids = npy.member(file, "ids").astype(str) if "ids" in file else None
    except KeyError:
        raise BenchkitError(f"{path} has no array 'scores' of shape {list(shape)}") from None
    except MemoryError:
        raise BenchkitError(f"there is not enough memory for the scores {path}") from None
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
    """Check scores of the test part of a split; returns them as an array.

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
        if not is_real or not np.isfinite(scores.astype(np.float32)).all():
            raise BenchkitError(f"{source} hold a value that is not a finite float32 number")
    return scores


def to_logits(scores: np.ndarray, scale: str | None, source: str) -> np.ndarray:
    """Scores as float32 logits.

    Args:
        scores: real numbers [Nt, C].
        scale: `probability`, `logit`, or None if it is not declared.
        source: the origin of the scores, for messages.

    Raises:
        UsageError: a probability is outside [0, 1]; or no scale is declared and all values lie in
            [0, 1], so that they may be probabilities.
    """
    outside = (scores < 0) | (scores > 1)
    if scale == "probability" and outside.any():
        value = scores[outside][0].item()
        raise UsageError(
            f"{source} hold {value:g}, which is no probability: --scale probability takes values "
            "from 0 to 1"
        )
    if scale is None and not outside.any():
        raise UsageError(
            f"{source} all lie between 0 and 1: say with --scale probability or --scale logit "
            "what they are"
        )
    return logits_of(scores) if scale == "probability" else scores.astype(np.float32)


def logits_of(probabilities: np.ndarray) -> np.ndarray:
    """Logits ln(p / (1 - p)) that order the images of every class as the probabilities do.

    0 and 1 become -1000 and 1000. Rounding to float32 makes some different probabilities equal:
    near a logit of -10, float32 logits are eight times as coarse as float32 probabilities. Such
    logits are moved to the next free float32 numbers, so average precision is exactly that of the
    probabilities.

    Args:
        probabilities: real numbers [N, C] in [0, 1].

    Returns:
        float32 [N, C], finite; positive exactly where p > 1/2.
    """
    logits = np.empty(probabilities.shape, np.float32)
    for c in range(probabilities.shape[1]):
        levels, rows = np.unique(probabilities[:, c].astype(np.float64), return_inverse=True)
        with np.errstate(divide="ignore"):
            exact = np.log(levels / (1 - levels))
        logits[:, c] = _rising(np.clip(exact, -_LARGEST_LOGIT, _LARGEST_LOGIT))[rows]
    return logits


def _rising(values: np.ndarray) -> np.ndarray:
    """Ascending numbers [n] as strictly ascending float32 numbers.

    The bits of float32 numbers, read as integers with a sign, count the numbers from zero.
    """
    bits = values.astype(np.float32).view(np.int32).astype(np.int64)
    place = np.where(bits < 0, -(bits + 2**31), bits)
    rank = np.arange(len(place))
    place = np.maximum.accumulate(place - rank) + rank
    bits = np.where(place < 0, -place - 2**31, place)
    return bits.astype(np.int32).view(np.float32)
