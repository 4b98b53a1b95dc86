"""From names to methods with hyperparameters: the rows that a grid trains."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from baselines.core import Method, MethodError, hyperparameters, registry
from benchkit.base import fields
from benchkit.base.errors import BenchkitError, UsageError
from benchkit.base.messages import Log, no_log
from benchkit.runs.plan import Spec
from benchkit.training.guard import own_settings, place_of
from benchkit.training.rehearsal import source_file

_SEPARATORS = re.compile(r"[\s;|/+&:]+")

Methods = str | type[Method] | Sequence[str | type[Method]]
Settings = Mapping[str, Mapping[str, Any]]


def specs(
    methods: Methods,
    *,
    settings: Settings | None = None,
    papers: Sequence[str] = (),
    plugins: Sequence[Path] = (),
    log: Log = no_log,
) -> list[Spec]:
    """The methods of a grid with their hyperparameters.

    Args:
        methods: keys, separated by commas or as a list; `all` for every method; classes of methods
            that are not installed.
        settings: method key -> hyperparameter -> value (text or typed), or a list of values, each
            of which makes a row; several lists make a row for each combination. Overrides
            `papers`.
        papers: data sets whose published hyperparameters apply where a method has them; if several
            define one, the first wins.
        plugins: Python files with further methods.
        log: called with a message for every method that `papers` changes.

    Raises:
        UsageError: an unknown method, hyperparameter, value or data set.
        BenchkitError: two plugins define one key.
    """
    plugin_methods, versions = _plugins(plugins)
    keys = []
    for entry in [methods] if isinstance(methods, str | type) else methods:
        if isinstance(entry, type):
            _check_class(entry)
            key = entry.info.key
            plugin_methods[key], versions[key] = entry, _class_version(entry)
            keys.append(key)
        else:
            keys += [name.strip() for name in entry.split(",")]
    _check_separators(keys, [*registry.builtin(), *plugin_methods])
    if "all" in keys:
        everything = [*registry.builtin(), *plugin_methods]
        keys = [key for name in keys for key in (everything if name == "all" else [name])]
    try:
        classes = {key: registry.get(key, plugin_methods) for key in dict.fromkeys(keys)}
    except MethodError as error:
        raise UsageError(str(error)) from None
    settings = settings or {}
    for key in settings:
        if key not in classes:
            if "," in key:
                raise UsageError(
                    f"--set {key}.NAME=VALUE names several methods; repeat it for each"
                )
            raise UsageError(f"--set {key}: the method '{key}' is not in --method")
    published = _published(papers, classes, log)
    rows = []
    for key, method in classes.items():
        values, is_plugin = settings.get(key, {}), key in plugin_methods
        kind, version = "plugin" if is_plugin else "builtin", versions.get(key, method.info.version)
        for combination in _combinations(method, values):
            hyper = hyper_of(method, combination, published[key])
            if is_plugin:
                with own_settings(place_of(method), refuse=True):
                    registry.check(method, source_file(method) or method.__name__, hyper)
            rows.append(Spec(method, hyper, kind, version, frozenset({*values, *published[key]})))
    return rows


def _combinations(method: type[Method], values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The combinations of some hyperparameters, of which a list holds alternatives."""
    lists = {
        name: list(value) if isinstance(value, list | tuple) else [value]
        for name, value in values.items()
    }
    for name, alternatives in lists.items():
        typed = [getattr(hyper_of(method, {name: value}), name) for value in alternatives]
        twice = [value for k, value in enumerate(typed) if value in typed[:k]]
        if twice:
            raise UsageError(
                f"method '{method.info.key}': {name} has the value {fields.shown(twice[0])} twice"
            )
        if not alternatives:
            raise UsageError(f"method '{method.info.key}': {name} has an empty list of values")
    for combination in itertools.product(*lists.values()):
        yield dict(zip(lists, combination, strict=True))


def _check_separators(keys: Sequence[str], known: Sequence[str]) -> None:
    """Refuse empty keys, and keys that are separated by other characters than commas."""
    for key in keys:
        if not key:
            raise UsageError(
                "--method has an empty name; methods are separated by commas, as in --method "
                "bce,asl"
            )
        parts = [part for part in _SEPARATORS.split(key) if part]
        if key in known or len(parts) < 2:
            continue
        if set(parts) & {*known, "all"} or len(key.split()) == 1:
            raise UsageError(
                f"methods are separated by commas: '{','.join(parts)}' instead of '{key}'"
            )


