"""Reading a folder of runs.

    RUNS/<run id>/run.json           a finished run
    RUNS/failures/<run id>.json      a run that failed

A folder without a `run.json`, or one that is still `.partial`, is an interrupted run: it is counted
and not read. A record that cannot be read is named and left out. The folders of several machines
merge by copying.

A writer that replaces a record keeps the old one as `.<run id>.<token>.partial/.old0` until the new
one is in place. If the writer was killed in between, the old record is read from there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from leaderboard import json_file
from leaderboard.errors import ReportError
from leaderboard.record import Failure, Record

RUN_FILE = "run.json"
FAILURES = "failures"

_SCORES_FILE = "scores.npz"
_PARTIAL = re.compile(r"\.(?P<target>.+)\.[^.]+\.partial", re.DOTALL)
_SET_ASIDE = ".old*"
_SUGGESTIONS = 3

T = TypeVar("T")


@dataclass(frozen=True)
class Records:
    """The contents of a folder of runs.

    Attributes:
        records: the finished runs, in the order of their run ids.
        failures: the failures whose run has not succeeded since.
        interrupted: the names of the folders of interrupted runs.
        unreadable: a sentence for each record or failure that was left out.
        hint: what to do about a folder without any of these; else empty.
    """

    records: tuple[Record, ...]
    failures: tuple[Failure, ...] = ()
    interrupted: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    hint: str = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about the runs that have no record."""
        return self.general_notes + tuple(failure.sentence() for failure in self.failures)

    @property
    def general_notes(self) -> tuple[str, ...]:
        """Sentences about interrupted runs and unreadable records, whose table is not known."""
        left_out = tuple(f"left out: {sentence}" for sentence in self.unreadable)
        if not self.interrupted:
            return left_out
        count = len(self.interrupted)
        folders = "1 folder holds" if count == 1 else f"{count} folders hold"
        return (
            f"{folders} an interrupted run without a record: start the same command again to "
            "finish it.",
            *left_out,
        )


def load(runs: Path, strict: bool = False) -> Records:
    """Read every run record of a folder.

    Args:
        runs: the folder that holds one folder per run.
        strict: refuse a file that cannot be read, and a record that contradicts another one,
            instead of leaving it out.

    Returns:
        The records, the failures, the interrupted runs and what was left out.

    Raises:
        ReportError: the folder is missing or cannot be read; if `strict`, also a record that cannot
            be read or has a wrong value, and two folders that hold the same run.
    """
    folders = _folders(runs)
    unreadable: list[str] = []

    def reject(sentence: str) -> None:
        if strict:
            raise ReportError(sentence)
        unreadable.append(sentence)

    def attempt(read: Callable[[Path], T], paths: Iterable[Path]) -> Iterator[T]:
        for path in paths:
            try:
                yield read(path)
            except ReportError as error:
                reject(str(error))

    names = {folder.name for folder in folders}
    aside = {name: path for name, path in _set_aside(folders).items() if name not in names}
    present = [f for f in folders if not f.name.startswith(".") and (f / RUN_FILE).is_file()]
    paths = [*(folder / RUN_FILE for folder in present), *aside.values()]
    readable = list(attempt(read_record, paths))
    for folder in folders:
        path = folder / RUN_FILE
        if not folder.name.startswith(".") and os.path.lexists(path) and not path.is_file():
            reject(f"{path} is not a regular file: repeat the run.")
    consistent = _of_one_default(_of_one_split(_once(readable, reject), reject), reject)
    records = sorted(consistent, key=lambda record: record.run_id)
    failures = list(attempt(_read_failure, _failure_paths(runs / FAILURES)))
    recorded = {*aside, *(folder.name for folder in present)}
    interrupted = [f.name for f in folders if _is_interrupted(f, recorded)]
    is_empty = not (records or failures or unreadable)
    return Records(
        tuple(records),
        tuple(_unresolved(failures, records)),
        tuple(interrupted),
        tuple(unreadable),
        _hint(runs, folders, interrupted) if is_empty else "",
    )


def read_record(path: Path) -> Record:
    """Read one `run.json`.

    Raises:
        ReportError: the file cannot be read, or a key is missing or has a wrong value.
    """
    return Record.from_json(json_file.read(path), path)


def read_failures(folder: Path) -> list[Failure]:
    """Read the failures of a folder, which may be missing, in the order of their file names.

    Raises:
        ReportError: a file cannot be read, or a key is missing or has a wrong value.
    """
    return [_read_failure(path) for path in _failure_paths(folder)]


def _read_failure(path: Path) -> Failure:
    return Failure.from_json(json_file.read(path), path)


def _failure_paths(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))


def _folders(runs: Path) -> list[Path]:
    """The folders in a folder of runs, in the order of their names."""
    if not runs.is_dir():
        raise ReportError(f"{runs} is not a folder: name the folder that holds the runs.")
    try:
        return sorted(path for path in runs.iterdir() if path.is_dir() and path.name != FAILURES)
    except OSError as error:
        raise ReportError(f"{runs} cannot be read: {error.strerror or error}.") from error


