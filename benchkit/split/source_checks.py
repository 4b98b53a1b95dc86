"""Messages about sources that give misleading splits: labels, features and repeated images."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchkit.base.errors import BenchkitError
from benchkit.base.messages import Log
from benchkit.split.loading import SourceCall
from benchkit.split.model import Part, Split
from splits.labels import Labels, counts
from splits.source import Source

_MOST_NAMED = 3  # classes in a message
_SMALL = 16  # numbers of a row that are compared first


def check_evaluation(call: SourceCall, true: Mapping[str, Labels]) -> None:
    """Refuse a test or validation part without any known negative label.

    AP compares positives with negatives: without a known negative it is 100 for all scores.

    Args:
        call: the source and its options.
        true: the true labels of each part.

    Raises:
        BenchkitError: a part has no known negative label.
    """
    for part, labels in _evaluation_parts(true):
        if not counts(labels, 0).any():
            raise BenchkitError(
                f"{call.text}: the {part} part has no known negative label, so every method would "
                f"get an AP of 100; {_advice(call, labels)}"
            )


def log_evaluation(call: SourceCall, split: Split, log: Log) -> None:
    """Log classes without a known negative, and unknown labels that no option asked for.

    Args:
        call: the source and its options.
        split: the split.
        log: called with at most two messages for each of test and val.
    """
    true = {name: part.true for name, part in split.parts.items()}
    for part, labels in _evaluation_parts(true):
        alone = (counts(labels, 0) == 0) & (counts(labels, 1) > 0)
        if alone.any():
            names = [split.class_names[column] for column in np.flatnonzero(alone)]
            log(
                f"{call.text}: {len(names)} of {len(alone)} classes have positives but no known "
                f"negative in the {part} part, so their AP is 100 for every method: {_list(names)}"
            )
        unknown = counts(labels, -1).sum()
        if unknown and not _asks_for_unknown(call):
            share = unknown / (labels.shape[0] * labels.shape[1])
            log(
                f"{call.text}: {unknown:,} labels of the {part} part ({share:.1%}) are unknown and "
                f"left out of its metrics{_question(call)}"
            )


def _evaluation_parts(true: Mapping[str, Labels]) -> list[tuple[str, Labels]]:
    return [(name, labels) for name, labels in true.items() if name != "train"]


def _advice(call: SourceCall, labels: Labels) -> str:
    has_choice = call.options.get("minus_one", "negative") != "negative"
    if has_choice and counts(labels, -1).any():
        return "if -1 means negative, use -o minus_one=negative"
    if call.options.get("keep_empty") in ("none", "test"):
        return "keep images without labels with -o keep_empty=both"
    return "add images that are known not to have a class"


def _question(call: SourceCall) -> str:
    if "minus_one" not in call.options or call.options["minus_one"] == "negative":
        return ""
    return "; if -1 means negative, use -o minus_one=negative; -o minus_one=unknown confirms it"


def _asks_for_unknown(call: SourceCall) -> bool:
    """Whether an explicit option, or the kind of source, declares unknown labels."""
    values = [str(call.options[name]) for name in call.explicit if name in call.options]
    return getattr(call.module, "HAS_UNKNOWN_LABELS", False) or any(
        value.startswith("unknown") for value in values
    )


def _list(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def log_missing_features(
    source: Source, call: SourceCall, explicit: frozenset[str], log: Log
) -> None:
    """Log that a split has no features, unless an argument of the call asks for that."""
    if "backbone" in explicit or call.options.get("features") == "none":
        return
    options: Mapping[str, Any] = call.options
    if source.roots and source.paths is not None:
        remedy = "compute them with --backbone resnet50"
    elif "images" in options:
        remedy = "name the folder of the images with -o images=FOLDER, and a --backbone"
        if "features" in options:
            remedy = f"add them to the source (--help-source {call.kind}), or {remedy}"
    else:
        remedy = f"see --help-source {call.kind} for sources of features"
    log(f"{call.text}: the split has no features, so it cannot be trained on; {remedy}")


def log_repeated_images(source: str, parts: Mapping[str, Part], log: Log) -> None:
    """Log how many images of test and val have the features of a training image."""
    train = parts["train"].features
    if train is None:
        return
    for name in (name for name in parts if name != "train"):
        features = parts[name].features
        assert features is not None  # all parts have features, or none
        repeated = int(is_repeated(train, features).sum())
        if repeated:
            log(
                f"{source}: {repeated} of {len(features)} images in the {name} part have the same "
                f"features as a training image"
            )


def is_repeated(train: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Which rows of one array are equal, to the bit, to a row of another.

    Args:
        train: float16 or float32 [N, V, D].
        other: the same type, [M, V, D].

    Returns:
        bool [M].
    """
    first, second = (array.reshape(len(array), -1) for array in (train, other))
    # Few rows agree in their first numbers, so few are compared completely.
    starts = {start.tobytes() for start in np.ascontiguousarray(first[:, :_SMALL])}
    rows = [row for row, start in enumerate(second[:, :_SMALL]) if start.tobytes() in starts]
    if not rows:
        return np.zeros(len(second), bool)
    ends = {start.tobytes() for start in np.ascontiguousarray(second[rows, :_SMALL])}
    known = {_digest(row) for row in first if row[:_SMALL].tobytes() in ends}
    repeated = np.zeros(len(second), bool)
    repeated[rows] = [_digest(second[row]) in known for row in rows]
    return repeated


def _digest(row: np.ndarray) -> bytes:
    return hashlib.blake2b(row.tobytes(), digest_size=16).digest()
