"""From the JSON of one run to a `Record`, with a sentence for every way it can be wrong."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leaderboard.columns import COLUMNS
from leaderboard.errors import ReportError
from leaderboard.record import SHOTS, Failure, Group, Method, Metrics, Record, Science, Split

FORMAT = 1
_KINDS = ("builtin", "plugin", "external")
_NAMES: dict[type | tuple[type, ...], str] = {
    str: "a string",
    int: "a whole number",
    (int, float): "a number",
    dict: "an object",
    list: "a list",
}


class Reader:
    """One JSON object and the place it stands at, so that errors can name file and key."""

    def __init__(self, values: Any, path: Path, key: str = "") -> None:
        self.path = path
        self.key = key
        if not isinstance(values, dict):
            raise ReportError(f"{path}: {key or 'the file'} must hold a JSON object.")
        self.values: Mapping[str, Any] = values

    def fail(self, key: str, wanted: str) -> ReportError:
        """The error that says what `key` should have been."""
        found = repr(self.values[key]) if key in self.values else "nothing"
        found = found if len(found) <= 60 else found[:57] + "..."
        return ReportError(f"{self.path}: {self.full(key)} must be {wanted}, but is {found}.")

    def full(self, key: str) -> str:
        """The dotted key as seen from the top of the file."""
        return f"{self.key}.{key}" if self.key else key

    def take(self, key: str, kind: type | tuple[type, ...]) -> Any:
        """The value of `key`, which must be of this JSON type."""
        value = self.values.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.fail(key, _NAMES[kind])
        return value

    def text(self, key: str) -> str:
        """A string."""
        return str(self.take(key, str))

    def whole(self, key: str) -> int:
        """A whole number."""
        return int(self.take(key, int))

    def number(self, key: str) -> float:
        """A number."""
        return float(self.take(key, (int, float)))

    def inside(self, key: str) -> "Reader":
        """The object under `key`."""
        return Reader(self.take(key, dict), self.path, self.full(key))

    def fraction(self, key: str) -> float | None:
        """A fraction from 0 to 1, or `None` for null; the key must be there."""
        if key not in self.values or not _is_fraction(self.values[key]):
            raise self.fail(key, "a fraction from 0 to 1, or null")
        value = self.values[key]
        return None if value is None else float(value)

    def fractions(self, key: str, length: int) -> tuple[float | None, ...]:
        """A list of fractions or nulls of a known length."""
        values = self.take(key, list)
        if len(values) != length or not all(_is_fraction(value) for value in values):
            raise self.fail(key, f"a list of {length} fractions from 0 to 1, or nulls")
        return tuple(None if value is None else float(value) for value in values)

    def counts(self, key: str, length: int) -> tuple[int, ...]:
        """A list of counts of a known length."""
        values = self.take(key, list)
        if len(values) != length or not all(type(value) is int and value >= 0 for value in values):
            raise self.fail(key, f"a list of {length} counts")
        return tuple(values)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        values = self.take(key, list)
        if not all(isinstance(value, str) for value in values):
            raise self.fail(key, "a list of strings")
        return tuple(values)


def parse_record(values: Any, path: Path) -> Record:
    """Check the JSON of a `run.json` and give the record.

    Args:
        values: the parsed JSON.
        path: the file, for messages.

    Returns:
        The record.

    Raises:
        ReportError: a key is missing or holds something else; the message names file and key.
    """
    top = Reader(values, path)
    if top.values.get("format") != FORMAT:
        raise ReportError(
            f"{path}: format is {top.values.get('format')!r}, but this version of the leaderboard "
            f"reads format {FORMAT}: read it with the version that wrote it, or repeat the run."
        )
    science = _science(top.inside("science"))
    split = _split(top.inside("split"))
    if science.group.split != split.fingerprint:
        raise top.inside("split").fail("fingerprint", "the same as science.split")
    environment = top.inside("environment")
    return Record(
        run_id=top.text("run_id"),
        path=path,
        science=science,
        split=split,
        method=_method(top.inside("method"), science),
        metrics=_metrics(top.inside("metrics"), len(split.class_names)),
        device=environment.text("device"),
        versions={key: str(value) for key, value in environment.take("versions", dict).items()},
        wall_seconds=top.number("wall_seconds"),
        command=top.texts("command"),
    )


def parse_failure(values: Any, path: Path) -> Failure:
    """Check the JSON of a recorded failure; `science` and `seed` may be missing.

    Raises:
        ReportError: another key is missing or holds something else.
    """
    top = Reader(values, path)
    science = top.values.get("science")
    group = None
    if isinstance(science, dict) and all(key in science for key in Group._fields):
        group = Group(*(str(science[key]) for key in Group._fields))
    lines = top.text("error").strip().splitlines() or ["no reason was recorded"]
    error = lines[0] if len(lines[0]) <= 300 else lines[0][:299] + "…"
    seed = top.whole("seed") if top.values.get("seed") is not None else None
    return Failure(top.text("run_id"), top.text("method"), seed, error, group)


def _science(reader: Reader) -> Science:
    for key in ("split", "method", "method_version", "selection", "metric_version"):
        reader.text(key)
    reader.whole("seed")
    reader.take("hyperparameters", dict)
    reader.take("recipe", dict)
    return Science(reader.values)


def _split(reader: Reader) -> Split:
    thresholds = reader.inside("thresholds")
    names = reader.texts("class_names")
    shot = reader.texts("shot")
    if len(shot) != len(names) or not set(shot) <= set(SHOTS):
        raise reader.fail("shot", f"a list of {len(names)} of 'many', 'medium' and 'few'")
    sizes = reader.inside("sizes")
    # Records before this key came are of test parts in which every label is known, or nearly so.
    known = (sizes.whole("test"),) * len(names)
    if "test_known" in reader.values:
        known = reader.counts("test_known", len(names))
    return Split(
        name=reader.text("name"),
        fingerprint=reader.text("fingerprint"),
        regime=reader.text("regime"),
        many_from=thresholds.number("many"),
        few_below=thresholds.number("few"),
        reference=thresholds.text("reference"),
        class_names=names,
        shot=shot,
        train_count=reader.counts("train_count", len(names)),
        observed_count=reader.counts("observed_count", len(names)),
        test_positives=reader.counts("test_positives", len(names)),
        test_known=known,
        sizes={part: sizes.whole(part) for part in ("train", "val", "test")},
    )


def _method(reader: Reader, science: Science) -> Method:
    if reader.text("key") != science.method:
        raise reader.fail("key", f"{science.method!r}, as in science.method")
    if reader.text("kind") not in _KINDS:
        raise reader.fail("kind", "'builtin', 'plugin' or 'external'")
    return Method(
        key=reader.text("key"),
        title=reader.text("title"),
        paper=reader.text("paper"),
        year=reader.whole("year") if reader.values.get("year") is not None else None,
        oracle=reader.texts("oracle"),
        kind=reader.text("kind"),
    )


def _metrics(reader: Reader, classes: int) -> Metrics:
    values = {}
    for column in COLUMNS:
        place = reader
        for step in column.place[:-1]:
            place = place.inside(step)
        values[column.key] = place.fraction(column.place[-1])
    return Metrics(values, reader.fractions("ap", classes))


def _is_fraction(value: Any) -> bool:
    if value is None:
        return True
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and 0.0 <= value <= 1.0
