"""Discovery: every module in this folder is a source; there is no list to edit.

A source is a module with

    FORM       how the command line names it, "voc:ROOT" or "scenes[:FOLDER]"
    HELP       one sentence
    OPTIONS    name -> `Option`
    load       `load(path, **options, **tools) -> Source`

and optionally

    TOOLS             names of functions that `load` takes as keyword arguments from the caller,
                      because this package may not do their work: `read_hdf5`, `draw_scenes`
    DEFAULT_PATH      the path if none is given, relative to the folder of the output file
    default_backbone  `default_backbone(options) -> str`, a backbone's name or "none"; without it,
                      "none"
    HAS_TEST_PART     whether the source has a test part, if that is known before it is read
    HAS_UNKNOWN_LABELS  True for a source whose labels are unknown by design, also in the test part;
                      for others, `make-split` reports unknown test labels
    check             `check(options, path) -> None`, raises InputError for options that cannot be
                      combined; `path` is "file", "folder" or ""

Modules whose names begin with an underscore are helpers. A module that cannot be imported, one
without these attributes, and two sources of one kind are errors.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import os.path
import pkgutil
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from types import ModuleType
from typing import Any

import splits.sources
from splits.errors import InputError

Value = str | int | float | bool

_REQUIRED = {"FORM": str, "HELP": str, "OPTIONS": dict}


@dataclass(frozen=True)
class Option:
    """One option of a source.

    Attributes:
        default: the default value; its type is the type of the option.
        help: one line.
        choices: the allowed values, or None for any.
        only: conditions under which the option has an effect: another option -> its required
            values, or "path" -> the required type of PATH, "file" or "folder". If they are not
            met, the option is an error.
        low: the smallest allowed number, or None.
        is_path: whether the value is a path; a leading `~` is expanded, and a split records only
            the last part.
        record: whether a split records the value: "always", "changed" (if it is not the default)
            or "never" (if labels do not depend on it); or type of PATH -> one of these.
        recorded_as: the name in the record, if it differs from the name of the option.
    """

    default: Value
    help: str
    choices: tuple[Value, ...] | None = None
    only: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    low: float | None = None
    is_path: bool = False
    record: str | Mapping[str, str] = "always"
    recorded_as: str = ""


@functools.cache
def _sources() -> dict[str, ModuleType]:
    """Kind -> module of every source in the folder."""
    return discover(splits.sources.__path__, splits.sources.__name__)


def discover(folders: Iterable[str], package: str) -> dict[str, ModuleType]:
    """The sources among the modules of a package's folders.

    Args:
        folders: as in a package's `__path__`.
        package: its name.

    Returns:
        Kind (the word that `FORM` begins with) -> module, sorted by kind.

    Raises:
        InputError: a module that cannot be imported or is not a source, two equal kinds.
    """
    sources: dict[str, ModuleType] = {}
    for entry in pkgutil.iter_modules(list(folders)):
        if entry.ispkg or entry.name.startswith("_") or entry.name == "registry":
            continue
        name = f"{package}.{entry.name}"
        try:
            module = importlib.import_module(name)
        except Exception as error:
            raise InputError(f"The source {name} cannot be imported: {error}.") from error
        for attribute, expected in _REQUIRED.items():
            if not isinstance(getattr(module, attribute, None), expected):
                raise InputError(f"The source {name} defines no {attribute}.")
        if not callable(getattr(module, "load", None)):
            raise InputError(f"The source {name} defines no function 'load'.")
        kind = re.split(r"[:\[]", module.FORM)[0]
        if kind in sources:
            raise InputError(f"{sources[kind].__name__} and {name} are both called {kind!r}.")
        sources[kind] = module
    return dict(sorted(sources.items()))


def names() -> tuple[str, ...]:
    """The kinds of source, in alphabetical order."""
    return tuple(_sources())


def get(kind: str) -> ModuleType:
    """The module of a kind of source.

    Raises:
        InputError: there is no such kind; the message names the nearest one.
    """
    if kind not in _sources():
        raise InputError(f"there is no source {kind!r}; {_nearest(kind, names())}")
    return _sources()[kind]


def complete(kind: str, values: Mapping[str, Value], path: str = "") -> dict[str, Any]:
    """The values of all options of a source, after checking the explicit ones.

    Args:
        kind: the kind of source.
        values: name -> value of the explicit options, of the type of their default.
        path: the type of PATH, "file", "folder", or "" if it is unknown.

    Returns:
        Name -> value, for every option of the source.

    Raises:
        InputError: an unknown source or option, a value that is not allowed, an option without
            effect, or options that cannot be combined.
    """
    module = get(kind)
    options: dict[str, Option] = module.OPTIONS
    for name, value in values.items():
        if name not in options:
            hint = _nearest(name, list(options))
            raise InputError(f"source {kind} has no option {name!r}; {hint}")
        _check_value(kind, name, options[name], value)
    completed = {name: values.get(name, option.default) for name, option in options.items()}
    for name, option in options.items():
        if option.is_path:
            completed[name] = os.path.expanduser(str(completed[name]))
    for name in values:
        if (condition := _unmet(options[name], completed, path)) is not None:
            raise InputError(
                f"{name} of source {kind} has no effect here; it can only be used with {condition}"
            )
    if hasattr(module, "check"):
        module.check(completed, path)
    return completed


def _check_value(kind: str, name: str, option: Option, value: Value) -> None:
    if option.choices is not None and value not in option.choices:
        allowed = ", ".join(map(_text, option.choices))
        raise InputError(f"{name} of source {kind} must be one of {allowed}, not {_text(value)!r}")
    if option.low is not None and not float(value) >= option.low:
        raise InputError(f"{name} of source {kind} must be at least {option.low}, not {value}")


def recorded(kind: str, values: Mapping[str, Any], path: str = "") -> dict[str, Value]:
    """The options that a split records about its source.

    Args:
        kind: the kind of source.
        values: a value for every option, as `complete` returns.
        path: as in `complete`.

    Returns:
        `kind`, and the options that have an effect; paths without their folders.
    """
    record: dict[str, Value] = {"kind": kind}
    for name, option in get(kind).OPTIONS.items():
        when = (
            option.record if isinstance(option.record, str) else option.record.get(path, "always")
        )
        value = values[name]
        if when == "never" or (when == "changed" and value == option.default):
            continue
        if _unmet(option, values, path) is None:
            record[option.recorded_as or name] = PurePath(value).name if option.is_path else value
    return record


def _unmet(option: Option, values: Mapping[str, Any], path: str) -> str | None:
    """The condition under which an option would have an effect; None if it has one."""
    for name, allowed in option.only.items():
        if name == "path":
            if path and path not in allowed:
                return f"a {allowed[0]} as PATH"
        elif values[name] not in allowed:
            return " or ".join(f"{name}={_text(value)}" for value in allowed)
    return None


def describe(kind: str) -> str:
    """The form, the sentence and the options of a source, as lines of text."""
    module = get(kind)
    lines = [module.FORM, f"  {module.HELP}"]
    for name, option in module.OPTIONS.items():
        choices = (
            "" if option.choices is None else " (" + "|".join(map(_text, option.choices)) + ")"
        )
        default = f"  [default: {_text(option.default)}]" if option.default != "" else ""
        lines.append(f"  {name}{choices}: {option.help}{default}")
    return "\n".join(lines)


def _text(value: Value) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(known)}" if known else "it has none"