def in_regime(rows: Sequence[Spec], regime: str, log: Log = no_log) -> list[Spec]:
    """The rows with the defaults of a label regime.

    A hyperparameter that neither the user nor `papers` sets takes the value of
    `Method.defaults_for`.

    Args:
        rows: the result of `specs`.
        regime: the kind of labels of the split.
        log: called with a message for every method whose defaults change.
    """
    changed, logged = [], set()
    for row in rows:
        defaults = row.method.defaults_for(regime)
        values = {name: value for name, value in defaults.items() if name not in row.explicit}
        if values:
            text = ", ".join(f"{name}={value}" for name, value in values.items())
            sentence = f"{row.key} on {regime} labels: {text}"
            if sentence not in logged:
                log(sentence)
            logged.add(sentence)
        changed.append(dataclasses.replace(row, hyper=dataclasses.replace(row.hyper, **values)))
    return changed


def hyper_of(
    method: type[Method], values: Mapping[str, Any], start: Mapping[str, Any] | None = None
) -> Any:
    """The hyperparameters of a method.

    Args:
        method: the class.
        values: name -> value, as text or typed.
        start: name -> value for the names that are not in `values`; all others keep their defaults.

    Returns:
        An instance of `method.Hyper`.

    Raises:
        UsageError: an unknown name, or a value of the wrong type or out of range.
    """
    owner = f"method '{method.info.key}'"
    try:
        typed = fields.parse(hyper_fields(method), values, owner)
    except BenchkitError as error:
        raise UsageError(str(error)) from None
    return method.Hyper(**{**(start or {}), **typed})


def hyper_fields(method: type[Method]) -> list[fields.Field]:
    """The hyperparameters of a method as typed options."""
    return [
        fields.Field(
            entry["name"],
            entry["default"],
            choices=entry.get("choices"),
            low=entry.get("low"),
            high=entry.get("high"),
        )
        for entry in hyperparameters.describe(method.Hyper)
    ]


def _plugins(paths: Sequence[Path]) -> tuple[dict[str, type[Method]], dict[str, str]]:
    """The methods of plugin files, and their versions."""
    methods: dict[str, type[Method]] = {}
    versions: dict[str, str] = {}
    for path in paths:
        with own_settings(path.name, refuse=False):
            loaded = registry.load_plugin(path)
        twice = sorted(set(loaded) & set(methods))
        if twice:
            raise BenchkitError(f"two plugins define the method '{twice[0]}'; rename one")
        methods |= loaded
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        versions |= {key: _version(method, digest) for key, method in loaded.items()}
    return methods, versions


def _check_class(method: type) -> None:
    """Refuse a class that was passed directly and is no method, or has a wrong `info`."""
    name = method.__name__
    if not issubclass(method, Method) or not hasattr(method, "info"):
        raise UsageError(f"{name} is no method; it needs to be a subclass of Method with `info`")
    try:
        registry.check(method, name)
    except MethodError as error:
        raise UsageError(str(error)) from None


def _version(method: type[Method], digest: str) -> str:
    """A plugin's version with a digest of its source, so that an edited plugin is a new run."""
    return f"{method.info.version}+{digest[:12]}"


def _class_version(method: type[Method]) -> str:
    """The version of a class that was passed directly."""
    builtin = registry.builtin().get(method.info.key)
    if builtin is method:
        return method.info.version
    if builtin is not None:
        raise UsageError(f"the method '{method.info.key}' exists already; choose another key")
    try:
        source = inspect.getsource(method)
    except (OSError, TypeError):
        raise UsageError(
            f"the source of the method '{method.info.key}' cannot be read, so its version is not "
            "known; define it in a file"
        ) from None
    return _version(method, hashlib.sha256(source.encode()).hexdigest())


def _published(
    papers: Sequence[str], classes: Mapping[str, type[Method]], log: Log
) -> dict[str, dict[str, Any]]:
    """Method -> the hyperparameters that its paper used on the data sets."""
    known = sorted(
        {
            name
            for method in (registry.builtin() | dict(classes)).values()
            for entry in hyperparameters.describe(method.Hyper)
            for name in entry.get("paper") or ()
        }
    )
    for name in papers:
        if name not in known:
            if set(name.split(",")) & set(known):
                raise UsageError(f"--paper {name} names several data sets; repeat it for each")
            raise UsageError(
                f"--paper {name}: no method has values for it; there are {', '.join(known)}"
            )
    values = {
        key: hyperparameters.published(method.Hyper, papers) for key, method in classes.items()
    }
    for key, published in values.items():
        default = classes[key].Hyper()
        changed = [f"{k}={v}" for k, v in published.items() if v != getattr(default, k)]
        if changed:
            log(f"{key} as in its paper: {', '.join(changed)}")
    return values
