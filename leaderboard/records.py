"""Reading a folder of runs.

    RUNS/<run id>/run.json           a finished run
    RUNS/failures/<run id>.json      a run that failed

A folder without a `run.json`, or one that is still `.partial`, is an interrupted run: it is counted
and not read. The folders of several machines merge by copying.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leaderboard.errors import ReportError
from leaderboard.record import Failure, Record

RUN_FILE = "run.json"
FAILURES = "failures"


@dataclass(frozen=True)
class Records:
    """The contents of a folder of runs.

    Attributes:
        records: the finished runs, in the order of their run ids.
        failures: the failures whose run has not succeeded since.
        interrupted: the names of the folders of interrupted runs.
    """

    records: tuple[Record, ...]
    failures: tuple[Failure, ...] = ()
    interrupted: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about the runs that have no record."""
        return self.general_notes + tuple(failure.sentence() for failure in self.failures)

    @property
    def general_notes(self) -> tuple[str, ...]:
        """Sentences about interrupted runs, whose table is not known."""
        if not self.interrupted:
            return ()
        count = len(self.interrupted)
        folders = "1 folder holds" if count == 1 else f"{count} folders hold"
        return (
            f"{folders} an interrupted run without a record: start the same command again to "
            "finish it.",
        )


def load(runs: Path) -> Records:
    """Read every run record of a folder.

    Args:
        runs: the folder that holds one folder per run.

    Returns:
        The records, the failures and the interrupted runs.

    Raises:
        ReportError: the folder is missing, a record cannot be read or has a wrong value, or two
            folders hold the same run.
    """
    if not runs.is_dir():
        raise ReportError(f"{runs} is not a folder: name the folder that holds the runs.")
    records: list[Record] = []
    interrupted: list[str] = []
    for folder in sorted(path for path in runs.iterdir() if path.is_dir()):
        if folder.name == FAILURES:
            continue
        if folder.name.startswith("."):
            if "partial" in folder.name:
                interrupted.append(folder.name)
        elif (folder / RUN_FILE).is_file():
            records.append(read_record(folder / RUN_FILE))
        else:
            interrupted.append(folder.name)
    records.sort(key=lambda record: record.run_id)
    _check_duplicates(records)
    failures = _unresolved(read_failures(runs / FAILURES), records)
    return Records(tuple(records), tuple(failures), tuple(interrupted))


def read_record(path: Path) -> Record:
    """Read one `run.json`.

    Raises:
        ReportError: the file cannot be read, or a key is missing or has a wrong value.
    """
    return Record.from_json(_read_json(path), path)


def read_failures(folder: Path) -> list[Failure]:
    """Read the failures of a folder, which may be missing, in the order of their file names.

    Raises:
        ReportError: a file cannot be read, or a key is missing or has a wrong value.
    """
    if not folder.is_dir():
        return []
    paths = sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))
    return [Failure.from_json(_read_json(path), path) for path in paths]


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


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except OSError as error:
        raise ReportError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise ReportError(
            f"{path} is not valid JSON ({error}): repeat the run, or remove its folder."
        ) from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON, a missing number is null")


def _check_duplicates(records: Sequence[Record]) -> None:
    first: dict[tuple[str, int], Record] = {}
    for record in records:
        arguments = record.arguments
        other = first.setdefault((arguments.setting, arguments.seed), record)
        if other is not record:
            raise ReportError(
                f"{other.path.parent} and {record.path.parent} hold the same run "
                f"({record.method.key}, seed {arguments.seed}): keep one of the two folders."
            )