def _set_aside(folders: Iterable[Path]) -> dict[str, Path]:
    """Name of a record -> its `run.json` inside the folder of a writer that was replacing it."""
    paths = {}
    for folder in folders:
        match = _PARTIAL.fullmatch(folder.name)
        if match is not None:
            for path in sorted(folder.glob(f"{_SET_ASIDE}/{RUN_FILE}")):
                paths[match["target"]] = path
    return paths


def _is_interrupted(folder: Path, recorded: set[str]) -> bool:
    """Whether a folder was left by an interrupted run: partial, empty, or without a `run.json`."""
    if folder.name.startswith("."):
        match = _PARTIAL.fullmatch(folder.name)
        return folder.name.endswith(".partial") and (not match or match["target"] not in recorded)
    try:
        names = {path.name for path in folder.iterdir()}
    except OSError:
        return False
    return names <= {_SCORES_FILE}


def _hint(runs: Path, folders: Iterable[Path], interrupted: Sequence[str]) -> str:
    """A sentence about a folder without records; empty if it holds interrupted runs only."""
    start = f"{runs} holds no records"
    if (runs / RUN_FILE).is_file():
        return f"{start}, because it is the record of one run; did you mean {runs.parent}?"
    visible = (folder for folder in folders if not folder.name.startswith("."))
    matches = [folder for folder in visible if any(folder.glob(f"*/{RUN_FILE}"))]
    if matches:
        shown = " or ".join(str(folder) for folder in matches[:_SUGGESTIONS])
        return f"{start}; did you mean {shown}?"
    if interrupted:
        return ""
    return (
        f"{start}; train methods with `benchkit run --split SPLIT.h5 --method all --out {runs}` "
        "first."
    )


def _unresolved(failures: Sequence[Failure], records: Sequence[Record]) -> list[Failure]:
    """The failures whose run has neither a record nor a later failure in a newer format."""
    finished = {record.run_id for record in records}
    newest = [failure for failure in failures if failure.format > 1]
    unresolved = []
    for failure in failures:
        later: list[Record | Failure] = [*records, *newest] if failure.format == 1 else []
        if failure.run_id not in finished and not any(_same_run(failure, run) for run in later):
            unresolved.append(failure)
    return unresolved


def _same_run(failure: Failure, other: Record | Failure) -> bool:
    if failure.arguments is None or other.arguments is None:
        return False
    return failure.arguments.is_same_run(other.arguments)


def _once(records: Sequence[Record], reject: Callable[[str], None]) -> list[Record]:
    """Every run once; of several folders, the one that bears the id of the run is kept."""
    kept: dict[tuple[str, int], Record] = {}
    for record in sorted(records, key=lambda record: record.path.parent.name != record.run_id):
        arguments = record.arguments
        other = kept.setdefault((arguments.setting, arguments.seed), record)
        if other is not record:
            reject(
                f"{other.path.parent} and {record.path.parent} hold the same run "
                f"({record.method.key}, seed {arguments.seed}): keep one of the two folders."
            )
    return list(kept.values())


def _of_one_split(records: Sequence[Record], reject: Callable[[str], None]) -> Iterator[Record]:
    """The records without those that describe their split unlike most records of its fingerprint.

    Where no description has a majority, all are kept, and the table refuses them.
    """
    descriptions: dict[str, list[list[Record]]] = {}
    for record in records:
        groups = descriptions.setdefault(record.split.fingerprint, [])
        same = next((group for group in groups if group[0].split == record.split), None)
        if same is None:
            groups.append([record])
        else:
            same.append(record)
    for groups in descriptions.values():
        groups.sort(key=len, reverse=True)
        majority, others = groups[0], [record for group in groups[1:] for record in group]
        yield from majority
        if len(majority) <= len(others):
            yield from others
            continue
        for record in others:
            reject(
                f"{record.path}: split differs from that in {majority[0].path} although both have "
                f"the fingerprint {record.split.fingerprint[:12]}: repeat the run."
            )


def _of_one_default(records: Iterable[Record], reject: Callable[[str], None]) -> Iterator[Record]:
    """The records without those that disagree with most records of their row about a value.

    The records of a row depart from the same defaults in the same way, so one that disagrees was
    edited. Where no value has a majority, all are kept, and the table refuses them.
    """
    rows: dict[str, list[Record]] = {}
    for record in records:
        rows.setdefault(record.arguments.row, []).append(record)
    for row in rows.values():
        values = [dict(_settings(record)) for record in row]
        for record, own in zip(row, values, strict=True):
            for key, value in own.items():
                others = [other[key] for other in values if key in other and other[key] != value]
                most = max(others, key=others.count, default=None)
                same = sum(key in other and other[key] == value for other in values)
                if others and others.count(most) > same:
                    reject(
                        f"{record.path}: science.{key} is {value!r}, but {most!r} in most records "
                        "of its row, and both count as the default: repeat the run."
                    )
                    break
            else:
                yield record


def _settings(record: Record) -> Iterator[tuple[str, object]]:
    """Dotted name -> value of every hyperparameter and recipe field."""
    for section in ("hyperparameters", "recipe"):
        for name, value in getattr(record.arguments, section).items():
            yield f"{section}.{name}", value
