"""What one finished run says about itself, as plain frozen values.

Fractions stay fractions here (0 to 1, `None` where undefined); renderers turn them into percent.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

SHOTS = ("many", "medium", "few")


class Group(NamedTuple):
    """What every row of one table has in common."""

    split: str
    selection: str
    metric_version: str


@dataclass(frozen=True)
class Science:
    """The arguments that decide the numbers of a run, and nothing else."""

    values: Mapping[str, Any]

    @property
    def method(self) -> str:
        """Key of the method."""
        return str(self.values["method"])

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return int(self.values["seed"])

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        """Hyperparameters of the method."""
        return self.values["hyperparameters"]

    @property
    def recipe(self) -> Mapping[str, Any]:
        """Optimiser, schedule, epochs, batch and sampler."""
        return self.values["recipe"]

    @property
    def group(self) -> Group:
        """The table that the run belongs to."""
        return Group(*(str(self.values[key]) for key in Group._fields))

    @property
    def external(self) -> bool:
        """Whether the scores were computed elsewhere; nothing is known then of how."""
        return bool(self.values.get("method_version") == "external")

    @cached_property
    def row(self) -> str:
        """Canonical JSON of what the seeds of a row share.

        That is `setting`, but for scores from elsewhere: each seed has a digest of its own.
        """
        if not self.external:
            return self.setting
        return canonical({k: v for k, v in self.values.items() if k not in ("seed", "inputs")})

    @cached_property
    def setting(self) -> str:
        """Canonical JSON of everything but the seed."""
        return canonical({key: value for key, value in self.values.items() if key != "seed"})


@dataclass(frozen=True)
class Split:
    """The split a run was trained and tested on."""

    name: str
    fingerprint: str
    regime: str
    many_from: float
    few_below: float
    reference: str
    class_names: tuple[str, ...]
    shot: tuple[str, ...]
    train_count: tuple[int, ...]
    observed_count: tuple[int, ...]
    test_positives: tuple[int, ...]
    test_known: tuple[int, ...]
    sizes: Mapping[str, int]

    def group_size(self, shot: str) -> int:
        """Number of classes in a shot group."""
        return self.shot.count(shot)

    @property
    def without_test_positives(self) -> tuple[str, ...]:
        """Names of the classes whose AP is undefined."""
        pairs = zip(self.class_names, self.test_positives, strict=True)
        return tuple(name for name, count in pairs if count == 0)


@dataclass(frozen=True)
class Method:
    """How a method presents itself."""

    key: str
    title: str
    paper: str
    year: int | None
    oracle: tuple[str, ...]
    kind: str


@dataclass(frozen=True)
class Metrics:
    """Test metrics of one run; a value is `None` where it is undefined."""

    values: Mapping[str, float | None]  # keyed like leaderboard.columns
    ap: tuple[float | None, ...]  # [C]


@dataclass(frozen=True)
class Record:
    """One finished run."""

    run_id: str
    path: Path
    science: Science
    split: Split
    method: Method
    metrics: Metrics
    device: str
    versions: Mapping[str, str]
    wall_seconds: float
    command: tuple[str, ...]


@dataclass(frozen=True)
class Failure:
    """One run that was tried and failed; `group` is `None` if the record does not tell it."""

    run_id: str
    method: str
    seed: int | None
    error: str
    group: Group | None

    def sentence(self) -> str:
        """The failure as a note under a table."""
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"failed: {self.method}{seed} (run {self.run_id}): {self.error}"


@dataclass(frozen=True)
class Records:
    """Everything that a folder of runs holds."""

    records: tuple[Record, ...]
    failures: tuple[Failure, ...] = ()
    interrupted: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about the runs that left no record."""
        return self.general_notes + tuple(failure.sentence() for failure in self.failures)

    @property
    def general_notes(self) -> tuple[str, ...]:
        """Sentences about runs of which nothing is known, not even their table."""
        if not self.interrupted:
            return ()
        count = len(self.interrupted)
        folders = "1 folder holds" if count == 1 else f"{count} folders hold"
        return (
            f"{folders} an interrupted run without a record: start the same command again to "
            "finish it.",
        )


def canonical(value: Any) -> str:
    """Write a JSON value in one way only: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
