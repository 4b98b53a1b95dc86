"""The schema of a run record: one dataclass that writes and reads every `run.json`.

Format 3 is written. Older formats are read as well: format 2 has no digests, and format 1 has no
`science.departures` either. Keys that this version does not know are ignored, but the digest covers
them. Fractions are stored as fractions (0 to 1, `None` where undefined); renderers turn them into
percent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leaderboard import seal
from leaderboard.arguments import Departures, Group, RunArguments, canonical
from leaderboard.errors import ReportError
from leaderboard.reader import Reader
from leaderboard.record_parts import (
    KINDS,
    SHOTS,
    Environment,
    Metrics,
    RecordedMethod,
    RecordedSplit,
    ThresholdMetrics,
)

__all__ = [
    "FORMAT",
    "KINDS",
    "SHOTS",
    "Departures",
    "Environment",
    "Failure",
    "Group",
    "Metrics",
    "Record",
    "RecordedMethod",
    "RecordedSplit",
    "RunArguments",
    "ThresholdMetrics",
    "canonical",
]

FORMAT = 3
FORMATS = (1, 2, 3)

_FIRST_SEALED_FORMAT = 3

_MOST_CHARACTERS = 300  # of an error under a table


@dataclass(frozen=True)
class Record:
    """One finished run.

    Attributes:
        run_id: the name of its folder; from format 2 on that of its arguments.
        arguments: the arguments that decide its numbers.
        split: the split.
        method: the method.
        metrics: the test metrics.
        environment: the machine and the software.
        wall_seconds: the duration of the run.
        command: the command that repeats the run.
        curve: one object per epoch: `epoch`, `stage`, `loss`, and where they exist `val_map` and
            `corrections`.
        selected_epoch: the epoch that was scored, counted from 1 over all stages.
        marks: what the curve says about the training, see `leaderboard.curves`.
        scores_digest: the SHA-256 of the test scores and their image ids, in hexadecimal digits;
            None in formats 1 and 2, and before the record is written.
        format: the format of the file.
        path: the file.
    """

    run_id: str
    arguments: RunArguments
    split: RecordedSplit
    method: RecordedMethod
    metrics: Metrics
    environment: Environment
    wall_seconds: float
    command: tuple[str, ...]
    curve: tuple[Mapping[str, Any], ...] = ()
    selected_epoch: int | None = None
    marks: tuple[str, ...] = ()
    scores_digest: str | None = None
    format: int = FORMAT
    path: Path = field(default=Path("run.json"), compare=False)

    @property
    def is_sealed(self) -> bool:
        """Whether the file has a digest."""
        return self.format >= _FIRST_SEALED_FORMAT

    def to_json(self) -> dict[str, Any]:
        """The record as the JSON object of a `run.json`.

        Raises:
            ReportError, ValueError, TypeError: a file cannot hold a value; see `seal.sealed`.
        """
        selected = {} if self.selected_epoch is None else {"selected_epoch": self.selected_epoch}
        values = {
            "format": self.format,
            "run_id": self.run_id,
            "science": self.arguments.to_json(self.format),
            "split": self.split.to_json(),
            "method": self.method.to_json(),
            "metrics": self.metrics.to_json(),
            "curve": [dict(entry) for entry in self.curve],
            **selected,
            **({"marks": list(self.marks)} if self.marks else {}),
            "environment": self.environment.to_json(),
            "wall_seconds": self.wall_seconds,
            "command": list(self.command),
        }
        if not self.is_sealed:
            return values
        if self.scores_digest is not None:
            values["scores_digest"] = self.scores_digest
        return seal.sealed(values, self.path)

    @classmethod
    def from_json(cls, values: Any, path: Path) -> Record:
        """Read and check the parsed JSON of a `run.json`.

        Args:
            values: the parsed JSON.
            path: the file, for messages.

        Raises:
            ReportError: the content does not match its digest; or a key is missing or has a wrong
                value, and the message names file and key.
        """
        reader = Reader(values, path)
        format = _format(reader, None)
        command = reader.texts("command")
        arguments = RunArguments.from_json(reader.object("science"), format, command)
        if format > 1 and reader.text("run_id") != arguments.run_id:
            raise reader.error("run_id", f"'{arguments.run_id}', the digest of science")
        split = RecordedSplit.from_json(reader.object("split"))
        if arguments.split != split.fingerprint:
            raise reader.object("split").error("fingerprint", "the same as science.split")
        method = RecordedMethod.from_json(reader.object("method"))
        if method.key != arguments.method:
            expected = f"{arguments.method!r}, as in science.method"
            raise reader.object("method").error("key", expected)
        return cls(
            run_id=reader.text("run_id"),
            arguments=arguments,
            split=split,
            method=method,
            metrics=Metrics.from_json(reader.object("metrics"), len(split.class_names)),
            environment=Environment.from_json(reader.object("environment")),
            wall_seconds=float(reader.number("wall_seconds")),
            command=command,
            curve=reader.mappings("curve") if reader.has("curve") else (),
            selected_epoch=(
                reader.integer("selected_epoch") if reader.has("selected_epoch") else None
            ),
            marks=reader.texts("marks") if reader.has("marks") else (),
            scores_digest=reader.text("scores_digest") if format >= _FIRST_SEALED_FORMAT else None,
            format=format,
            path=path,
        )


@dataclass(frozen=True)
class Failure:
    """One run that failed.

    Attributes:
        run_id: the name of its file.
        method: the key of the method.
        seed: the seed; None if the file does not tell.
        error: the reason.
        arguments: the arguments of the run; None if the file does not tell.
        format: the format of the file.
    """

    run_id: str
    method: str
    seed: int | None
    error: str
    arguments: RunArguments | None = None
    format: int = FORMAT

    @property
    def group(self) -> Group | None:
        """The table that the run belongs to, if it is known."""
        return None if self.arguments is None else self.arguments.group

    def sentence(self) -> str:
        """The failure as a note under a table."""
        seed = "" if self.seed is None else f", seed {self.seed}"
        lines = self.error.strip().splitlines() or ["no reason was recorded"]
        reason = lines[0]
        if len(reason) > _MOST_CHARACTERS:
            reason = reason[: _MOST_CHARACTERS - 1] + "…"
        return f"failed: {self.method}{seed} (run {self.run_id}): {reason}"

    def to_json(self, path: Path = Path("failure.json")) -> dict[str, Any]:
        """The failure as the JSON object of its file `path`.

        Raises:
            ReportError, ValueError, TypeError: a file cannot hold a value; see `seal.sealed`.
        """
        values: dict[str, Any] = {} if self.format == 1 else {"format": self.format}
        values |= {"run_id": self.run_id, "method": self.method}
        if self.seed is not None:
            values["seed"] = self.seed
        values["error"] = self.error
        if self.arguments is not None:
            values["science"] = self.arguments.to_json(self.format)
        return seal.sealed(values, path) if self.format >= _FIRST_SEALED_FORMAT else values

    @classmethod
    def from_json(cls, values: Any, path: Path) -> Failure:
        """Read and check the parsed JSON of a recorded failure.

        Raises:
            ReportError: the content does not match its digest; or a key is missing or has a wrong
                value, and the message names file and key.
        """
        reader = Reader(values, path)
        format, arguments = _format(reader, 1), None
        if reader.has("science"):
            arguments = RunArguments.from_json(reader.object("science"), format)
        return cls(
            run_id=reader.text("run_id"),
            method=reader.text("method"),
            seed=reader.integer("seed") if reader.has("seed") else None,
            error=reader.text("error"),
            arguments=arguments,
            format=format,
        )


def _format(reader: Reader, default: int | None) -> int:
    """The format of a file, after its digest was checked; failures of format 1 do not state it."""
    format = reader.values.get("format", default)
    if format not in FORMATS or isinstance(format, bool):
        *others, last = FORMATS
        raise ReportError(
            f"{reader.path}: format is {reader.shown('format')}, but this version of the "
            f"leaderboard reads formats {', '.join(map(str, others))} and {last}: read it with "
            "the version that wrote it, or repeat the run."
        )
    # A digest beside an older format shows that the format was changed.
    if format >= _FIRST_SEALED_FORMAT or seal.KEY in reader.values:
        seal.check(reader.values, reader.path)
    return int(format)
