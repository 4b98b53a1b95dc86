"""The arguments of a run: what decides its numbers, and the run id that is derived from them.

A run id covers only the values that depart from a named, versioned default. A hyperparameter or a
recipe field that is added later, with a default that keeps the old behaviour, therefore changes no
id: records from before and after the change belong to the same run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from leaderboard.reader import Reader

EXTERNAL = "external"
"""The method version of scores that were computed elsewhere."""

SEARCHED = ("lr", "weight_decay", "steps")
"""The recipe fields that a search may choose for each method."""

_FIRST_DEFAULTS = "1"  # the version of the recipe defaults of every record in format 1


def canonical(value: Any) -> str:
    """The canonical JSON of a value: equal values give equal text.

    Keys are sorted, there are no spaces, and characters outside ASCII are escaped. Fingerprints and
    run ids are digests of this text, so it must never change.

    Raises:
        ValueError: the value holds NaN or an infinite number.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


class Group(NamedTuple):
    """The arguments that all rows of a table share."""

    split: str
    selection: str
    metric_version: str


@dataclass(frozen=True)
class Departures:
    """The names of the values that differ from their default.

    Attributes:
        recipe_defaults: the version of the recipe defaults; None if the recipe is unknown, as for
            scores that were computed elsewhere.
        recipe: names of recipe fields.
        hyperparameters: names of hyperparameters, relative to the defaults of `method_version`.
    """

    recipe_defaults: str | None = None
    recipe: tuple[str, ...] = ()
    hyperparameters: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The departures as a JSON object."""
        return {
            "recipe_defaults": self.recipe_defaults,
            "recipe": list(self.recipe),
            "hyperparameters": list(self.hyperparameters),
        }

    @classmethod
    def from_json(cls, reader: Reader) -> Departures:
        """Read the departures of a record from format 2 on."""
        has_recipe = reader.values.get("recipe_defaults", "") is not None
        return cls(
            recipe_defaults=reader.text("recipe_defaults") if has_recipe else None,
            recipe=reader.texts("recipe"),
            hyperparameters=reader.texts("hyperparameters"),
        )

    @classmethod
    def from_command(cls, command: Sequence[str], method: str) -> Departures:
        """Read the departures of a record in format 1 from the command that repeats the run.

        The command names every value that departs from its default, and no other:
        `--set METHOD.NAME=VALUE` and `--recipe NAME=VALUE`.

        Args:
            command: `benchkit run`, followed by pairs of an option and its value.
            method: the key of the method.
        """
        options = list(zip(command[2::2], command[3::2], strict=False))

        def names(option: str, prefix: str) -> tuple[str, ...]:
            values = [value for name, value in options if name == option]
            return tuple(v.removeprefix(prefix).partition("=")[0] for v in values)

        return cls(_FIRST_DEFAULTS, names("--recipe", ""), names("--set", f"{method}."))


@dataclass(frozen=True)
class RunArguments:
    """The arguments that decide the numbers of a run, under the key `science` of a record.

    Attributes:
        split: the fingerprint of the split.
        method: the key of the method.
        method_version: the version of the method; it also names the hyperparameters' defaults.
        hyperparameters: every hyperparameter with its value.
        recipe: every recipe field with its value.
        seed: the seed of the run.
        selection: the selection rule: last, val or test-oracle.
        metric_version: the version of the metrics.
        inputs: digests of further inputs by name, such as class embeddings.
        departures: the names of the values that differ from their default; None if the record does
            not tell, as for failures in format 1.
        search: how hyperparameters and recipe were chosen: `protocol`, `draws` (the number of
            settings that were compared), `seeds` (of each), `select` (the score that decided) and
            `draw` (the number of the chosen one). Empty if they were not searched.
    """

    split: str
    method: str
    method_version: str
    hyperparameters: Mapping[str, Any]
    recipe: Mapping[str, Any]
    seed: int
    selection: str
    metric_version: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    departures: Departures | None = None
    search: Mapping[str, Any] = field(default_factory=dict)

    @property
    def draws(self) -> int:
        """The number of settings that a search compared; 0 without a search."""
        return int(self.search.get("draws", 0))

    @property
    def group(self) -> Group:
        """The table that the run belongs to."""
        return Group(self.split, self.selection, self.metric_version)

    @property
    def external(self) -> bool:
        """Whether the scores were computed elsewhere, by an unknown recipe."""
        return self.method_version == EXTERNAL

    @cached_property
    def identity(self) -> Mapping[str, Any]:
        """The arguments without the values that equal their versioned default."""
        departures = self.departures
        if departures is None:  # nothing is known about the defaults: every value counts
            departures = Departures(None, tuple(self.recipe), tuple(self.hyperparameters))
        return {
            **self._values(),
            "hyperparameters": _subset(self.hyperparameters, departures.hyperparameters),
            "recipe": _subset(self.recipe, departures.recipe),
            "recipe_defaults": departures.recipe_defaults,
        }

    @cached_property
    def run_id(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the identity's canonical JSON."""
        return hashlib.sha256(canonical(self.identity).encode()).hexdigest()[:16]

    @cached_property
    def setting(self) -> str:
        """The canonical JSON of the identity without the seed."""
        return canonical({k: v for k, v in self.identity.items() if k != "seed"})

    @cached_property
    def row(self) -> str:
        """The canonical JSON of the arguments that the seeds of a table row share.

        This is `setting`, except for scores that were computed elsewhere: the digest of their
        inputs differs from seed to seed.
        """
        ignored = ("seed", "inputs") if self.external else ("seed",)
        return canonical({k: v for k, v in self.identity.items() if k not in ignored})

    def is_same_run(self, other: RunArguments) -> bool:
        """Whether two records describe the same run, also if one does not tell its departures."""
        if self.departures is not None and other.departures is not None:
            return self.run_id == other.run_id
        departures = self.departures or other.departures or Departures()
        names = ("split", "method", "method_version", "seed", "selection", "metric_version")
        optional = ("inputs", "search")
        return (
            all(getattr(self, name) == getattr(other, name) for name in (*names, *optional))
            and _agree(self.hyperparameters, other.hyperparameters, departures.hyperparameters)
            and _agree(self.recipe, other.recipe, departures.recipe)
        )

    def _values(self) -> dict[str, Any]:
        values = {
            "split": self.split,
            "method": self.method,
            "method_version": self.method_version,
            "hyperparameters": dict(self.hyperparameters),
            "recipe": dict(self.recipe),
            "seed": self.seed,
            "selection": self.selection,
            "metric_version": self.metric_version,
        }
        optional = {"inputs": dict(self.inputs), "search": dict(self.search)}
        return {**values, **{key: value for key, value in optional.items() if value}}

    def to_json(self, format: int) -> dict[str, Any]:
        """The arguments as a JSON object; format 1 has no departures."""
        departures = self.departures if format > 1 else None
        stated = {} if departures is None else {"departures": departures.to_json()}
        return {**self._values(), **stated}

    @classmethod
    def from_json(
        cls, reader: Reader, format: int, command: Sequence[str] | None = None
    ) -> RunArguments:
        """Read and check the object `science` of a record or a failure.

        Args:
            reader: the object.
            format: the format of the file.
            command: the command of a record; in format 1 it names the departures.

        Raises:
            ReportError: a key is missing or has a wrong value.
        """
        method, version = reader.text("method"), reader.text("method_version")
        departures = None
        if format > 1:
            departures = Departures.from_json(reader.object("departures"))
        elif version == EXTERNAL:
            departures = Departures()
        elif command is not None:
            departures = Departures.from_command(command, method)
        arguments = cls(
            split=reader.text("split"),
            method=method,
            method_version=version,
            hyperparameters=reader.mapping("hyperparameters"),
            recipe=reader.mapping("recipe"),
            seed=reader.integer("seed"),
            selection=reader.text("selection"),
            metric_version=reader.text("metric_version"),
            inputs=reader.mapping("inputs") if reader.has("inputs") else {},
            departures=departures,
            search=_search(reader.object("search")) if reader.has("search") else {},
        )
        if departures is not None:
            _check_names(reader, "hyperparameters", departures.hyperparameters)
            _check_names(reader, "recipe", departures.recipe)
        return arguments


def _search(reader: Reader) -> Mapping[str, Any]:
    """Check the description of a search, and return it with further keys as they are."""
    for key in ("protocol", "select"):
        reader.text(key)
    for key in ("draws", "seeds", "draw"):
        reader.integer(key)
    return dict(reader.values)


def _check_names(reader: Reader, key: str, names: Sequence[str]) -> None:
    """Every departing name must have a value."""
    missing = [name for name in names if name not in reader.values[key]]
    if missing:
        raise reader.error(key, f"an object with a value for '{missing[0]}', which departs")


def _subset(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: values[name] for name in names}


def _agree(one: Mapping[str, Any], other: Mapping[str, Any], departing: Iterable[str]) -> bool:
    """Whether values agree where both are known, and nothing departs where one is unknown."""
    common = one.keys() & other.keys()
    return set(departing) <= common and all(one[name] == other[name] for name in common)
