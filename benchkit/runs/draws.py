"""The draws of a search on disk: which settings were trained, and their validation scores.

    RUNS/draws/<run id>.json     one setting of one method with one seed; never a test score

The id is that of a run with the same arguments, so a draw is trained once, however many searches
ask for it. A file is written beside and renamed, and holds a digest of its content. A file that
cannot be read, that was changed afterwards, or whose scores were estimated in another way, does not
count.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchkit.base.errors import BenchkitError
from benchkit.base.files import atomic, remove_all_unfinished
from benchkit.base.messages import Log
from benchkit.runs.selection import RULES
from leaderboard import json_file, seal
from leaderboard.errors import ReportError
from leaderboard.reader import Reader
from leaderboard.record import RunArguments
from leaderboard.records import DRAWS

_FORMAT = 1
_ARGUMENTS_FORMAT = 3  # of `RunArguments`


@dataclass(frozen=True)
class DrawResult:
    """A trained draw.

    Attributes:
        arguments: the arguments of a run with this setting and seed.
        scores: selection rule -> score on the validation part; None if it has none.
        estimator: the name of the estimator of the rule `val-observed`.
        failure: the reason why there are no scores, or None.
        wall_seconds: the duration of training.
    """

    arguments: RunArguments
    scores: Mapping[str, float | None]
    estimator: str
    failure: str | None = None
    wall_seconds: float = 0.0

    def score(self, rule: str) -> float:
        """The score by a rule; minus infinity if there is none."""
        value = self.scores.get(rule)
        return -math.inf if value is None else value

    def to_json(self) -> dict[str, Any]:
        """The draw as a JSON object without its digest."""
        return {
            "format": _FORMAT,
            "run_id": self.arguments.run_id,
            "science": self.arguments.to_json(_ARGUMENTS_FORMAT),
            "scores": dict(self.scores),
            "estimator": self.estimator,
            "failure": self.failure,
            "wall_seconds": self.wall_seconds,
        }

    @classmethod
    def from_json(cls, values: Any, path: Path) -> DrawResult:
        """Read and check the parsed JSON of a draw.

        Raises:
            ReportError: the content does not match its digest, or a key has a wrong value.
        """
        reader = Reader(values, path)
        if reader.integer("format") != _FORMAT:
            raise reader.error("format", str(_FORMAT))
        seal.check(reader.values, path)
        arguments = RunArguments.from_json(reader.object("science"), _ARGUMENTS_FORMAT)
        if not reader.text("run_id") == arguments.run_id == path.stem:
            raise reader.error("run_id", f"'{arguments.run_id}', the digest of science")
        scores = reader.object("scores")
        return cls(
            arguments,
            {rule: _score(scores, rule) for rule in RULES},
            reader.text("estimator"),
            reader.text("failure") if reader.has("failure") else None,
            float(reader.number("wall_seconds")),
        )


def _score(reader: Reader, rule: str) -> float | None:
    return float(reader.number(rule)) if reader.has(rule) else None


def read(runs: Path, run_ids: Iterable[str], estimator: str, log: Log) -> dict[str, DrawResult]:
    """The trained draws among some ids.

    Args:
        runs: the folder of records.
        run_ids: the ids of the draws.
        estimator: the estimator that their scores must have.
        log: receives a message for each file that cannot be read.

    Raises:
        BenchkitError: something other than a folder is in the place of the folder of draws.
    """
    folder = runs / DRAWS
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise BenchkitError(
            f"{folder} is in the place of the folder of draws and is no folder; move it away"
        )
    results = {}
    for run_id in run_ids:
        path = folder / f"{run_id}.json"
        if not path.is_file():
            continue
        try:
            result = DrawResult.from_json(json_file.read(path), path)
        except ReportError as error:
            log(f"the draw {path} does not count and is trained again: {error}")
            continue
        if result.estimator == estimator:
            results[run_id] = result
        else:
            log(f"the draw {path} was scored by {result.estimator} and is trained again")
    return results


def write(runs: Path, result: DrawResult, log: Log) -> Path:
    """Write one draw.

    Raises:
        BenchkitError: the disk is full.
    """
    path = runs / DRAWS / f"{result.arguments.run_id}.json"
    content = json.dumps(seal.sealed(result.to_json(), path), indent=1, allow_nan=False)
    with atomic(path, log) as partial:
        partial.write_text(f"{content}\n")
    return path


def remove_interrupted(runs: Path, log: Log) -> None:
    """Remove what interrupted writers left in the folder of draws, and log each removal."""
    remove_all_unfinished(runs / DRAWS, log)
