"""Reading a folder of runs.

A run is a folder with a `run.json`. A folder without one, or one that is still `.partial`, is a
run that was interrupted: it is counted, never read. `failures/` holds what was tried and failed.
Folders of several machines merge by copying them together.
"""

import json
from pathlib import Path
from typing import Any

from leaderboard.errors import ReportError
from leaderboard.record import Failure, Record, Records
from leaderboard.schema import parse_failure, parse_record

FAILURES = "failures"


def load(runs: Path) -> Records:
    """Read every run record below a folder.

    Args:
        runs: the folder that holds one folder per run.

    Returns:
        The records in the order of their run ids, the failures that no later run has made good,
        and the names of the interrupted runs.

    Raises:
        ReportError: the folder is missing, a record is unreadable or ill-formed, or two folders
            hold the same run.
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
        elif (folder / "run.json").is_file():
            path = folder / "run.json"
            records.append(parse_record(_read(path), path))
        else:
            interrupted.append(folder.name)
    records.sort(key=lambda record: record.run_id)
    _refuse_duplicates(records)
    done = {record.run_id for record in records}
    failures = [failure for failure in _failures(runs / FAILURES) if failure.run_id not in done]
    return Records(tuple(records), tuple(failures), tuple(interrupted))


def _failures(folder: Path) -> list[Failure]:
    if not folder.is_dir():
        return []
    paths = sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))
    return [parse_failure(_read(path), path) for path in paths]


def _read(path: Path) -> Any:
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


def _refuse_duplicates(records: list[Record]) -> None:
    seen: dict[tuple[str, int], Record] = {}
    for record in records:
        key = (record.science.setting, record.science.seed)
        if key in seen:
            raise ReportError(
                f"{seen[key].path.parent} and {record.path.parent} hold the same run "
                f"({record.method.key}, seed {record.science.seed}): keep one of the two folders."
            )
        seen[key] = record
