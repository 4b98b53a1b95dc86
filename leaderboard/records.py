"""Reading a folder of runs.

    RUNS/<run id>/run.json           a finished run
    RUNS/failures/<run id>.json      a run that failed
    RUNS/draws/                      settings that a search compared; not read here

A folder without a `run.json`, or one that is still `.partial`, is an interrupted run: it is counted
and not read. A record that cannot be read is named and left out. The folders of several machines
merge by copying.

A writer that replaces a record keeps the old one as `.<run id>.<token>.partial/.old0` until the new
one is in place. If the writer was killed in between, the old record is read from there.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from leaderboard import json_file
from leaderboard.consistency import consistent
from leaderboard.errors import ReportError
from leaderboard.record import Failure, Record

RUN_FILE = "run.json"
FAILURES = "failures"
DRAWS = "draws"

_SCORES_FILE = "scores.npz"
_PARTIAL = re.compile(r"\.(?P<target>.+)\.[^.]+\.partial", re.DOTALL)
_RUN_ID = re.compile(r"[0-9a-f]{16}")
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
    visible = [folder / RUN_FILE for folder in folders if not folder.name.startswith(".")]
    present = [path for path in attempt(_existing, visible) if path is not None]
    readable = list(attempt(read_record, [*present, *aside.values()]))
    records = sorted(consistent(readable, reject), key=lambda record: record.run_id)
    paths = [path for listed in attempt(_failure_paths, [runs / FAILURES]) for path in listed]
    failures = list(attempt(_read_failure, paths))
    recorded = {*aside, *(path.parent.name for path in present)}
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
    """The files of the failures in a folder, which may be missing.

    Raises:
        ReportError: the folder cannot be read.
    """
    try:
        paths = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise json_file.unreadable(folder, error) from error
    return [path for path in paths if path.suffix == ".json" and not path.name.startswith(".")]


def _folders(runs: Path) -> list[Path]:
    """The folders in a folder of runs, in the order of their names."""
    try:
        if not runs.is_dir():
            raise ReportError(f"{runs} is not a folder: name the folder that holds the runs.")
        others = (FAILURES, DRAWS)
        return sorted(p for p in runs.iterdir() if _is_folder(p) and p.name not in others)
    except OSError as error:
        raise json_file.unreadable(runs, error) from error


def _is_folder(path: Path) -> bool:
    """Whether a path is a folder, or a link to a place that this process must not enter."""
    try:
        return path.is_dir()
    except OSError:
        return True  # reading its `run.json` raises the same error, which names it


def _existing(path: Path) -> Path | None:
    """A `run.json`, or None if its folder holds none.

    Raises:
        ReportError: the path is not a regular file, or its folder cannot be entered.
    """
    try:
        if stat.S_ISREG(path.stat().st_mode):
            return path
    except OSError as error:
        if isinstance(error, PermissionError):
            raise json_file.unreadable(path, error) from error
        if not os.path.lexists(path):
            return None
    raise ReportError(f"{path} is not a regular file: repeat the run.")


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
    """Whether a folder was left by an interrupted run: partial, empty, or without a `run.json`.

    Other folders are recognised as those of runs by their scores or their names.
    """
    if folder.name.startswith("."):
        match = _PARTIAL.fullmatch(folder.name)
        return folder.name.endswith(".partial") and (not match or match["target"] not in recorded)
    try:
        names = {path.name for path in folder.iterdir()}
    except OSError:
        return False
    return RUN_FILE not in names and (
        not names or _SCORES_FILE in names or _RUN_ID.fullmatch(folder.name) is not None
    )


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
