"""Discovery: every module in this folder is a source; there is no list to edit.

A source is a module with `FORM` (how it is named on the command line, "voc:ROOT"), `HELP` (one
sentence), `OPTIONS` (name -> `Option`) and `load(path, **options) -> Source`. A module whose name
begins with an underscore, and this one, are none. One that reads HDF5 says `NEEDS_HDF5 = True`;
because this room does not open HDF5, its `load` takes `read`, a function of a path and names that
gives arrays.

A file that cannot be imported, a file without one of these, and two equal kinds are errors.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import math
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from types import ModuleType
from typing import Any

import splits.sources
from splits.errors import InputError

Value = str | int | float | bool

_NEEDED = {"FORM": str, "HELP": str, "OPTIONS": dict}
_TRUTH = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


@dataclass(frozen=True)
class Option:
    """One option of a source.

    Attributes:
        default: its value where nobody gives one; its type is the type of the option.
        help: one line.
        choices: the values allowed, or None for any.
        only: where the option has a say: another option -> the values that it may have, or
            "path" -> what PATH may be, "file" or "folder". Given elsewhere, it is refused.
        record: how a split remembers its value: as it is ("value"), for a path its last part
            ("name"), or not at all, because labels do not depend on it ("no").
    """

    default: Value
    help: str
    choices: tuple[Value, ...] | None = None
    only: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    record: str = "value"


@functools.cache
def _found() -> dict[str, ModuleType]:
    """Kind -> module of every source in the folder."""
    return discover(splits.sources.__path__, splits.sources.__name__)


def discover(folders: Iterable[str], package: str) -> dict[str, ModuleType]:
    """The sources among the modules of a package's folders.

    Args:
        folders: as in a package's `__path__`.
        package: its name.

    Returns:
        Kind (what stands before the colon of `FORM`) -> module, sorted by kind.

    Raises:
        InputError: a module that cannot be imported or is no source, two equal kinds.
    """
    found: dict[str, ModuleType] = {}
    for entry in pkgutil.iter_modules(list(folders)):
        if entry.ispkg or entry.name.startswith("_") or entry.name == "registry":
            continue
        name = f"{package}.{entry.name}"
        try:
            module = importlib.import_module(name)
        except Exception as error:
            raise InputError(f"The source {name} cannot be imported: {error}.") from error
        for what, kind in _NEEDED.items():
            if not isinstance(getattr(module, what, None), kind):
                raise InputError(f"The source {name} defines no {what}.")
        if not callable(getattr(module, "load", None)):
            raise InputError(f"The source {name} defines no function 'load'.")
        kind = module.FORM.partition(":")[0]
        if kind in found:
            raise InputError(f"{found[kind].__name__} and {name} are both called {kind!r}.")
        found[kind] = module
    return dict(sorted(found.items()))


def names() -> tuple[str, ...]:
    """The kinds of source, in alphabetical order."""
    return tuple(_found())


def get(kind: str) -> ModuleType:
    """The module of a kind of source.

    Raises:
        InputError: there is no such kind; the sentence names the nearest one.
    """
    if kind not in _found():
        raise InputError(f"there is no source {kind!r}; {_nearest(kind, names())}")
    return _found()[kind]


def parse_options(kind: str, words: Sequence[str], path: str = "") -> dict[str, Any]:
    """What `KEY=VALUE` words say, with the defaults of what they do not name.

    Args:
        kind: the kind of source.
        words: each "KEY=VALUE"; a dash in KEY stands for an underscore.
        path: what PATH is, "file" or "folder", where that is known.

    Returns:
        A value for every option of the source.

    Raises:
        InputError: no such source or option, an option that comes twice, a value of the wrong
            type or none of the choices, an option without a say beside the others.
    """
    options: dict[str, Option] = get(kind).OPTIONS
    given: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        key = key.strip().replace("-", "_")
        if not equals:
            raise InputError(f"the source option {word!r} has no value; write KEY=VALUE")
        if key not in options:
            raise InputError(f"source {kind} has no option {key!r}; {_nearest(key, list(options))}")
        if key in given:
            raise InputError(f"the source option {key!r} comes twice")
        given[key] = _value(kind, key, options[key], text.strip())
    chosen = {key: given.get(key, option.default) for key, option in options.items()}
    for key in given:
        if (where := _unmet(options[key], chosen, path)) is not None:
            raise InputError(
                f"{key} of source {kind} has no effect here; it goes with {where} only"
            )
    return chosen


def recorded(kind: str, chosen: Mapping[str, Any], path: str = "") -> dict[str, Value]:
    """What a split says of the options that its source was read with.

    Args:
        kind: the kind of source.
        chosen: a value for every option, as `parse_options` gives.
        path: as in `parse_options`.

    Returns:
        `kind`, and the options with a say, chosen or defaulted; paths without their folders.
    """
    said: dict[str, Value] = {"kind": kind}
    for key, option in get(kind).OPTIONS.items():
        value = chosen[key]
        if option.record == "no" or _unmet(option, chosen, path) is not None:
            continue
        said[key] = PurePath(value).name if option.record == "name" else value
    return said


def _unmet(option: Option, chosen: Mapping[str, Any], path: str) -> str | None:
    """The condition under which an option would have a say; None where it has one."""
    for key, allowed in option.only.items():
        if key == "path":
            if path and path not in allowed:
                return f"a {allowed[0]} as PATH"
        elif chosen[key] not in allowed:
            return " or ".join(f"{key}={_word(value)}" for value in allowed)
    return None


def describe(kind: str) -> str:
    """The form, the sentence and the options of a source, as lines of text."""
    module = get(kind)
    lines = [module.FORM, f"  {module.HELP}"]
    for key, option in module.OPTIONS.items():
        choices = (
            "" if option.choices is None else " (" + "|".join(map(_word, option.choices)) + ")"
        )
        default = f"  [default: {_word(option.default)}]" if option.default != "" else ""
        lines.append(f"  {key}{choices}: {option.help}{default}")
    return "\n".join(lines)


def _value(kind: str, key: str, option: Option, text: str) -> Value:
    wanted = type(option.default)
    try:
        value: Value = _TRUTH[text.lower()] if wanted is bool else wanted(text)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError
    except (KeyError, ValueError):
        what = {bool: "yes or no", int: "a whole number", float: "a number"}[wanted]
        raise InputError(f"{key} of source {kind} is {what}, not {text!r}") from None
    if option.choices is not None and value not in option.choices:
        allowed = ", ".join(map(_word, option.choices))
        raise InputError(f"{key} of source {kind} is one of {allowed}, not {text!r}")
    return value


def _word(value: Value) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _nearest(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, 1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"there are {', '.join(known)}" if known else "it has none"
